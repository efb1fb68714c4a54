"""Make the README's picture with the shipped model: `python tools/make_overview.py`."""

from pathlib import Path

from PIL import Image

from genau import Inspector

ROOT = Path(__file__).parent.parent
PICTURES = ("capsules_bad_1.jpg", "paper_bad_1.jpg")
HEIGHT, GAP = 360, 12  # pixels


def main() -> None:
    """Put picture and overlay of each example side by side."""
    inspector = Inspector.from_pretrained("nano")
    tiles = []
    for name in PICTURES:
        result = inspector.inspect(ROOT / "examples" / "pictures" / name, analysis=False)
        for image in (Image.fromarray(result.picture), result.plot()):
            tiles.append(image.resize((round(image.width * HEIGHT / image.height), HEIGHT), Image.Resampling.LANCZOS))
    sheet = Image.new("RGB", (sum(tile.width + GAP for tile in tiles) - GAP, HEIGHT), "white")
    left = 0
    for tile in tiles:
        sheet.paste(tile, (left, 0))
        left += tile.width + GAP
    target = ROOT / "docs" / "images" / "overview.jpg"
    target.parent.mkdir(exist_ok=True)
    sheet.save(target, quality=88)


if __name__ == "__main__":
    main()
