"""Reads changed copies of valid files, in a process of its own: `read_mutated.py SEED COUNT FOLDER`.

Prints as JSON how many were read and refused, and each that did neither: the error, the seconds, the seed of
its file. A library that takes the process with it leaves no output; `now.txt` names the file then.
"""

from __future__ import annotations

import faulthandler
import json
import random
import resource
import sys
import time
import traceback
from pathlib import Path

import scene
from test_matrix import IMAGES, MASK_KINDS

import annotation_files
from dgfnet.cohort.manifest import read_cohort
from dgfnet.cohort.readers import read_pair
from dgfnet.cohort.records import Image
from dgfnet.errors import InputError
from mutation import mutate
from peak import peak_megabytes

SECONDS = 20  # for one file, on a machine that does other things as well
MEMORY = 8 * 2**30  # bytes of addresses: what wants more is refused by the system
OUTLINE = annotation_files.OUTLINE
DOCUMENTS = {
    "labelme": annotation_files.labelme(annotation_files.labelme_shape(OUTLINE)),
    "CVAT": annotation_files.cvat({"1.png": [annotation_files.cvat_polygon(OUTLINE)]}),
    "COCO": annotation_files.coco(
        annotation_files.coco_annotation([[float(value) for point in OUTLINE for value in point]])
    ),
    "VIA": annotation_files.via({"1.png": [annotation_files.via_region()]}),
    "Label Studio": [
        annotation_files.studio_task(annotation_files.studio_annotation(annotation_files.studio_polygon()))
    ],
}
NODULES = "patient_id,nodule_id,cohort,lnm_central,lnm_lateral\nP1,N1,main,0,1\nP2,N2,external,,0\n"
IMAGES_TABLE = """nodule_id,modality,view,image,mask,spacing_mm
N1,us,transverse,1.png,m.png,0.1
N2,ct,axial,2.png,m2.png,
"""


def pairs(folder: Path):
    """Valid pairs of image and mask: each kind of image with a mask, each kind of mask with an image."""
    ways = [(name, "PNG" if IMAGES[name][0] == "us" else "NIfTI, same grid") for name in IMAGES]
    ways += [("DICOM CT slice", name) for name in MASK_KINDS]
    for number, (image, mask) in enumerate(ways):
        place = folder / f"pair{number}"
        place.mkdir()
        modality, build = IMAGES[image]
        path, index = build(place)
        yield modality, path, MASK_KINDS[mask](path, place), index
    for name, document in DOCUMENTS.items():
        place = folder / name
        place.mkdir()
        path = scene.picture(place / "1.png", scene.np.arange(48 * 64, dtype=scene.np.uint8).reshape(48, 64))
        mask = annotation_files.write(place / f"m{'.xml' if name == 'CVAT' else '.json'}", document)
        yield "us", path, mask, None


def read_files(modality: str, path: Path, mask: Path, index: int | None) -> None:
    view = "transverse" if modality == "us" else "axial"
    read_pair(Image("N", modality, view, path, mask, None, index, None, None, False))


def is_read(*pair) -> bool:
    """Of some kinds the pair is refused, as the table of docs/reference/image-and-mask.md says."""
    try:
        read_files(*pair)
    except InputError:
        return False
    return True


def cohort(folder: Path) -> Path:
    place = folder / "cohort"
    place.mkdir()
    for name in ("1.png", "m.png", "2.png", "m2.png"):
        scene.picture(place / name, scene.NODULE * 255)
    (place / "nodules.csv").write_text(NODULES)
    (place / "images.csv").write_text(IMAGES_TABLE)
    return place


def main(seed: int, count: int, folder: Path) -> None:
    faulthandler.enable()
    made = [pair for pair in pairs(folder) if is_read(*pair)]
    assert len(made) > 30, [str(path) for _, path, *_ in made]
    tables = cohort(folder)
    read_cohort(tables)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    found = {"read": 0, "refused": 0, "neither": [], "slowest": 0.0}
    for number in range(seed, seed + count):
        draw = random.Random(number)
        if number % 8 == 0:
            target = tables / draw.choice(("nodules.csv", "images.csv"))
            work, arguments = read_cohort, (tables,)
        else:
            modality, path, mask, index = draw.choice(made)
            target = draw.choice((path, mask))
            work, arguments = read_files, (modality, path, mask, index)
        before = target.read_bytes()
        (folder / "now.txt").write_text(f"{number} {target}")
        faulthandler.dump_traceback_later(3 * SECONDS, exit=True)
        try:
            target.write_bytes(mutate(before, target.name, draw))
            begun = time.monotonic()
            try:
                work(*arguments)
                found["read"] += 1
            except InputError as error:
                found["refused"] += 1
                if not str(error).strip() or "Traceback" in str(error):
                    found["neither"].append([number, str(target), str(error)])
            except BaseException:
                found["neither"].append([number, str(target), traceback.format_exc()[-1500:]])
            seconds = time.monotonic() - begun
            found["slowest"] = max(found["slowest"], seconds)
            if seconds > SECONDS:
                found["neither"].append([number, str(target), f"{seconds:.0f} s"])
        finally:
            target.write_bytes(before)
    faulthandler.cancel_dump_traceback_later()
    found["memory"] = peak_megabytes()
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
