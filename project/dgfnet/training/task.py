"""The task of one fit, with all its inputs, and the places of its files.

The key of a task covers data, folds, settings, code and parents and names the folder of the result,
`<work>/fits/<key>/`. A fit that is done never has to be repeated, and a changed setting repeats only the fits
it touches.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any, Literal

from dgfnet import digests
from dgfnet.sections.networks import Network, Training
from dgfnet.settings import fingerprint
from dgfnet.vocabulary import SPECS, Backbone, EncoderName, Modality, Site, Variant

CHECKPOINT, FAILURE, LOCK = "checkpoint.pt", "failure.json", "lock"  # of a fit that runs
KEPT = "fits"  # folder of fits among the outputs of a stage
UNIFORM = "uniform_attention"  # column of predictions.csv: the probability with such attention
DAMAGED = "checkpoint-damaged.pt"  # a checkpoint that could not be read
MOMENTS = "moments.safetensors"  # of Adam, where another fit goes on in the same schedule
Phase = Literal["segmentation", "classification"]
CODE = (  # decides what a fit computes; tests/training/test_task.py holds it against what fit.py imports
    *("adam.py", "vocabulary.py", "measured/definitions.py", "preprocess/archive.py"),
    *("dataset", "network", "training"),
    *("metrics/calibration.py", "metrics/discrimination.py", "metrics/segmentation.py", "tabular/terms.py"),
)


@cache
def code_digest() -> str:
    """sha256 over the source of the rooms that decide what a fit computes."""
    package = Path(__file__).parent.parent
    total = sha256()
    for part in CODE:
        files = [package / part] if part.endswith(".py") else sorted((package / part).glob("**/*.py"))
        for file in files:
            total.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes())
    return total.hexdigest()


@dataclass(frozen=True)
class Task:
    """Everything one fit depends on, and nothing else.

    Attributes:
        phase: segmentation only, or with classification added.
        site: None in the segmentation phase, which knows no label.
        fold: the held-out fold.
        before: epochs that its parent has done in the same schedule; it goes on with the parent's optimiser.
        after: epochs in the same schedule that are left to the fits that start from this one.
        parents: per modality the key of the fit whose stream this one starts from; empty to start from
            scratch.
        pretrained: path of a checkpoint to start from, where the fit starts from no parent.
        pretrained_sha256: its content.
        archive: digest of the images.
        folds: digest of patients, labels and folds.
        measured: sha256 of what was measured of the images, where encoders are to tell it; else None.
        measured_weight: of that in the loss.
        record: name and digest of each column of nodules.csv that the network reads, in their order; empty
            where it reads none.
        inner_folds: None trains on every fold but `fold`. A number belongs to a search: it cuts that training
            part into so many, trains on all but the first and holds that one out; `fold` is never used.
        choose: score of the held-out nodules by which the epoch is chosen whose weights are kept, of equal
            ones the first; None keeps the last. What is held out then flatters.
        validate_every: epochs between validations on the held-out fold; they change no weight.
        code: digest of the code, taken once by the driver: an edit during a sweep does not change its keys.
    """

    phase: Phase
    variant: Variant
    encoder: Backbone
    site: Site | None
    fold: int
    epochs: int
    before: int
    after: int
    seed: int
    parents: Mapping[Modality, str]
    network: Network
    training: Training
    pretrained: str | None
    pretrained_sha256: str | None
    archive: str
    folds: str
    measured: str | None
    measured_weight: float
    record: tuple[tuple[str, str], ...]
    inner_folds: int | None
    choose: Literal["accuracy", "auc"] | None
    validate_every: int
    code: str = field(default_factory=code_digest)

    @property
    def resnet(self) -> EncoderName:
        """The encoder of a `DGFNet`.

        Raises:
            ValueError: for `us_tlr`, which is none.
        """
        if self.encoder == "inception_v3":
            raise ValueError(f"{self.variant} has no ResNet")
        return self.encoder

    @property
    def key(self) -> str:
        """Name of the fit: equal tasks under equal code have equal keys.

        Left out is what changes neither weights nor predictions of this fit: a path, a validation, another
        site's encoder, the fusion of a variant that does not fuse, the record where none is read; in the
        segmentation phase the sampling of labels and the images that are scored. The schedule is there as the
        epochs before and after.
        """
        unread = () if self.record else ("record",)
        parts = {
            name: value
            for name, value in vars(self).items()
            if name not in ("network", "training", "pretrained", "validate_every", *unread)
        }
        unused = {"encoder", "pretrained"}
        unused |= set() if SPECS[self.variant].fusion == "dgf" else {"dgf"}
        unused |= set() if self.variant == "us_tlr" else {"tlr"}
        blind = {"images", "sampling"} if self.phase == "segmentation" else set()
        network = self.network.model_dump(mode="json", exclude=unused | blind)
        training = self.training.model_dump(mode="json", exclude={"schedule"} | blind)
        return fingerprint(parts, network, training)[:20]

    @property
    def name(self) -> str:
        """For people: site/variant/fold."""
        part = f"fold{self.fold}" + ("" if self.inner_folds is None else " inner")
        return "/".join([self.site or self.phase, self.variant, part])


@dataclass(frozen=True)
class Places:
    """Absolute paths a worker needs; a Ray trial has a working directory of its own.

    Attributes:
        archive: of the images.
        measured: table of what was measured of them.
        nodules: table of patients and labels.
        folds: table of the folds.
        work: where fits are trained.
        kept: folders with fits among the outputs of stages.
    """

    archive: Path
    measured: Path
    nodules: Path
    folds: Path
    work: Path
    kept: tuple[Path, ...] = ()

    def fit(self, key: str) -> Path:
        """Folder of a fit: where it is trained, or among the outputs when it is whole there alone."""
        trained = self.work / "fits" / key
        if (trained / digests.NAME).is_file():
            return trained
        return next((one / key for one in self.kept if (one / key / digests.NAME).is_file()), trained)


def finished(places: Places, key: str, thorough: bool = False) -> dict[str, Any] | None:
    """Reads the record of a finished fit; None for an unfinished one.

    Args:
        places: of the fits.
        key: of the fit.
        thorough: its weights are read and compared although nothing says that they changed.

    Raises:
        Damaged: when its files are not those that were written, or are those of another fit.
    """
    folder = places.fit(key)
    if not (folder / digests.NAME).is_file():
        return None
    digests.check_folder(folder, thorough)
    record = dict(json.loads((folder / "fit.json").read_text(encoding="utf-8")))
    if record["key"] != key:
        raise digests.Damaged(f"{folder}: holds the fit {record['key']}")
    return record


def keep(places: Places, keys: Collection[str], folder: Path) -> None:
    """Makes <folder>/<key> of every finished fit, and takes others away: fits as the output of a stage.

    One that is nowhere is passed over: its results came here without it. The files are hard links where the
    file system has them. DVC puts copies into its cache, and links to them in their place.
    """
    for other in folder.glob("*") if folder.is_dir() else ():
        if other.name not in keys:
            shutil.rmtree(other)
    for key in sorted(set(keys)):
        origin, target = places.fit(key), folder / key
        if origin == target or not (origin / digests.NAME).is_file():
            continue
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in (*digests.read(origin)["files"], digests.NAME):  # the digests last: then it is whole
            try:
                os.link(origin / name, target / name)
            except OSError:  # another file system
                shutil.copyfile(origin / name, target / name)


def set_aside(places: Places, key: str) -> Path | None:
    """Moves the folder of a damaged fit to `<work>/damaged`; returns where it lies now.

    Returns None when there is nothing to move, for example because another process was faster.
    """
    names = (key if not number else f"{key}-{number}" for number in count())
    target = next(path for name in names if not (path := places.work / "damaged" / name).exists())
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.move(places.fit(key), target)  # an output may lie on another file system than work
    except FileNotFoundError:
        return None
    return target
