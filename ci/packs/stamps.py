"""Rebuild the stamp pack, bit for bit, from an unpacked `tuxpaint-stamps-default` package.

python -m ci.packs.stamps --source DIR     (DIR holds usr/share/tuxpaint/stamps)
"""

import csv
import hashlib
import io
import re
import shutil
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from shared.offline.packs import PACKS

PACK = PACKS / "stamps"
COLUMNS = (
    "name",
    "category",
    "caption",
    "label",
    "kind",
    "kinds",
    "image_sha256",
    "sound",
    "sound_sha256",
    "licence",
    "credit",
)

EXCLUDED_PATHS = ("symbols/", "naturalforces/", "military/final", "cartoon", "roadsigns", "flags", "grave")
EXCLUDED_SUFFIXES = ("_mirror", "_flip")
MIN_COLOURS = 200  # distinct 5-bit RGB colours among the opaque pixels; drawings have fewer
MIN_SIDE = 40

# Photographs that the colour count mistakes for drawings, kept for their sounds.
GREY_PHOTOGRAPHS = {"household/arttools/scissors_small_closed", "household/tools/mallet_metal"}

# What passed the filter and was dropped after looking at it.
DROPPED = {
    # drawings and renderings
    "clothes/button", "clothes/hats/feathered_hat", "clothes/hats/propeller_hat", "food/pizza", "people/body_parts/eye",
    "seasonal/christmas/Santa", "seasonal/easter/bluebird", "seasonal/easter/bunny", "seasonal/easter/bunny-egg",
    "seasonal/easter/butterfly", "seasonal/easter/chick", "seasonal/easter/chick-hatched", "seasonal/easter/daffodil",
    "seasonal/easter/chick-in-egg", "seasonal/easter/wrapped_chocolate_easter_egg", "space/planets/9_pluto",
    "seasonal/easter/wrapped_chocolate_easter_egg_2", "seasonal/halloween/jackolantern_mean",
    "seasonal/newyears/fireworks2", "vehicles/flight/balloon360",
    # near-duplicates of a kept stamp
    "animals/mammals/bovines/cow_white", "animals/mammals/bovines/gnu-baby-stand", "animals/mammals/pig_golden2",
    "food/fruit/apple_fuji", "food/fruit/apple_granny_smith", "food/fruit/apple_sierra_beauty",
    "military/fireman240a", "plants/flowers/chemparathi", "plants/mushrooms/cep-2",
    "seasonal/christmas/Candy_cane_photo_2",
    # many different flowers share the caption "A flower."; one is kept
    "plants/flowers/flower3", "plants/flowers/flower5", "plants/flowers/flower6", "plants/flowers/flower8",
    # licences that ask for more than a line of credit: GFDL only, or CC-BY-SA without a version
    "animals/birds/helmeted_guineafowl", "animals/insects/Woodlouse", "food/fruit/Apricot_whole",
    "food/fruit/Cherry_Stella", "food/fruit/Strawberry2", "household/Lightbulb",
    "seasonal/christmas/Christmas_pudding", "seasonal/christmas/German_Christmas_toy",
}  # fmt: skip

SILENCED = {
    "animals/birds/nandou",  # digital silence
    "animals/mammals/giraffe",  # digital silence
    "animals/marsupials/wombat",  # digital silence
    "animals/mammals/bovines/mountaingoat",  # the goat's recording
    "animals/mammals/bovines/ram",  # the goat's recording
    "animals/mammals/rodents/beaver",  # the badger's recording
    "animals/mammals/camel/dromedary",  # an excerpt of the camel's recording
    "space/apollo_lander",  # spoken radio traffic
    "vehicles/emergency/firetruck",  # CC Sampling Plus 1.0: not free for every use
}

