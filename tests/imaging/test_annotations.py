"""Files of five annotation tools give the nodule they were drawn around, pixel by pixel, or one message."""

from __future__ import annotations

import json
import os
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation_files import (
    BOX,
    NODULE,
    OUTLINE,
    SHAPE,
    coco,
    coco_annotation,
    compressed,
    cvat,
    cvat_mask,
    cvat_polygon,
    labelme,
    labelme_shape,
    packed,
    runs,
    studio_annotation,
    studio_brush,
    studio_polygon,
    studio_result,
    studio_task,
    via,
    via_region,
    write,
)
from dgfnet.errors import InputError
from dgfnet.imaging import annotations
from dgfnet.imaging.labels import nodule_of
from dgfnet.imaging.outlines.coco import uncompressed
from dgfnet.imaging.outlines.label_studio import unpacked

FLAT = [float(value) for point in OUTLINE for value in point]
COLUMNS = runs(NODULE.T.ravel())  # COCO goes down the columns
SQUARE = [(40, 4), (50, 4), (50, 10), (40, 10)]
SQUARE_MASK = np.zeros(SHAPE, dtype=bool)
SQUARE_MASK[4:10, 40:50] = True


def studio(*results):
    return [studio_task(studio_annotation(*results))]


EVERY = {  # one way after another to say the same nodule
    "labelme polygon": labelme(labelme_shape(OUTLINE)),
    "labelme 3 without a kind": {
        "version": "3.16.7",
        "flags": {},
        "shapes": [
            {"label": "nodule", "line_color": None, "fill_color": None, "points": OUTLINE, "flags": {}}
        ],
        "lineColor": [0, 255, 0, 128],
        "fillColor": [255, 0, 0, 128],
        "imagePath": "..\\pictures\\1.png",
        "imageData": "iVBORw0KGgo=",
    },
    "labelme mask": labelme(labelme_shape([(10, 8), (33, 29)], kind="mask", mask=BOX)),
    "CVAT polygon": cvat({"us/1.png": [cvat_polygon(OUTLINE)]}),
    "CVAT mask": cvat({"1.png": [cvat_mask(BOX, 8, 10)]}),
    "CVAT mask of the whole picture": cvat({"1.png": [cvat_mask(NODULE, 0, 0)]}),
    "COCO polygon": coco(coco_annotation([FLAT])),
    "COCO codes": coco(coco_annotation({"size": list(SHAPE), "counts": COLUMNS})),
    "COCO compressed codes": coco(coco_annotation({"size": list(SHAPE), "counts": compressed(COLUMNS)})),
    "VIA project": via({"1.png": [via_region()]}),
    "VIA export": via({"1.png": [via_region()]})["_via_img_metadata"],
    "VIA 1 export": {
        "1.png54044": {
            "fileref": {},
            "size": 54044,
            "filename": "1.png",
            "base64_data": "",
            "file_attributes": {},
            "regions": {"0": via_region([*OUTLINE, OUTLINE[0]])},
        }
    },
    "Label Studio polygon": studio(studio_polygon()),
    "Label Studio brush": studio(studio_brush()),
    "Label Studio brush of its converter": studio(studio_brush(value=1)),
    "Label Studio, one task": studio(studio_polygon())[0],
}


def regions(folder, document, picture="1.png", shape=SHAPE, name="a.json"):
    return annotations.read(write(folder / name, document), picture, shape)


def fault(folder, document, picture="1.png", shape=SHAPE, name="a.json"):
    with pytest.raises(InputError) as caught:
        regions(folder, document, picture, shape, name)
    said = str(caught.value)
    assert said.startswith(f"{name}: ")
    assert "\n" not in said
    return said.removeprefix(f"{name}: ")


def shown(found):
    return [(region.number, region.name, int(region.mask.sum()), region.fault) for region in found]


@pytest.mark.parametrize("name", ["a.json", "a.xml"])  # what is in a file tells, not what it is called
@pytest.mark.parametrize("kind", EVERY)
def test_every_tool_gives_the_nodule_pixel_by_pixel(tmp_path, kind, name):
    (found,) = regions(tmp_path, EVERY[kind], "us/1.png", name=name)
    assert (found.number, found.name, found.codes, found.fault) == (1, "nodule", (), "")
    np.testing.assert_array_equal(found.mask, NODULE)
    np.testing.assert_array_equal(nodule_of([found], None, "a"), NODULE)


