"""Files as annotation tools write them, of a nodule whose every pixel is known.

Keys, their order and kinds of values are those of labelme 6.3.1, CVAT 2 (cvat-sdk 2.80.0, datumaro
1.13.12), pycocotools 2.0.11, VIA 2.0.11 and label-studio-sdk 2.0.19; `test_codes_are_those_of_the_tools`
holds the three run-length codes to what these tools made of the same nodule.
"""

from __future__ import annotations

import base64
import json
from xml.sax.saxutils import quoteattr

import cv2
import numpy as np

SHAPE = (48, 64)
NODULE = np.zeros(SHAPE, dtype=bool)  # an L: no flip and no quarter turn maps it onto itself
NODULE[8:30, 10:16] = True
NODULE[24:30, 10:34] = True
OUTLINE = [(10, 8), (16, 8), (16, 24), (34, 24), (34, 30), (10, 30)]  # x and y of its corners
BOX = NODULE[8:30, 10:34]


def runs(flat):
    """Lengths of runs, outside and inside in turn, outside first."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flat.astype(int), [0]])))
    lengths = np.diff(np.concatenate([[0], edges, [len(flat)]]))
    return [int(length) for length in lengths[: len(lengths) - (lengths[-1] == 0)]]


def packed(mask, value=255):
    """Label Studio's codes of a mask: red, green, blue and alpha of each pixel."""
    bits = f"{mask.size * 4:032b}" + f"{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    flat = np.repeat(mask.astype(np.uint8) * value, 4).ravel()
    starts = np.flatnonzero(np.concatenate([[1], np.diff(flat.astype(int))]))
    for start, stop in zip(starts, [*starts[1:], flat.size], strict=True):
        kind = next(place for place, size in enumerate((3, 4, 8, 16)) if stop - start <= 2**size)
        bits += f"1{kind:02b}{stop - start - 1:0{(3, 4, 8, 16)[kind]}b}{flat[start]:08b}"
    bits += "0" * (8 - len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


def compressed(counts):
    """COCO's text of run lengths: differences from the fourth on, five bits a character, lowest first."""
    text = ""
    for place, count in enumerate(counts):
        value = count - (counts[place - 2] if place > 2 else 0)
        while True:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text += chr(48 + (bits | 32 * more))
            if not more:
                break
    return text


def write(path, document):
    """Writes JSON, or XML as it is."""
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def labelme_shape(points, label="nodule", kind="polygon", mask=None):
    if mask is not None:
        mask = base64.b64encode(cv2.imencode(".png", mask.astype(np.uint8))[1].tobytes()).decode()
    points = [[float(x), float(y)] for x, y in points]
    return {
        **{"label": label, "points": points, "group_id": None, "description": "", "shape_type": kind},
        **{"flags": {}, "mask": mask},
    }


def labelme(*shapes, picture="1.png", size=SHAPE):
    return {
        **{"version": "6.3.1", "flags": {}, "shapes": list(shapes), "imagePath": picture, "imageData": None},
        **{"imageHeight": size[0], "imageWidth": size[1]},
    }


def cvat_polygon(points, label="nodule"):
    points = ";".join(f"{x:.2f},{y:.2f}" for x, y in points)
    return f'<polygon label={quoteattr(label)} source="manual" occluded="0" points="{points}" z_order="0"/>'


def cvat_mask(mask, top, left, label="nodule"):
    return (
        f'<mask label="{label}" source="manual" occluded="0" rle="{str(runs(mask.ravel()))[1:-1]}" '
        f'left="{left}" top="{top}" width="{mask.shape[1]}" height="{mask.shape[0]}" z_order="0"/>'
    )


def cvat(pictures, labels=("nodule",), size=SHAPE, version="1.1"):
    """CVAT for images: name of a picture to what is drawn on it."""
    names = "".join(f"<label><name>{name}</name><color>#fa3253</color></label>" for name in labels)
    images = "".join(
        f'<image id="{place}" name="{name}" width="{size[1]}" height="{size[0]}">{"".join(drawn)}</image>'
        for place, (name, drawn) in enumerate(pictures.items())
    )
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>{version}</version><meta><task>'
        f"<id>7</id><mode>annotation</mode><labels>{names}</labels></task></meta>{images}</annotations>"
    )


def coco_annotation(segmentation, category=1, image=1, **values):
    facts = {"iscrowd": int(isinstance(segmentation, dict)), "area": 240.0, "bbox": [10.0, 8.0, 24.0, 22.0]}
    return {
        "id": 1,
        "image_id": image,
        "category_id": category,
        "segmentation": segmentation,
        **facts,
        **values,
    }


def coco(*annotations, pictures=("1.png",), categories=("nodule",), size=SHAPE):
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": "", "description": "", "version": "", "year": ""},
        "categories": [
            {"id": place, "name": name, "supercategory": ""} for place, name in enumerate(categories, start=1)
        ],
        "images": [
            {"id": place, "width": size[1], "height": size[0], "file_name": name, "license": 0}
            for place, name in enumerate(pictures, start=1)
        ],
        "annotations": list(annotations),
    }


def via_region(points=OUTLINE, attributes=None, **shape):
    if not shape:
        shape = {
            "name": "polygon",
            "all_points_x": [x for x, _ in points],
            "all_points_y": [y for _, y in points],
        }
    attributes = {"class": "nodule"} if attributes is None else attributes
    return {"shape_attributes": shape, "region_attributes": attributes}


def via(pictures, attributes=None):
    """A project of VIA 2: name of a picture to its regions."""
    metadata = {
        f"{name}54044": {"filename": name, "size": 54044, "regions": regions, "file_attributes": {}}
        for name, regions in pictures.items()
    }
    return {
        "_via_settings": {"ui": {}, "core": {"buffer_size": 18, "filepath": {}, "default_filepath": ""}},
        "_via_img_metadata": metadata,
        "_via_attributes": {"region": attributes or {}, "file": {}},
        "_via_data_format_version": "2.0.10",
        "_via_image_id_list": list(metadata),
    }


def studio_result(value, kind="polygonlabels", labels=("nodule",), name="r1", size=SHAPE, **values):
    value = {**value, kind: list(labels)} if labels else value
    return {
        **{
            "original_width": size[1],
            "original_height": size[0],
            "image_rotation": 0,
            "value": value,
            "id": name,
        },
        **{"from_name": "label", "to_name": "image", "type": kind, "origin": "manual", **values},
    }


def studio_polygon(points=OUTLINE, size=SHAPE, **values):
    percent = [[100 * x / size[1], 100 * y / size[0]] for x, y in points]
    return studio_result({"points": percent, "closed": True}, size=size, **values)


def studio_brush(mask=NODULE, value=255, **values):
    return studio_result({"format": "rle", "rle": packed(mask, value)}, kind="brushlabels", **values)


def studio_annotation(*results, number=1, cancelled=False, truth=False):
    facts = {"was_cancelled": cancelled, "ground_truth": truth, "result_count": len(results), "task": 1}
    return {"id": number, "completed_by": 1, "result": list(results), **facts, "lead_time": 19.2}


def studio_task(*annotations, picture="/data/upload/3/ab12cd34-1.png", **values):
    facts = {"drafts": [], "predictions": [], "meta": {}, "project": 3, "inner_id": 1}
    return {
        **{"id": 1, "annotations": list(annotations), "file_upload": picture.rsplit("/", 1)[-1]},
        **{"data": {"image": picture}, **facts, **values},
    }