# Labels where the caption without its article does not read well in "a photo of a {label}".
LABELS = {
    "animals/birds/albino_peahen": "white peahen",
    "animals/birds/hen": "hen",
    "animals/birds/nandou": "rhea",
    "animals/birds/peacock": "peacock",
    "animals/birds/rooster": "rooster",
    "animals/fish/bluegroper": "blue groper",
    "animals/fish/lionfish": "lionfish",
    "animals/fish/lobster": "spiny lobster",
    "animals/insects/hoverfly": "hoverfly",
    "animals/insects/xanthia": "moth",
    "animals/mammals/bears/toys/edward_bear": "teddy bear",
    "animals/mammals/bears/european-bear": "brown bear",
    "animals/mammals/bovines/gnu-baby": "baby gnu",
    "animals/mammals/bovines/mountaingoat": "mountain goat",
    "animals/mammals/bovines/sheep_lamb": "lamb",
    "animals/mammals/dogs/dog": "dog",
    "animals/mammals/pig_golden": "tamworth pig",
    "animals/mammals/rhino_black": "black rhino",
    "animals/mammals/rodents/capybara": "capybara",
    "animals/mammals/rodents/rabbit-2": "big-eared rabbit",
    "animals/mammals/wildboar": "wild boar",
    "food/fruit/avocado": "avocado",
    "food/fruit/cherimoya": "cherimoya",
    "food/fruit/lemon": "lemon",
    "food/fruit/orange_seville": "seville orange",
    "food/fruit/pear": "pear",
    "food/spices/ginger": "ginger root",
    "food/vegetables/broccoli": "head of broccoli",
    "food/vegetables/corn": "corn cob",
    "food/vegetables/potato": "potato",
    "food/vegetables/pumpkin_small": "pumpkin",
    "household/arttools/scissors_small_closed": "pair of scissors",
    "household/dishes/pitcher_small": "pitcher",
    "household/toilet": "toilet",
    "household/tools/mallet_metal": "mallet",
    "household/tools/paintbrush_large": "paintbrush",
    "household/tools/wrench_plumbers": "pipe wrench",
    "household/wheelie_bin": "wheelie bin",
    "medical/stethoscope": "stethoscope",
    "military/ammunition/old_naval_shell": "naval shell",
    "military/vehicles/bradley": "tracked fighting vehicle",
    "military/vehicles/f22_raptor": "fighter jet",
    "military/vehicles/infantry-stryker": "wheeled armored vehicle",
    "military/vehicles/ww2_german_gun": "tank",
    "people/toys/grannysmith": "rag doll",
    "plants/eggplant": "eggplant",
    "plants/flowers/adeenia": "desert rose",
    "plants/flowers/anemone_red": "red anemone",
    "plants/flowers/appooppanthady": "milkweed seed",
    "plants/flowers/bolsom": "balsam flower",
    "plants/flowers/chuvanna_plastic_poo": "red plastic flower",
    "plants/flowers/flower1": "purple flower",
    "plants/flowers/flower4": "pair of flowers",
    "plants/flowers/flower7": "bunch of flowers",
    "plants/flowers/flower9": "wet flower",
    "plants/flowers/pigface": "pigface flower",
    "plants/lavender": "lavender plant",
    "plants/trees/holly_leaves": "sprig of holly",
    "plants/trees/rambutan": "rambutan",
    "seasonal/christmas/Candy_cane_photo_1": "candy cane",
    "seasonal/christmas/Mince_Pie": "mince pie",
    "seasonal/christmas/Roast_turkey": "roast turkey",
    "space/apollo_lander": "lunar lander",
    "space/planets/2_venus": "planet venus",
    "space/planets/3_earth": "planet earth",
    "space/planets/4_mars": "planet mars",
    "space/planets/5_jupiter": "planet jupiter",
    "space/planets/6_saturn": "planet saturn",
    "space/planets/7_uranus": "planet uranus",
    "space/planets/8_neptune": "planet neptune",
    "space/spacewalk": "spacewalking astronaut",
    "space/voyager2": "space probe",
    "sports/australian_rules_football": "australian rules football",
    "town/monuments/inukshuk-photo": "inukshuk",
    "town/uk_post_box": "post box",
    "vehicles/auto/beetle": "beetle car",
    "vehicles/construction/dumper": "dumper",
    "vehicles/ship/chineseJunk": "chinese sailing ship",
}

# What a stamp is, by the longest matching start of its name: (singular, plural), or None where neither would be true.
KINDS: dict[str, tuple[str, str] | None] = {
    "animals": ("animal", "animals"),
    "food/fruit": ("fruit", "fruits"),
    "food/nuts": ("nut", "nuts"),
    "food/vegetables": ("vegetable", "vegetables"),
    "food/vegetables/mushroom": ("mushroom", "mushrooms"),
    "hobbies/music": ("musical instrument", "musical instruments"),
    "household/arttools/scissors_small_closed": ("tool", "tools"),
    "household/dishes/utensils": ("tool", "tools"),
    "household/tools": ("tool", "tools"),
    "military/vehicles": ("vehicle", "vehicles"),
    "plants": ("plant", "plants"),
    "plants/mushrooms": ("mushroom", "mushrooms"),
    "seasonal/christmas/Christmas_Tree_photo": ("plant", "plants"),
    "space/planets": ("planet", "planets"),
    "vehicles": ("vehicle", "vehicles"),
    **dict.fromkeys(("plants/flowers/flower4", "plants/flowers/flower7"), None),  # several flowers each
    **dict.fromkeys(("animals/mammals/bears/toys", "plants/flowers/plastic"), None),
    **dict.fromkeys(("vehicles/ship/walnutBoat", "vehicles/wheel_tractor"), None),
}