def test_codes_are_those_of_the_tools():
    """Literals: what pycocotools, label-studio-sdk and cvat-sdk (less its last four) make of the nodule."""
    assert compressed(COLUMNS) == "X?f0j0000000000`0@0000000000000000000000000000000000X\\1"
    assert uncompressed("X?f0j0000000000`0@0000000000000000000000000000000000X\\1") == COLUMNS
    start = [0, 0, 48, 0, 57, 27, 255, 8, 39, 0, 194, 255, 251, 156, 3, 11, 255, 238, 112, 12, 47, 255, 185]
    assert packed(NODULE)[: len(start)] == start
    assert len(packed(NODULE)) == 116
    assert runs(BOX.ravel()) == [0, *[6, 18] * 16, 144]


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=30))
def test_compressed_lengths_are_read_back(counts):
    assert uncompressed(compressed(counts)) == counts


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(1, 400)), min_size=1, max_size=20), st.booleans())
def test_packed_values_are_read_back_repeated_or_literal(pairs, literal):
    values = [value for value, count in pairs for _ in range(count)]
    sizes = (3, 4, 8, 16)
    bits = f"{len(values):032b}00111" + "".join(f"{size - 1:04b}" for size in sizes)
    for value, count in pairs:
        kind = next(place for place, size in enumerate(sizes) if count <= 2**size)
        bits += f"{int(not literal)}{kind:02b}{count - 1:0{sizes[kind]}b}" + f"{value:08b}" * (
            count if literal else 1
        )
    bits += "0" * (-len(bits) % 8)
    codes = [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    assert unpacked(codes, len(values)).tolist() == values


@pytest.mark.parametrize("kind", ["labelme", "CVAT", "COCO", "VIA", "Label Studio"])
def test_shapes_of_a_label_are_one_region_and_labels_are_numbered_as_in_the_file(tmp_path, kind):
    far = [(min(x + 20, 64 if kind == "VIA" else 70), y) for x, y in SQUARE]  # VIA draws none outside
    drawn = {
        "labelme": labelme(
            *(labelme_shape(OUTLINE), labelme_shape(SQUARE, "node"), labelme_shape(far, " nodule "))
        ),
        "CVAT": cvat(
            {"1.png": [cvat_polygon(SQUARE, "node"), cvat_polygon(OUTLINE), cvat_polygon(far)]},
            labels=("nodule", "unused", "node"),
        ),
        "COCO": coco(
            *(coco_annotation([[float(v) for p in SQUARE for v in p]], 3), coco_annotation([FLAT])),
            coco_annotation([[float(v) for p in far for v in p]]),
            categories=("nodule", "unused", "node"),
        ),
        "VIA": via({"1.png": [via_region(), via_region(SQUARE, {"class": "node"}), via_region(far)]}),
        "Label Studio": studio(
            *(
                studio_polygon(),
                studio_polygon(SQUARE, labels=["node"], name="r2"),
                studio_polygon(far, name="r3"),
            )
        ),
    }[kind]
    number = 3 if kind in ("CVAT", "COCO") else 2  # these number their labels; of others the order counts
    nodule, node = regions(tmp_path, drawn)
    assert (nodule.number, nodule.name, node.number, node.name) == (1, "nodule", number, "node")
    expected = NODULE.copy()
    expected[4:10, 60:64] = True  # the rest lies outside the picture
    np.testing.assert_array_equal(nodule.mask, expected)
    np.testing.assert_array_equal(node.mask, SQUARE_MASK)


def test_a_label_that_other_pictures_have_is_a_region_here_too(tmp_path):
    """Else a file of nodules and nodes would ask which one is meant on some pictures and guess on others."""
    both = cvat(
        {"1.png": [cvat_polygon(OUTLINE)], "2.png": [cvat_polygon(OUTLINE, "node")]}, ("nodule", "node")
    )
    assert shown(regions(tmp_path, both)) == [(1, "nodule", 240, ""), (2, "node", 0, "")]
    assert shown(regions(tmp_path, both, "2.png")) == [(1, "nodule", 0, ""), (2, "node", 240, "")]


def test_without_a_label_the_name_is_empty(tmp_path):
    for document in (
        labelme(labelme_shape(OUTLINE, label="")),
        cvat({"1.png": [cvat_polygon(OUTLINE, label="")]}, labels=()),
        coco(coco_annotation([FLAT]), categories=[]),
        via({"1.png": [via_region(attributes={})]}),
        studio(studio_polygon(kind="polygon", labels=())),
    ):
        assert shown(regions(tmp_path, document)) == [(1, "", 240, "")]
    nameless = coco(coco_annotation([FLAT]), coco_annotation([FLAT], 2), categories=[])
    assert [region.name for region in regions(tmp_path, nameless)] == ["category 1", "category 2"]


def test_an_outline_through_a_channel_leaves_its_hole_out(tmp_path):
    hole = [(11, 10), (11, 14), (14, 14), (14, 10)]
    keyhole = [*OUTLINE, OUTLINE[0], *hole, hole[0]]
    expected = NODULE.copy()
    expected[10:14, 11:14] = False
    for document in (
        labelme(labelme_shape(keyhole)),
        cvat({"1.png": [cvat_polygon(keyhole)]}),
        coco(coco_annotation([[float(value) for point in keyhole for value in point]])),
        via({"1.png": [via_region(keyhole)]}),
        studio(studio_polygon(keyhole)),
    ):
        np.testing.assert_array_equal(regions(tmp_path, document)[0].mask, expected)


def test_ellipses_and_circles_hold_the_centres_inside_them(tmp_path):
    """Turned clockwise by 30 degrees, which CVAT and Label Studio write in degrees and VIA in radians."""
    attributes = 'label="nodule" cx="32.00" cy="24.00" rx="20.00" ry="6.00" rotation="30.00" z_order="0"'
    percent = {"x": 50.0, "y": 50.0, "radiusX": 100 * 20 / 64, "radiusY": 100 * 6 / 48, "rotation": 30.0}
    columns, rows = np.meshgrid(np.arange(64) + 0.5 - 32, np.arange(48) + 0.5 - 24)
    along, across = (
        columns * np.sqrt(3) / 2 + rows / 2,
        rows * np.sqrt(3) / 2 - columns / 2,
    )
    expected = (along / 20) ** 2 + (across / 6) ** 2 < 1
    assert expected[24 + 8, 32 + 14]
    assert not expected[24 - 8, 32 + 14]
    for document in (
        cvat({"1.png": [f"<ellipse {attributes}/>"]}),
        via({"1.png": [via_region(name="ellipse", cx=32, cy=24, rx=20, ry=6, theta=np.pi / 6)]}),
        studio(studio_result(percent, kind="ellipselabels")),
    ):
        np.testing.assert_array_equal(regions(tmp_path, document)[0].mask, expected)
    circle = columns**2 + rows**2 < 10**2
    for document in (
        labelme(labelme_shape([(32, 24), (38, 32)], kind="circle")),
        via({"1.png": [via_region(name="circle", cx=32, cy=24, r=10)]}),
    ):
        np.testing.assert_array_equal(regions(tmp_path, document)[0].mask, circle)


WITHOUT_AREA = {
    "labelme rectangle": labelme(labelme_shape([(10, 8), (34, 30)], kind="rectangle")),
    "labelme oriented_rectangle": labelme(labelme_shape(SQUARE, kind="oriented_rectangle")),
    "labelme line": labelme(labelme_shape([(10, 8), (34, 30)], kind="line")),
    "labelme point": labelme(labelme_shape([(10, 8)], kind="point")),
    "CVAT box": cvat({"1.png": ['<box label="nodule" xtl="10.00" ytl="8.00" xbr="34.00" ybr="30.00"/>']}),
    "CVAT polyline": cvat({"1.png": ['<polyline label="nodule" points="10.00,8.00;34.00,30.00"/>']}),
    "CVAT skeleton": cvat(
        {"1.png": ['<skeleton label="nodule"><points label="1" points="1.00,2.00"/></skeleton>']}
    ),
    "COCO box": coco(coco_annotation([])),
    "VIA rect": via({"1.png": [via_region(name="rect", x=10, y=8, width=24, height=22)]}),
    "VIA polyline": via({"1.png": [via_region(name="polyline", all_points_x=[1, 2], all_points_y=[1, 2])]}),
    "Label Studio rectangle": studio(
        studio_result({"x": 10, "y": 10, "width": 9, "height": 9, "rotation": 0}, kind="rectanglelabels")
    ),
    "Label Studio keypoint": studio(studio_result({"x": 10, "y": 10, "width": 0.4}, kind="keypointlabels")),
    "Label Studio bitmask": studio(studio_result({"imageDataURL": "data:image/png;,"}, kind="bitmasklabels")),
    "Label Studio brushlabels": studio(studio_result({"touches": []}, kind="brushlabels")),
    "Label Studio vector": studio(studio_result({"vertices": [], "closed": True}, kind="vectorlabels")),
    "Label Studio open polygon": studio(
        studio_result({"points": [[1, 1], [5, 1], [5, 5]], "closed": False}, kind="polygonlabels")
    ),
}


@pytest.mark.parametrize("kind", WITHOUT_AREA)
def test_a_shape_without_an_area_is_no_nodule(tmp_path, kind):
    (found,) = regions(tmp_path, WITHOUT_AREA[kind])
    word = kind.removeprefix("Label Studio ") if "Studio" in kind else kind.split(" ")[1]
    assert found.fault == f"is drawn as {word}, which is no outline; expected polygons or a mask"
    assert not found.mask.any()
    with pytest.raises(InputError, match=f"a.json: region 1 'nodule' is drawn as {word}"):
        nodule_of([found], None, "a.json")


def test_a_line_beside_the_nodule_is_in_the_way_only_of_its_own_label(tmp_path):
    caliper = labelme_shape([(10, 8), (34, 30)], "caliper", "line")
    found = regions(tmp_path, labelme(labelme_shape(OUTLINE), caliper))
    np.testing.assert_array_equal(nodule_of(found, "nodule", "a.json"), NODULE)
    with pytest.raises(InputError, match=r"2 regions \(1 'nodule', 2 'caliper'\); say which is the nodule"):
        nodule_of(found, None, "a.json")
    with pytest.raises(InputError, match="region 2 'caliper' is drawn as line, which is no outline"):
        nodule_of(found, "caliper", "a.json")
    both = regions(
        tmp_path, labelme(labelme_shape(OUTLINE), labelme_shape([(1, 1), (5, 5)], kind="rectangle"))
    )
    with pytest.raises(InputError, match="region 1 'nodule' is drawn as rectangle beside other shapes"):
        nodule_of(both, None, "a.json")


def test_parts_of_one_object_of_coco_are_its_union_and_a_part_inside_another_is_unclear(tmp_path):
    square, inner = (
        [float(v) for p in points for v in p] for points in (SQUARE, [(11, 9), (15, 9), (15, 14)])
    )
    apart = regions(tmp_path, coco(coco_annotation([FLAT, square])))
    np.testing.assert_array_equal(apart[0].mask, NODULE | SQUARE_MASK)
    unclear = regions(tmp_path, coco(coco_annotation([FLAT, square, inner])))
    assert unclear[0].fault.startswith("has a polygon inside a polygon, which some tools mean as a hole")
    two = regions(tmp_path, coco(coco_annotation([FLAT]), coco_annotation([inner])))  # two objects, not parts
    np.testing.assert_array_equal(two[0].mask, NODULE)


def test_a_picture_is_found_by_the_name_of_its_file(tmp_path):
    three = {
        "A/us/1.PNG": [cvat_polygon(OUTLINE)],
        "A/us/10.png": [],
        "A/us/1.tif": [],
        "B/us/1.tif": [cvat_polygon(SQUARE)],
    }
    document = cvat(three)
    for name in ("1.png", "us/1.png", "C/1.png", "1.PNG"):
        np.testing.assert_array_equal(regions(tmp_path, document, name)[0].mask, NODULE)
    np.testing.assert_array_equal(regions(tmp_path, document, "B/us/1.tif")[0].mask, SQUARE_MASK)
    assert not regions(tmp_path, document, "cohort/A/us/1.tif")[0].mask.any()
    assert fault(tmp_path, document, "1.tif") == (
        "2 pictures called 1.tif (A/us/1.tif, B/us/1.tif); expected one"
    )
    assert fault(tmp_path, document, "us/1.tif").startswith("2 pictures called 1.tif")
    assert fault(tmp_path, document, "2.png") == (
        "nothing about 2.png; it is about A/us/1.PNG, A/us/10.png, A/us/1.tif, B/us/1.tif. Annotate the "
        "image that images.csv names, or give it that name in the file"
    )
    many = cvat({f"{number}.png": [] for number in range(50)})
    assert "0.png, 1.png, 2.png, 3.png, 4.png and 45 more." in fault(tmp_path, many, "x.png")


def test_names_in_other_systems_addresses_and_uploads_are_names(tmp_path):
    decomposed = "Kno\u0308tchen 1.png"
    for document, name in (
        (labelme(labelme_shape(OUTLINE), picture="C:\\scans\\1.png"), "1.png"),
        (labelme(labelme_shape(OUTLINE), picture=decomposed), "Kn\u00f6tchen 1.png"),
        (labelme(labelme_shape(OUTLINE), picture=""), "any.png"),
        (via({"https://host/p/a%20b.png?x=1": [via_region()]}), "a b.png"),
        (
            [studio_task(studio_annotation(studio_polygon()), picture="/data/upload/3/ab12cd34-1.png")],
            "1.png",
        ),
        (
            [studio_task(studio_annotation(studio_polygon()), picture="/data/upload/3/ab12cd34-1.png")],
            "ab12cd34-1.png",
        ),
        (
            [studio_task(studio_annotation(studio_polygon()), picture="/data/local-files/?d=us%5C1.png")],
            "1.png",
        ),
        ([studio_task(studio_annotation(studio_polygon()), picture="s3://bucket/us/1.png")], "1.png"),
        (
            [
                studio_task(
                    studio_annotation(studio_polygon()), file_upload="ab12cd34-1.png", data={"i": "/x"}
                )
            ],
            "1.png",
        ),
        (
            [
                studio_task(
                    studio_annotation(studio_polygon()), data={"image": "1.png", "patient": "P7", "age": 3}
                )
            ],
            "1.png",
        ),
    ):
        np.testing.assert_array_equal(regions(tmp_path, document, name)[0].mask, NODULE)
    other = [studio_task(studio_annotation(studio_polygon()), picture="s3://bucket/ab12cd34-1.png")]
    assert "nothing about 1.png; it is about /ab12cd34-1.png." in fault(tmp_path, other)


def test_a_file_about_one_other_picture_is_not_taken_for_this_one(tmp_path):
    for document in EVERY.values():
        assert fault(tmp_path, document, "2.png").startswith("nothing about 2.png; it is about ")


def test_a_picture_of_another_size_is_refused(tmp_path):
    for document in (
        labelme(labelme_shape(OUTLINE), size=(64, 48)),
        cvat({"1.png": [cvat_polygon(OUTLINE)]}, size=(64, 48)),
        coco(coco_annotation([FLAT]), size=(64, 48)),
        studio(studio_polygon(size=(64, 48))),
    ):
        assert fault(tmp_path, document) == (
            "drawn on 64x48 pixels (rows x columns), but 1.png has 48x64; annotate the image that images.csv "
            "names"
        )


def test_where_a_file_says_no_size_what_lies_outside_tells_that_it_is_another(tmp_path):
    small = (40, 30)
    said = fault(tmp_path, via({"1.png": [via_region()]}), shape=small)
    assert said.endswith("(points up to x 34 and y 30 on 40x30 pixels (rows x columns))")
    circle = via({"1.png": [via_region(name="circle", cx=45, cy=4, r=3)]})
    assert "a centre at x 45 and y 4 on 40x30 pixels" in fault(tmp_path, circle, shape=small)
    edge = via({"1.png": [via_region([(0, 0), (65, 0), (65, 49), (0, 49)])]})
    assert regions(tmp_path, edge)[0].mask.all()  # drawn along the edge of the picture
    sized = via({"1.png": [via_region()]})
    sized["_via_img_metadata"]["1.png54044"]["file_attributes"] = {"width": "640", "height": "480"}
    assert "drawn on 480x640 pixels" in fault(tmp_path, sized)


def test_what_lies_outside_the_picture_is_cut_off(tmp_path):
    wide = [(-20, 40), (90, 40), (90, 70), (-20, 70)]
    expected = np.zeros(SHAPE, dtype=bool)
    expected[40:] = True
    for document in (
        labelme(labelme_shape(wide)),
        cvat({"1.png": [cvat_polygon(wide)]}),
        coco(coco_annotation([[float(value) for point in wide for value in point]])),
        studio(studio_polygon(wide)),
    ):
        np.testing.assert_array_equal(regions(tmp_path, document)[0].mask, expected)


def test_of_several_annotators_the_ground_truth_counts_and_cancelled_ones_do_not(tmp_path):
    nodule, square = studio_polygon(), studio_polygon(SQUARE)
    skipped = studio_annotation(square, number=5, cancelled=True)
    first, second = studio_annotation(nodule, number=6), studio_annotation(square, number=7)
    truth = studio_annotation(nodule, number=8, truth=True)
    for drawn in ([skipped, first], [first, skipped], [second, truth, skipped], [truth, second]):
        found = regions(tmp_path, [studio_task(*drawn)])
        np.testing.assert_array_equal(found[0].mask, NODULE)
    assert "(annotations 6, 7 of one picture, 0 of them ground truth; mark the one that counts" in fault(
        tmp_path, [studio_task(first, second, skipped)]
    )
    also = studio_annotation(square, number=9, truth=True)
    assert "annotations 8, 9 of one picture, 2 of them ground truth" in fault(
        tmp_path, [studio_task(truth, also)]
    )
    guess = {"result": [square], "model_version": "m"}
    assert fault(tmp_path, [studio_task(skipped, predictions=[guess])]).startswith("nothing is drawn in it")


def test_label_studio_results_of_one_id_are_about_one_region(tmp_path):
    polygon = studio_polygon(kind="polygon", labels=())
    choice = studio_polygon(kind="choices", labels=["uncertain"])
    label = studio_polygon(kind="labels", labels=["nodule"])
    about_picture = {"id": "q", "type": "choices", "value": {"choices": ["good"]}, "from_name": "quality"}
    relation = {"type": "relation", "from_id": "r1", "to_id": "r2", "direction": "right"}
    bare = {**label, "value": {"labels": ["nodule"]}}
    for results in ((polygon, label, choice), (choice, label, polygon), (bare, polygon)):
        found = regions(tmp_path, studio(*results, about_picture, relation))
        assert shown(found) == [(1, "nodule", 240, "")]
    several = regions(tmp_path, studio(studio_polygon(labels=["nodule", "cystic"])))
    assert (several[0].name, several[0].codes) == ("nodule, cystic", ("nodule", "cystic"))
    np.testing.assert_array_equal(nodule_of(several, "nodule", "a"), NODULE)


# the nodule as @thi.ng/rle-pack 2.1.43 packs it, which Label Studio's editor uses, with edges as a canvas
# blurs them: alpha 138 to 143 in the row above its upper end, 90 to 85 in the one below its lower end
EDITED = (
    "00003000391bff0727008e2a38b8e3238d8e3a38fdce0185fff7380617ffdce0185fff7380617ffdce0185fff7380617"
    "ffdce0185fff7380617ffdce0185fff7380617ffdce0185fff7380617ffdce0185fff7380617ffdce0185fff7380617f"
    "fdce0197fff4f8065fffd3e0197fff4f8065fffd3e0197fff4f8065fffd3e011ad46b31ac46af1ab46abc46fc000"
)


def test_a_brush_is_where_it_covers_more_than_half(tmp_path):
    drawn = studio_result({"format": "rle", "rle": list(bytes.fromhex(EDITED))}, kind="brushlabels")
    expected = NODULE.copy()
    expected[7, 10:16] = True
    np.testing.assert_array_equal(regions(tmp_path, studio(drawn))[0].mask, expected)


def test_via_labels_are_the_values_of_its_attributes(tmp_path):
    options = {"class": {"type": "dropdown", "options": {"1": "nodule", "2": ""}, "default_options": {}}}
    drawn = via(
        {"1.png": [via_region(attributes={"class": "1"}), via_region(SQUARE, {"class": "2"})]}, options
    )
    found = regions(tmp_path, drawn)
    assert [(region.name, region.codes) for region in found] == [("nodule", ("1",)), ("2", ())]
    ticked = via(
        {"1.png": [via_region(attributes={"is": {"nodule": True, "cystic": True, "calcified": False}})]}
    )
    assert [(region.name, region.codes) for region in regions(tmp_path, ticked)] == [
        ("nodule, cystic", ("nodule", "cystic"))
    ]
    two = via(
        {
            "1.png": [
                via_region(attributes={"class": "nodule", "quality": "good"}),
                via_region(SQUARE, {"class": "nodule", "quality": "bad"}),
                via_region([(1, 1), (3, 1), (3, 3)], {"class": "node", "quality": ""}),
            ]
        }
    )
    found = regions(tmp_path, two)
    assert [region.name for region in found] == [
        *("class=nodule; quality=good", "class=nodule; quality=bad", "class=node")
    ]
    np.testing.assert_array_equal(nodule_of(found, "nodule", "a"), NODULE | SQUARE_MASK)


def test_a_shape_of_cvat_that_is_outside_and_a_tag_are_not_drawn(tmp_path):
    hidden = cvat_polygon(SQUARE, "node").replace("<polygon ", '<polygon outside="1" keyframe="0" ')
    tag = '<tag label="blurred" source="manual"></tag>'
    found = regions(
        tmp_path, cvat({"1.png": [hidden, tag, cvat_polygon(OUTLINE)]}, ("node", "blurred", "nodule"))
    )
    assert shown(found) == [(3, "nodule", 240, "")]


BAD = {
    "nothing": ("", "cannot be read as JSON (Expecting value"),
    "a picture": ("\x89PNG", "cannot be read as JSON (Expecting value"),
    "cut": (json.dumps(EVERY["COCO polygon"])[:400], "cannot be read as JSON ("),
    "deep": ("[" * 200_000, "cannot be read as JSON (maximum recursion depth exceeded"),
    "NaN": (
        json.dumps(labelme(labelme_shape([(1, 1), (float("nan"), 2), (3, 3)]))),
        "cannot be read as JSON (NaN where a number was expected)",
    ),
    "a number beyond all": (
        json.dumps(labelme(labelme_shape([(1, 1), (9, 2), (3, 3)]))).replace("9.0", "1e999"),
        "cannot be used as a file of labelme (a polygon whose coordinates are no numbers of pixels)",
    ),
    "no number": (
        json.dumps(labelme(labelme_shape(OUTLINE))).replace("16.0", '"west"'),
        "cannot be used as a file of labelme (could not convert string to float",
    ),
    "a line called polygon": (
        labelme(labelme_shape([(1, 1), (5, 5)])),
        "a polygon of shape (2, 2); expected three",
    ),
    "a shape that is no object": (labelme("nodule"), "cannot be read as annotations (label is no text)"),
    "some JSON": (
        {"type": "FeatureCollection", "features": []},
        "JSON of no tool that is known; expected labelme",
    ),
    "COCO results": (
        [{"image_id": 1, "category_id": 1, "segmentation": [FLAT]}],
        "JSON of no tool that is known",
    ),
    "Label Studio JSON-MIN": (
        [{"image": "1.png", "id": 1, "label": [], "annotator": 1, "annotation_id": 1}],
        "Label Studio's JSON-MIN; export it as JSON",
    ),
    "some XML": ("<kml><Document/></kml>", "XML of <kml>; expected labelme, COCO"),
    "Pascal VOC": (
        "<annotation><filename>1.png</filename></annotation>",
        "XML of <annotation>; expected labelme",
    ),
    "cut XML": (EVERY["CVAT polygon"][:300], "cannot be read as XML (unclosed token"),
    "a document type": (
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>',
        "cannot be read as XML (a document type (DOCTYPE), which annotations do not have)",
    ),
    "CVAT for video": (
        '<annotations><version>1.1</version><track id="0" label="nodule"/></annotations>',
        "tracks of a video; export it as CVAT for images 1.1",
    ),
    "CVAT 1.0": (cvat({"1.png": []}, version="1.0"), "version '1.0'; expected 1.1"),
    "CVAT without points": (cvat({"1.png": [cvat_polygon([])]}), "could not convert string to float"),
    "CVAT runs that are too few": (
        cvat({"1.png": [cvat_mask(BOX, 8, 10).replace("144", "143")]}),
        "run-length codes that do not add up to 528 pixels",
    ),
    "CVAT mask beyond the picture": (
        cvat({"1.png": [cvat_mask(BOX, 30, 10)]}),
        "a mask of rows 30-52 and columns 10-34 on 48x64 pixels (rows x columns)",
    ),
    "CVAT mask of all memory": (
        cvat({"1.png": [cvat_mask(BOX, 8, 10).replace('width="24"', 'width="400000"')]}),
        "run-length codes that do not add up to 8800000 pixels",
    ),
    "COCO codes of another size": (
        coco(coco_annotation({"size": [64, 48], "counts": COLUMNS})),
        "a mask of 64x48 pixels on a picture of 48x64",
    ),
    "COCO codes that are too few": (
        coco(coco_annotation({"size": list(SHAPE), "counts": COLUMNS[:-1]})),
        "run-length codes that do not add up to 3072 pixels",
    ),
    "COCO codes below zero": (
        coco(coco_annotation({"size": list(SHAPE), "counts": [-1, 3073]})),
        "run-length codes that do not add up to 3072 pixels",
    ),
    "COCO codes that are broken numbers": (
        coco(coco_annotation({"size": list(SHAPE), "counts": [1.5, 3070.5]})),
        "run-length codes that are no lists of whole numbers",
    ),
    "COCO text of none": (
        coco(coco_annotation({"size": list(SHAPE), "counts": "\u00e4"})),
        "run-length codes that are no text of COCO",
    ),
    "COCO text that is cut": (
        coco(coco_annotation({"size": list(SHAPE), "counts": compressed(COLUMNS)[:1]})),
        "run-length codes that end within a number",
    ),
    "COCO category of none": (
        coco(coco_annotation([FLAT], 9)),
        "category_id 9, which is not among the categories",
    ),
    "COCO odd coordinates": (coco(coco_annotation([FLAT[:-1]])), "cannot reshape array of size 11"),
    "COCO without annotations": (coco(), "nothing is drawn in it; expected an outline of the nodule"),
    "labelme mask of another size": (
        labelme(labelme_shape([(10, 8), (34, 29)], kind="mask", mask=BOX)),
        "a mask of 22x24 pixels in a box of 22x25",
    ),
    "labelme mask that is no picture": (
        labelme({**labelme_shape([(10, 8), (34, 29)], kind="mask"), "mask": "QUJD"}),
        "a mask of 0x0 pixels in a box of 22x25",
    ),
    "VIA with x alone": (
        via({"1.png": [via_region(name="polygon", all_points_x=[1, 2, 3])]}),
        "all_points_y is no list",
    ),
    "VIA with more x than y": (
        via({"1.png": [via_region(name="polygon", all_points_x=[1, 2, 3], all_points_y=[1, 2])]}),
        "zip() argument 2 is shorter",
    ),
    "VIA circle without a radius": (
        via({"1.png": [via_region(name="circle", cx=3, cy=4)]}),
        "'None' where a number was expected",
    ),
    "Label Studio, rotated": (
        studio(studio_polygon(image_rotation=90)),
        "a picture that was rotated in Label Studio; rotate the file and draw again",
    ),
    "Label Studio, two sizes": (
        studio(studio_polygon(), studio_polygon(size=(64, 48), name="r2")),
        "results on (48, 64) and (64, 48) pixels",
    ),
    "Label Studio without sizes": (
        studio({**studio_polygon(), "original_width": None}),
        "'None' where a number was expected",
    ),
    "Label Studio, two pictures": (
        [studio_task(studio_annotation(studio_polygon()), data={"a": "1.png", "b": "2.png"})],
        "a task that shows several pictures (1.png, 2.png); expected one a task",
    ),
    "Label Studio, a row of pictures": (
        [studio_task(studio_annotation(studio_polygon()), data={"images": ["1.png", "2.png"]})],
        "a task that shows several pictures",
    ),
    "Label Studio brush of another size": (
        studio(studio_brush(NODULE[1:])),
        "a brush of 12032 values; expected 12288",
    ),
    "Label Studio brush that is cut": (
        studio(studio_result({"format": "rle", "rle": packed(NODULE)[:60]}, kind="brushlabels")),
        "a brush whose codes end too early",
    ),
    "Label Studio brush of no bytes": (
        studio(studio_result({"format": "rle", "rle": [0, 256]}, kind="brushlabels")),
        "a brush whose codes are no list of bytes",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_used_is_told_in_one_message(tmp_path, kind):
    document, words = BAD[kind]
    assert words in fault(tmp_path, document)


def test_a_file_that_is_not_there_or_too_large_is_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"gone\.json: cannot be opened"):
        annotations.read(tmp_path / "gone.json", "1.png", SHAPE)
    monkeypatch.setattr(annotations, "LARGEST_FILE", 500)
    assert fault(tmp_path, EVERY["COCO polygon"]).startswith("0 MB; expected at most 0. Export")


def test_a_file_that_was_written_again_is_read_again(tmp_path):
    path = write(tmp_path / "a.json", EVERY["VIA project"])
    np.testing.assert_array_equal(annotations.read(path, "1.png", SHAPE)[0].mask, NODULE)
    write(path, via({"1.png": [via_region(SQUARE)]}))
    os.utime(path, ns=(1, 1))
    np.testing.assert_array_equal(annotations.read(path, "1.png", SHAPE)[0].mask, SQUARE_MASK)


def test_utf_16_and_a_byte_order_mark_are_read(tmp_path):
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le"):
        (tmp_path / "a.json").write_bytes(json.dumps(EVERY["labelme polygon"]).encode(encoding))
        np.testing.assert_array_equal(annotations.read(tmp_path / "a.json", "1.png", SHAPE)[0].mask, NODULE)


def test_files_that_claim_to_be_huge_take_no_memory(tmp_path):
    huge = 2**31
    laughs = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    liars = [
        coco(coco_annotation({"size": [huge, huge], "counts": [0, huge * huge]}), size=(huge, huge)),
        cvat({"1.png": [f'<mask label="a" rle="0, {huge}" left="0" top="0" width="{huge}" height="1"/>']}),
        studio(studio_result({"format": "rle", "rle": [255] * 99}, kind="brushlabels", size=(huge, huge))),
        labelme(labelme_shape([(0, 0), (huge, huge)], kind="mask", mask=BOX)),
        f'<!DOCTYPE a [<!ENTITY a0 "ha">{laughs}]><annotations>&a9;</annotations>',
    ]
    tracemalloc.start()
    for document in liars:
        assert fault(tmp_path, document)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 2**20


@given(st.sampled_from(sorted(EVERY)), st.data())
def test_damaged_files_end_in_regions_or_in_one_message(kind, data):
    whole = EVERY[kind] if isinstance(EVERY[kind], str) else json.dumps(EVERY[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        put = data.draw(
            st.sampled_from(["", "null", "[]", "{}", "-1", "1e308", "true", '"a"', "9" * 5000, "<", ">"])
        )
        whole = whole[:at] + put + whole[at + data.draw(st.integers(0, 12)) :]
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "a.json", whole)
        try:
            said = f"a.json: {len(annotations.read(path, '1.png', SHAPE))}"
        except InputError as error:
            said = str(error)
    assert said.startswith("a.json: ")
    assert "\n" not in said


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(document, path=()):
    yield path
    if isinstance(document, dict | list):
        for key, value in document.items() if isinstance(document, dict) else enumerate(document):
            yield from places(value, (*path, key))


@given(st.sampled_from(sorted(kind for kind in EVERY if not isinstance(EVERY[kind], str))), st.data())
def test_documents_of_other_types_end_in_regions_or_in_one_message(kind, data):
    """Sound JSON in which one value, somewhere, is of any other kind."""
    document = json.loads(json.dumps(EVERY[kind]))
    *path, last = data.draw(st.sampled_from([place for place in places(document) if place]))
    at = document
    for key in path:
        at = at[key]
    at[last] = data.draw(VALUES)
    with tempfile.TemporaryDirectory() as folder:
        file = write(Path(folder) / "a.json", document)
        try:
            said = f"a.json: {len(annotations.read(file, '1.png', SHAPE))}"
        except InputError as error:
            said = str(error)
    assert said.startswith("a.json: ")
    assert "\n" not in said
