"""The defect types in words: what they look like, what users call them, what they are confused with, why they arise."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TypeInfo:
    """What is known of a defect type in words."""

    description: str  # what it looks like
    synonyms: tuple[str, ...]  # what users type for it
    look_alikes: tuple[str, ...]  # types most easily confused with it: hard negatives
    causes: tuple[str, str]
    recommendations: tuple[str, str]


DEFECT_TYPES: dict[str, TypeInfo] = {
    "scratch": TypeInfo(
        "a thin elongated mark left by rubbing or scraping",
        ("scratches", "scuff", "scrape", "score mark", "scratch mark"),
        ("crack", "thread", "wear"),
        ("contact with a hard edge during handling", "abrasive particle in the fixture"),
        ("check guides and grippers for sharp edges", "clean the fixture and protect the surface"),
    ),
    "crack": TypeInfo(
        "a jagged dark line, often branched, where the material has split",
        ("cracks", "fracture", "fissure", "split", "hairline crack"),
        ("scratch", "cut", "thread"),
        ("mechanical overload or impact", "thermal stress during cooling"),
        ("reject the part and check the load history", "review cooling rate and clamping force"),
    ),
    "cut": TypeInfo(
        "a gaping slit with lifted edges, dark inside",
        ("slit", "incision", "gash", "tear", "cut mark"),
        ("crack", "scratch", "hole"),
        ("contact with a blade or sharp tool", "snagging on a sharp machine edge"),
        ("inspect blades and guards along the path", "reject the part and remove sharp edges"),
    ),
    "dent": TypeInfo(
        "a shallow hollow pressed into the surface, seen by light and shade",
        ("dents", "ding", "depression", "indentation", "impact mark"),
        ("bubble", "deformation", "pit"),
        ("impact during handling or transport", "foreign body under the pressing tool"),
        ("check handling and stacking of parts", "clean the tool and inspect its surface"),
    ),
    "hole": TypeInfo(
        "an opening through the material, round or torn",
        ("holes", "perforation", "puncture", "opening", "pinhole"),
        ("pit", "chip", "stain"),
        ("puncture by a sharp object", "material void or wrong drilling"),
        ("reject the part and check upstream tooling", "verify material quality before forming"),
    ),
    "stain": TypeInfo(
        "an irregular translucent blotch left by a liquid",
        ("stains", "spot", "blotch", "oil stain", "water mark"),
        ("discoloration", "smear", "contamination"),
        ("oil or coolant drops on the surface", "incomplete drying after washing"),
        ("clean the part and inspect again", "check for leaks above the line"),
    ),
    "discoloration": TypeInfo(
        "an area of different colour or brightness with soft borders",
        ("discolouration", "discolored area", "colour change", "fading", "colour spot"),
        ("stain", "corrosion", "wear"),
        ("overheating or uneven curing", "pigment variation or chemical attack"),
        ("check temperature and curing time", "compare the batch with the colour standard"),
    ),
    "contamination": TypeInfo(
        "a foreign particle or several that lie on the surface",
        ("foreign particle", "dirt", "debris", "foreign body", "dust"),
        ("stain", "burr", "pit"),
        ("airborne dirt or abraded material", "insufficient cleaning before this step"),
        ("remove the particle and inspect again", "check filters and cleaning of the station"),
    ),
    "corrosion": TypeInfo(
        "a rough brownish or greenish cloud of spots where the surface has reacted",
        ("rust", "oxidation", "tarnish", "rust spots"),
        ("stain", "discoloration", "pit"),
        ("moisture during storage", "damaged or missing protective layer"),
        ("check storage humidity and packaging", "restore corrosion protection before further use"),
    ),
    "smear": TypeInfo(
        "a wiped translucent film with streaks in one direction",
        ("smudge", "streak", "wipe mark", "glue smear", "fingerprint"),
        ("stain", "wear", "scratch"),
        ("surplus glue or grease was wiped", "contact with dirty gloves or rollers"),
        ("clean the surface and rollers", "check the dosing of glue or grease"),
    ),
    "wear": TypeInfo(
        "a rubbed area of many fine strokes, duller or shinier than its surroundings",
        ("abrasion", "rubbing", "scuffed area", "worn area", "chafing"),
        ("scratch", "smear", "discoloration"),
        ("parts rub against each other", "misaligned guide or roller"),
        ("separate parts during transport", "align the guide and replace worn rollers"),
    ),
    "thread": TypeInfo(
        "a loose fibre, hair or thread that lies on the surface",
        ("fibre", "hair", "loose thread", "lint", "fiber"),
        ("scratch", "crack", "contamination"),
        ("lint from wipes or clothing", "frayed material upstream"),
        ("blow off the fibre and inspect again", "use lint-free wipes and gloves"),
    ),
    "chip": TypeInfo(
        "a piece broken off an edge or surface, with a faceted fresh fracture",
        ("chipping", "broken edge", "nick", "flake", "break-out"),
        ("hole", "dent", "missing part"),
        ("impact on a brittle edge", "too high force when clamping or ejecting"),
        ("reject the part and check edge protection", "reduce clamping force and check the ejector"),
    ),
    "burr": TypeInfo(
        "a ragged sliver of surplus material that sticks out or is raised",
        ("burrs", "flash", "ridge", "raised edge", "fin"),
        ("contamination", "thread", "chip"),
        ("worn or misaligned cutting tool", "gap in the mould parting line"),
        ("deburr the part and check the tool", "check mould closing force and wear"),
    ),
    "bubble": TypeInfo(
        "a raised or hollow blister, round, with a rim and a highlight",
        ("bubbles", "blister", "air bubble", "void", "blistering"),
        ("dent", "pit", "contamination"),
        ("trapped air or gas", "moisture in the material or coating"),
        ("dry the material and vent the mould", "check coating viscosity and degassing"),
    ),
    "pit": TypeInfo(
        "small dark craters, single or in a swarm",
        ("pitting", "pits", "pore", "crater", "porosity"),
        ("hole", "bubble", "contamination"),
        ("gas pores in the casting", "local corrosion or surface fatigue"),
        ("check degassing and pouring temperature", "monitor growth and plan replacement"),
    ),
    "deformation": TypeInfo(
        "an area where the structure is shifted, twisted or pinched",
        ("distortion", "misshape", "bent", "warping", "crease"),
        ("dent", "misplaced part", "wear"),
        ("uneven tension or pressure", "heat while the part was clamped"),
        ("check tension and temperature of the process", "reject the part and check its dimensions"),
    ),
    "missing part": TypeInfo(
        "an empty place where a part belongs",
        ("missing component", "missing", "absent part", "empty place", "incomplete"),
        ("chip", "misplaced part", "wrong part"),
        ("feeder ran empty or gripper lost the part", "step of the assembly was skipped"),
        ("add the missing part and check feeding", "check the presence sensor of the station"),
    ),
    "misplaced part": TypeInfo(
        "a part that is shifted or turned out of its place",
        ("shifted part", "misaligned", "rotated part", "wrong position", "tilted part"),
        ("missing part", "extra part", "deformation"),
        ("vibration during transport", "placement offset of the gripper"),
        ("put the part right and inspect again", "calibrate the placement position"),
    ),
    "extra part": TypeInfo(
        "a part too many, between or on top of the others",
        ("additional part", "surplus part", "duplicate part", "superfluous component"),
        ("misplaced part", "contamination", "wrong part"),
        ("double feed", "part fell from a neighbouring station"),
        ("remove the surplus part", "check the separator of the feeder"),
    ),
    "wrong part": TypeInfo(
        "a part of another colour, size or kind than its neighbours",
        ("mixed-up part", "swapped part", "incorrect component", "wrong colour", "wrong type"),
        ("misplaced part", "extra part", "discoloration"),
        ("mixed batches in the feeder", "wrong part loaded at changeover"),
        ("sort the batch and exchange the part", "check labels and feeder loading"),
    ),
    "print fault": TypeInfo(
        "print or track with a gap, a bridge, a blot or a missing stroke",
        ("misprint", "printing defect", "broken line", "missing print", "smudged print"),
        ("scratch", "stain", "missing part"),
        ("clogged nozzle or worn printing plate", "wrong ink or etching conditions"),
        ("clean the print head or plate", "check ink, exposure and etching parameters"),
    ),
}