# The package's copyright file puts every file under GPL-2.0-or-later; its changelog names these others.
PACKAGE_LICENCE = ("GPL-2.0-or-later", "Tux Paint stamps, Bill Kendrick and contributors")
LICENCES = {
    "animals/birds/heron_greatblue_flying": ("CC-BY-SA-2.5", "Erinn Lynch"),
    "animals/birds/pelican": ("CC-BY-SA-2.5", "Erinn Lynch"),
    "animals/insects/Brown_slug": ("CC-BY-SA-2.5", "Guttorm Flatabø"),
    "medical/stethoscope": ("public domain", "Wikipedia, Stethoscope.jpg"),
    "military/vehicles/f22_raptor": ("public domain", "U.S. Air Force, TSgt Ben Bloker"),
    "plants/flowers/adeenia": ("CC-BY-SA-3.0", "VHSS Irimpanam school, Kerala"),
    "plants/flowers/anthoorium": ("CC-BY-SA-3.0", "VHSS Irimpanam school, Kerala"),
    "plants/flowers/appooppanthady": ("CC-BY-SA-3.0", "VHSS Irimpanam school, Kerala"),
    "plants/flowers/bolsom": ("CC-BY-SA-3.0", "VHSS Irimpanam school, Kerala"),
    "plants/flowers/chuvanna_plastic_poo": ("CC-BY-SA-3.0", "VHSS Irimpanam school, Kerala"),
    "seasonal/christmas/Candy_cane_photo_1": ("public domain", "Kathleen French"),
    "seasonal/christmas/Christmas_Tree_photo": ("public domain", "Jorge Barrios"),
    "seasonal/christmas/Mince_Pie": ("CC-BY-2.5", "Jmb at Wikipedia"),
    "seasonal/christmas/Roast_turkey": ("CC-BY-2.0", "Patrick Fitzgerald"),
    "town/monuments/inukshuk-photo": ("CC-BY-SA-2.5", "Ansgar Walk"),
    "vehicles/emergency/firetruck": ("CC-BY-2.5", "Aaron M. Lang"),
}


def is_photograph(name: str, image: Image.Image) -> bool:
    """Whether an RGBA stamp passes the automatic filter on its path, size and number of colours."""
    if any(part in name for part in EXCLUDED_PATHS) or name.endswith(EXCLUDED_SUFFIXES) or name in DROPPED:
        return False
    rgba = np.asarray(image)
    opaque = rgba[rgba[..., 3] > 200][:, :3] >> 3
    colours = len(np.unique(opaque, axis=0))
    return max(image.size) >= MIN_SIDE and (colours >= MIN_COLOURS or name in GREY_PHOTOGRAPHS)


def shrink(image: Image.Image) -> Image.Image:
    """Crop to the visible part (alpha > 16), then shrink to a shortest side <= 128 and a longest side <= 256."""
    image = image.crop(image.getchannel("A").point(lambda alpha: 255 * (alpha > 16)).getbbox())
    scale = min(1.0, 128 / min(image.size), 256 / max(image.size))
    size = [max(1, round(side * scale)) for side in image.size]
    return image.resize((size[0], size[1]), Image.Resampling.LANCZOS) if scale < 1 else image


def label_of(name: str, caption: str) -> str:
    """The caption in lower case without its article and full stop, unless `LABELS` has better."""
    return LABELS.get(name) or re.sub(r"^(an?|the) ", "", caption.lower().strip(" .!"))


def kind_of(name: str) -> tuple[str, str]:
    """The kind of a stamp in one word, singular and plural, or two empty texts."""
    starts = [start for start in KINDS if name == start or name.startswith(start + "/")]
    return (KINDS[max(starts, key=len)] if starts else None) or ("", "")


def build(source: Path, out: Path = PACK) -> None:
    """Write images/, sounds/ and stamps.csv under `out`."""
    root = source / "usr/share/tuxpaint/stamps"
    for folder in ("images", "sounds"):
        shutil.rmtree(out / folder, ignore_errors=True)
    chosen: dict[str, tuple[str, Image.Image]] = {}  # caption -> (name, image)
    for path in sorted(root.rglob("*.png")):
        name = path.relative_to(root).with_suffix("").as_posix()
        image = Image.open(path).convert("RGBA")
        if not is_photograph(name, image):
            continue
        caption = path.with_suffix(".txt").read_text(encoding="utf-8").splitlines()[0].strip()
        rival = chosen.get(caption)
        # One stamp a caption: the one that sounds, then the larger picture.
        rank = (path.with_suffix(".ogg").exists(), image.width * image.height)
        if rival and rank <= ((root / f"{rival[0]}.ogg").exists(), rival[1].width * rival[1].height):
            continue
        chosen[caption] = (name, image)

    rows = []
    for caption, (name, image) in sorted(chosen.items(), key=lambda item: item[1][0]):
        encoded = io.BytesIO()
        shrink(image).save(encoded, "WEBP", quality=90, alpha_quality=100, method=6)
        target = out / "images" / f"{name}.webp"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(encoded.getvalue())
        recording, sound, sound_sha256 = root / f"{name}.ogg", "", ""
        if recording.exists() and name not in SILENCED:
            sound = f"sounds/{name}.ogg"
            (out / sound).parent.mkdir(parents=True, exist_ok=True)
            (out / sound).write_bytes(recording.read_bytes())
            sound_sha256 = hashlib.sha256(recording.read_bytes()).hexdigest()
        licence, credit = LICENCES.get(name, PACKAGE_LICENCE)
        image_sha256 = hashlib.sha256(encoded.getvalue()).hexdigest()
        category = name.rpartition("/")[0]
        described = (name, category, caption, label_of(name, caption), *kind_of(name))
        rows.append((*described, image_sha256, sound, sound_sha256, licence, credit))
    with open(out / "stamps.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])


if __name__ == "__main__":
    tyro.cli(build)
