"""Describes a bundle as an MLflow model: code, requirements, signature, input example."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import mlflow
import numpy as np
import pandas as pd
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType, Array

from dgfnet.bundle.layout import CARD, CODE, PACKED
from dgfnet.bundle.packed import pack
from dgfnet.serving.answers import COLUMNS
from dgfnet.serving.decode import FIELDS, MARK_FIELDS, NAME, SEGMENTS, SPACING_FIELDS
from dgfnet.vocabulary import RECORD, Modality

NEEDED = (  # to answer: no torch, no Ray, no DVC
    *("mlflow", "numpy", "scipy", "pandas", "pydantic", "pyyaml", "onnxruntime", "safetensors"),
    *("opencv-python-headless", "pillow", "nibabel", "pydicom"),
    *("pylibjpeg", "pylibjpeg-openjpeg", "python-gdcm"),
)
TEXT = (NAME, "variant", "level", "prediction_set", "statement", "model", "version")


def save_model(bundle: Path, modalities: Sequence[Modality], folder: Path, described: Model) -> None:
    """Writes a bundle as an MLflow model: few files, for a server takes a request for each.

    Args:
        bundle: folder that bundle/write.py wrote.
        modalities: inputs of its network.
        folder: to be made.
        described: MLflow's own record of the model.
    """
    package = Path(__file__).parent.parent
    with tempfile.TemporaryDirectory() as place:
        packed, code = Path(place) / PACKED, Path(place) / CODE
        pack(bundle, packed)
        pack(package, code, f"{package.name}/", "*.py", compress=True)
        mlflow.pyfunc.save_model(
            str(folder),
            mlflow_model=described,
            python_model=str(Path(__file__).with_name("scorer.py")),
            artifacts={"bundle": str(packed), "code": str(code), "card": str(bundle / CARD)},
            signature=_signature(),
            input_example=_example(modalities),
            pip_requirements=[f"{name}=={version(name)}" for name in NEEDED],
        )


def _signature() -> ModelSignature:
    """Returns names of the inputs, of any type (base64 text, matrix, object), and those of the outputs."""
    types: dict[str, Any] = dict.fromkeys(TEXT, DataType.string) | {"warnings": Array(DataType.string)}
    anything: Any = AnyType()  # type: ignore[no-untyped-call]
    outputs: list[Any] = [
        ColSpec(types.get(name, DataType.double), name) for name in (NAME, *COLUMNS, "model", "version")
    ]
    names = (NAME, *FIELDS, *MARK_FIELDS, *SEGMENTS, *SPACING_FIELDS, RECORD)
    inputs: list[Any] = [ColSpec(anything, name, required=False) for name in names]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def _example(modalities: Sequence[Modality]) -> pd.DataFrame:
    """Makes a case of noise: the example travels with the model, a patient must not."""
    grey = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)
    mask = cv2.circle(np.zeros((96, 96), np.uint8), (48, 48), 12, 255, -1)
    image, outline = (
        base64.b64encode(cv2.imencode(".png", pixels)[1].tobytes()).decode() for pixels in (grey, mask)
    )
    case = {name: image for name in modalities} | {f"{name}_mask": outline for name in modalities}
    return pd.DataFrame([{NAME: "example"} | case])
