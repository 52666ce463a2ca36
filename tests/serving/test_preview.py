"""What the page asks the server: a picture as the networks see it, the outline in a box, the square."""

import base64
import html
import json
import re

import cv2
import numpy as np
import pytest
from made import SETTINGS, disc, picture, png
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dgfnet.bundle.model import ScoringModel
from dgfnet.errors import InputError
from dgfnet.imaging.boxes import bounding_box
from dgfnet.preprocess.roi import find_square
from dgfnet.serving.page import headers, page_of
from dgfnet.serving.preview import preview_body
from dicom_files import dicom


@pytest.fixture(scope="module")
def model(bundle):
    return ScoringModel.open(bundle)


def seen(model, **asked):
    return json.loads(preview_body(json.dumps(asked).encode(), model))


def test_a_picture_comes_back_as_the_networks_see_it(model):
    answer = seen(model, modality="us", image=png(picture(1)))
    grey = cv2.imdecode(np.frombuffer(base64.b64decode(answer["picture"]), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(grey, picture(1))
    assert (answer["height"], answer["width"]) == picture(1).shape
    assert answer["spacing_mm"] is None
    assert "square" not in answer


@pytest.mark.parametrize("modality", ["us", "ct"])
def test_the_square_is_that_of_the_case(model, modality):
    mask = disc(13)
    box = bounding_box(mask)
    edges = [box.left, box.top, box.right, box.bottom]
    answer = seen(model, modality=modality, image=png(picture(1)), box=edges)
    square = find_square(mask, SETTINGS.preprocess.dilations(modality))
    assert answer["square"] == [square.left, square.top, square.side]
    assert answer["box"] == edges
    # this model reads no outline: it stays the box
    points = np.array(answer["outline"])
    assert points.min(axis=0).tolist() == [box.left + 0.5, box.top + 0.5]
    assert points.max(axis=0).tolist() == [box.right - 0.5, box.bottom - 0.5]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "the request is no JSON"),
        (b"[]", "modality: expected one of us, ct"),
        (b'{"modality": "mr", "image": ""}', "modality: expected one of us, ct"),
        (b'{"modality": "us"}', "us: "),
        (b'{"modality": "us", "image": "AAAA"}', "us: 3 bytes of no kind we read"),
        (
            json.dumps({"modality": "us", "image": png(picture(1)), "box": [1]}).encode(),
            "box: found 1 numbers",
        ),
        (
            json.dumps({"modality": "us", "image": png(picture(1)), "box": [1], "calipers": [1]}).encode(),
            "found box and calipers; expected one of them",
        ),
    ],
)
def test_what_is_no_picture_is_told(model, body, message):
    with pytest.raises(InputError) as told:
        preview_body(body, model)
    assert str(told.value).startswith(message)


def test_the_page_asks_nobody_else(model):
    page = page_of(model, 'dgfnet-"<central>', "7")
    assert "&quot;&lt;central&gt;" in page
    assert '"<central>' not in page
    assert not re.findall(r"(?:src|href)\s*=(?! `data:)|url\(|@import|https?://", page)
    policy = headers()["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    facts = json.loads(html.unescape(re.search(r'data-facts="([^"]*)"', page).group(1)))
    assert facts["version"] == "7"
    assert facts["modalities"] == ["us", "ct"]


def test_the_scale_is_that_of_the_region_with_the_box(model, tmp_path):
    """As a case is read: two calibrated regions beside each other, of 0.1 and 0.2 mm."""
    regions = []
    for left, side in ((0, 0.01), (48, 0.02)):  # cm
        region = Dataset()
        region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
        region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
        region.PhysicalDeltaX = region.PhysicalDeltaY = side
        region.RegionLocationMinX0, region.RegionLocationMaxX1 = left, left + 47
        region.RegionLocationMinY0, region.RegionLocationMaxY1 = 0, 95
        regions.append(region)
    path = tmp_path / "us.dcm"
    dicom(path, picture(1)[:96, :96].copy(), SequenceOfUltrasoundRegions=Sequence(regions))
    asked = {"modality": "us", "image": base64.b64encode(path.read_bytes()).decode()}
    assert seen(model, **asked)["spacing_mm"] is None
    assert seen(model, **asked, box=[5, 5, 40, 40])["spacing_mm"] == pytest.approx(0.1)
    assert seen(model, **asked, box=[55, 5, 90, 40])["spacing_mm"] == pytest.approx(0.2)
    with pytest.raises(InputError, match="regions of different scale"):
        seen(model, **asked, box=[30, 5, 70, 40])
