"""The categories of the public data sets: they tell a folder of one from others, and a whole set from a part.

Sources: Zou et al. 2022 (VisA), Bergmann et al. 2019 (MVTec AD), Jezek et al. 2021 (MPDD), Mishra et al. 2021 (BTAD),
Wang et al. 2024 (Real-IAD), Zhou et al. 2023 (MAD), Aota et al. 2023 (DTD-Synthetic).
"""


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MAD_REAL = _names("bear bird elephant parrot pig puppy scorpion turtle unicorn whale")

CATEGORIES: dict[str, frozenset[str]] = {  # data set -> all its categories, as `dialects.plain` writes them
    "visa": _names("candle capsules cashew chewinggum fryum macaroni1 macaroni2 pcb1 pcb2 pcb3 pcb4 pipe_fryum"),
    "mvtec-ad": _names(
        "bottle cable capsule carpet grid hazelnut leather metal_nut pill screw tile toothbrush transistor wood zipper"
    ),
    "mpdd": _names("bracket_black bracket_brown bracket_white connector metal_plate tubes"),
    "btad": _names("01 02 03"),
    "real-iad": _names(
        "audiojack bottle_cap button_battery end_cap eraser fire_hood mint mounts pcb phone_battery plastic_nut "
        "plastic_plug porcelain_doll regulator rolled_strip_base sim_card_set switch tape terminalblock toothbrush toy "
        "toy_brick transistor1 u_block usb usb_adaptor vcpill wooden_beads woodstick zipper"
    ),
    "mad-sim": _MAD_REAL
    | _names("cat gorilla mallard obesobeso owl phoenix sabertooth sheep swan zalika"),  # the set has 13Pheonix
    "mad-real": _MAD_REAL,
    "dtd-synthetic": _names(
        "blotchy_099 fibrous_183 marbled_078 matted_069 mesh_114 perforated_037 stratified_154 woven_001 woven_068 "
        "woven_104 woven_125 woven_127"
    ),
}
SPELLINGS = {"pheonix": "phoenix"}  # of a category in a data set -> here
