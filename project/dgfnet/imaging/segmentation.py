"""DICOM-SEG becomes masks on the image or frame that its frames reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dgfnet.errors import InputError
from dgfnet.imaging.dicom import UNREADABLE, as_input_error, open_file, pixels_of, short

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"  # SOP class of DICOM-SEG


def read_segmentation(path: Path, data: Dataset, source: Path, frame: int | None) -> NDArray[np.uint8]:
    """Returns the union of all segments on a source image, (height, width), 0 or 1.

    Raises:
        InputError: when the file is no DICOM-SEG or its frames do not say which image they lie on.
    """
    import highdicom

    with as_input_error(path, "cannot be read as DICOM"):
        kind = str(data.get("SOPClassUID", ""))
    if kind != SEGMENTATION:
        return (pixels_of(path, data, frame) > 0).astype(np.uint8)  # a mask stored as a plain image
    picture = open_file(source)
    try:
        segments = highdicom.seg.segread(path)
        if "NumberOfFrames" in picture and int(picture.NumberOfFrames) > 1:
            planes = segments.get_pixels_by_source_frame(
                picture.SOPInstanceUID, [(frame or 0) + 1], ignore_spatial_locations=True,
                assert_missing_frames_are_empty=True,
            )  # fmt: skip
        else:
            planes = segments.get_pixels_by_source_instance(
                [picture.SOPInstanceUID], ignore_spatial_locations=True, assert_missing_frames_are_empty=True
            )
    except UNREADABLE as error:
        raise InputError(
            f"{path.name}: cannot be laid on {source.name} ({short(error)}); expected a DICOM-SEG whose "
            f"frames reference that image"
        ) from None
    return np.asarray(planes[0].max(axis=-1) > 0, dtype=np.uint8)
