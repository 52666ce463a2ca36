"""The files of a bundle: a folder with everything needed to score, for torch and, without it, for serving.

bundle.json            settings of network and preprocessing, threshold, calibration, ranges
weights.safetensors    the network with its reference bank
model.onnx             the same network as a graph
folds/K.onnx           the networks of the other folds: how far answers depend on who was trained on
reference.safetensors  mean crop and values of the training nodules
us/, ct/               of a fusion: bundles of the unimodal models it was built from
MODEL_CARD.md          what the model is for, in words
SHA256SUMS             of the files above, each folder its own: a damaged copy is not loaded (registry/seal.py
                       guards against tampering)
"""

from __future__ import annotations

from pathlib import Path

from dgfnet.files import sha256
from dgfnet.vocabulary import MODALITIES

FACTS, WEIGHTS, GRAPH = "bundle.json", "weights.safetensors", "model.onnx"
REFERENCE, CARD, SUMS = "reference.safetensors", "MODEL_CARD.md", "SHA256SUMS"
FOLDER = "bundle"  # below the artifacts of a registered model
FORMAT = {"bundle_format": "3"}  # tag of a version whose bundle has these files


def fold_graph(folder: Path, fold: int) -> Path:
    """The network of another fold; the path comes from a number, not from the file."""
    return folder / "folds" / f"{int(fold)}.onnx"


def check_sums(folder: Path) -> None:
    """Holds the files of a bundle against its list: those, no others, and as they were written.

    Raises:
        ValueError: naming a file that differs, is missing or was added.
    """
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    listed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    for name in sorted(listed.keys() ^ set(own_files(folder))):
        raise ValueError(f"{name} is missing" if name in listed else f"{name} was added")
    for name, digest in listed.items():
        if digest != sha256(folder / name):
            raise ValueError(f"{name} is not the file that was written")


def own_files(folder: Path) -> list[str]:
    """Files of a bundle without its list and the bundles in it, sorted."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(name.as_posix() for name in names if name.parts[0] not in (SUMS, *MODALITIES))
