"""The files of a bundle, the format of a registered model: a folder with everything that scoring needs.

bundle.json            the metadata below
weights.safetensors    the network with its reference bank, for torch
model.onnx             the same network as a graph, for serving (bundle/graph.py): log odds, and of a fusion
                       those of every coalition of its streams
folds/K.onnx           the networks of the other folds: they score too, or give the range of an answer
reference.safetensors  `<input>_mean`: mean crop, or mask, of the training nodules, (S, S) uint8;
outline/us.onnx, ct    what outlines a nodule in a box: grey values along rays (outline/polar.py), uint8 of
                       (B, 64, 24), to the radius of the outline on each ray, (B, 64)
us/, ct/               of a fusion: bundles of the unimodal models it was built from
MODEL_CARD.md          purpose, training and limits of the model, in words
SHA256SUMS             of the files above, each folder its own: a damaged copy is not loaded (registry/seal.py
                       guards against tampering)

Keys of bundle.json:

site, encoder                        of the networks
variant                              of the model; `stack`: the networks joined with measured features;
                                     `record_stack`: with the record, too
network_variant                      of the networks
members                              `fold`, `fit` (the key of its training task), `shift` (prevalence
                                     correction: added to its log odds), `threshold`, `training_prevalence` of
                                     every network: first that of model.onnx, then those below folds/. In a
                                     stacked model `stacked`, the fold's regression as model.json has it, with
                                     its `key`; else null. Of a network with a stream of the record `terms`,
                                     the columns of its input (tabular/terms.py); else null
units                                of a stacked model: of the pixels that were measured, per modality of one
                                     unit; else null
measured                             of a stacked model: smallest and largest value of every measured feature;
                                     else null
record                               of a model that reads the record, by name of the column `kind`
                                     (number or level), `levels` that the model knows, `low` and `high` of the
                                     training cohort (bundle/record.py); else null
scoring                              ensemble: the mean of the members' log odds is the answer; best_fold:
                                     those of the first
modalities, inputs                   whose pictures it reads, and the graphs' inputs, but for `record`
network, preprocess                  the settings of networks and pictures
threshold                            frozen; a probability at or above it is called positive
sampling                             of the classes in training
calibration                          slope and intercept of the calibrated log odds, null where undefined
alone                                modalities of the unimodal bundles
outlines                             modalities with a graph below outline/
typical                              per modality the training crops, and how far from them a nodule may be
                                     (bundle/novelty.py)
held_out_levels                      share of held-out nodules at the levels `caution` and `no answer`
false_alarms                         share of held-out nodules that may be beyond a limit of caution
held_out_risks                       of held-out nodules `counts` of calibrated risks (bundle/watch.py) and
                                     their `mean`; null where there is no calibration
recalibrated                         of a version made by `dgfnet recalibrate`: of which `version`, `update`,
                                     `nodules`, `positives`
sets                                 `coverage` of prediction sets, and their limits (metrics/conformal.py)
"""

from __future__ import annotations

from pathlib import Path

from dgfnet.files import sha256
from dgfnet.vocabulary import MODALITIES, Modality

METADATA, WEIGHTS, GRAPH = "bundle.json", "weights.safetensors", "model.onnx"
REFERENCE, CARD, SUMS = "reference.safetensors", "MODEL_CARD.md", "SHA256SUMS"
# below the artifacts of a registered model: the bundle, and the package that reads it
PACKED, CODE = "bundle.zip", "dgfnet.zip"
FOLDER = "bundle"  # before format 8 in the place of PACKED
FORMAT = {"bundle_format": "11"}  # fact of a version whose bundle has these files
# those of 5 have no outline/; before 7 nothing is refused; before 9 graphs of a fusion say less; before 10
# none reads the record; before 11 no network does
READABLE = ("5", "6", "7", "8", "9", "10", "11")


def fold_graph(folder: Path, fold: int) -> Path:
    """Returns the path of another fold's network; it is made of a number, not of text from bundle.json."""
    return folder / "folds" / f"{int(fold)}.onnx"


def outline_graph(folder: Path, modality: Modality) -> Path:
    """Returns the path of the graph that outlines nodules in boxes."""
    return folder / "outline" / f"{modality}.onnx"


def check_sums(folder: Path) -> None:
    """Checks that a bundle holds the files of its list, no others, and as they were written.

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
    """Lists the files of a bundle, sorted, without SHA256SUMS and the bundles in it."""
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(name.as_posix() for name in names if name.parts[0] not in (SUMS, *MODALITIES))
