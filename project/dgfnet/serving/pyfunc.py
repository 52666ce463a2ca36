"""What MLflow is told of a bundle when it makes a model of it: code, requirements, signature, example."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType, Array

from dgfnet.serving.answers import COLUMNS
from dgfnet.serving.cases import FIELDS, NAME
from dgfnet.vocabulary import Modality

NEEDED = (  # to answer: no torch, no Ray, no DVC
    *("mlflow", "numpy", "pandas", "pydantic", "pyyaml", "onnxruntime", "safetensors"),
    *("opencv-python-headless", "pillow", "nibabel", "pydicom"),
    *("pylibjpeg", "pylibjpeg-openjpeg", "python-gdcm", "highdicom"),
)
TEXT = (NAME, "variant", "statement", "model", "version")


def described(bundle: Path, modalities: Sequence[Modality]) -> dict[str, Any]:
    """Arguments of `mlflow.pyfunc.log_model` and `save_model`.

    Args:
        bundle: the folder that bundle/write.py writes.
        modalities: what the model needs.
    """
    package = Path(__file__).parent.parent
    return {
        "python_model": str(Path(__file__).with_name("scorer.py")),
        "artifacts": {"bundle": str(bundle)},
        "code_paths": [str(package)],
        "signature": _signature(),
        "input_example": _example(modalities),
        "pip_requirements": [f"{name}=={version(name)}" for name in NEEDED],
    }


def _signature() -> ModelSignature:
    """Names, and types of the answer; an image is base64 text or a matrix, which the scorer looks at."""
    kinds: dict[str, Any] = dict.fromkeys(TEXT, DataType.string) | {"warnings": Array(DataType.string)}
    anything: Any = AnyType()  # type: ignore[no-untyped-call]
    outputs: list[Any] = [
        ColSpec(kinds.get(name, DataType.double), name) for name in (NAME, *COLUMNS, "model", "version")
    ]
    inputs: list[Any] = [ColSpec(anything, name, required=False) for name in (NAME, *FIELDS)]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def _example(modalities: Sequence[Modality]) -> pd.DataFrame:
    """One case of noise: an example travels with the model, a patient must not."""
    grey = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)
    mask = cv2.circle(np.zeros((96, 96), np.uint8), (48, 48), 12, 255, -1)
    image, outline = (
        base64.b64encode(cv2.imencode(".png", one)[1].tobytes()).decode() for one in (grey, mask)
    )
    case = {name: image for name in modalities} | {f"{name}_mask": outline for name in modalities}
    return pd.DataFrame([{NAME: "example"} | case])
