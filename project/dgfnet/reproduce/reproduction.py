"""From a registered version back to its numbers: its fold trained again from commit, cohort and settings."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dgfnet import files, pseudonyms, tracking
from dgfnet.cohort.manifest import read_cohort
from dgfnet.errors import InputError
from dgfnet.registry.facts import facts
from dgfnet.registry.origin import SECTIONS, Origin, read_origin
from dgfnet.registry.stored import known_metrics, out_of_fold, version_of
from dgfnet.reproduce import checkout
from dgfnet.settings import Settings
from dgfnet.vocabulary import Site

RECORD = "reproduction.json"
REFIT = Path(__file__).with_name("refit.py")


@dataclass(frozen=True)
class Reproduction:
    """A version beside the same fold trained again.

    Attributes:
        model: in the registry.
        version: of it.
        variant: that was trained; of a stack its network.
        fold: held out.
        git_commit: that was checked out.
        data_md5: of the cohort that was checked out.
        params_sha256: of the settings.
        package: where the code lay that trained: in the checkout, or the installed one.
        same_fit: both fits have one key: the same pictures, folds, labels, settings and code.
        nodules: held out from the version and scored by both.
        alone: held out from one of the two only.
        labels_differ: nodules of both with another label.
        probability: largest difference; nan without a nodule of both.
        threshold: difference.
        metrics: per metric of the fold the version's value and today's; None where undefined or not stored.
        tolerance: largest difference that still agrees.
        changed: libraries, and the kind of processor, that are others than when the version was trained.
    """

    model: str
    version: str
    variant: str
    fold: int
    git_commit: str
    data_md5: str
    params_sha256: str
    package: str
    same_fit: bool
    nodules: int
    alone: int
    labels_differ: int
    probability: float
    threshold: float
    metrics: Mapping[str, tuple[float | None, float | None]]
    tolerance: float
    changed: tuple[str, ...]

    @property
    def metric(self) -> tuple[float, str]:
        """Largest difference of a metric, and its name; infinite where only one of the two has a value."""
        gaps = [(_gap(then, now), name) for name, (then, now) in self.metrics.items()]
        return max(gaps, default=(math.inf, "no metric"))

    @property
    def agrees(self) -> bool:
        """The same nodules and labels; probabilities, threshold and metrics within the tolerance."""
        gaps = (self.probability, self.threshold, self.metric[0])
        return not self.alone and not self.labels_differ and all(gap <= self.tolerance for gap in gaps)

    def text(self) -> str:
        """Returns the comparison as text: its two sides, the differences, the verdict in the last line."""
        gap, name = self.metric
        alike = "the same key as the version's: the same pictures, folds, settings and code"
        other = "another key than the version's: pictures, folds, settings or code are not the same"
        lines = [
            f"{self.model} version {self.version}: {self.variant} of fold {self.fold} trained again with all "
            f"it starts from; compared: its probabilities",
            "of the held-out nodules with the version's out-of-fold table in the store, threshold and "
            "metrics with its run",
            f"  commit {self.git_commit}, data md5 {self.data_md5}, settings sha256 {self.params_sha256}",
            f"  code: {self.package}",
            f"  fit: {alike if self.same_fit else other}",
            f"  nodules: {self.nodules} of both, {self.alone} of one only, {self.labels_differ} labelled "
            f"differently",
            f"  probabilities: largest difference {self.probability:.3g} (tolerance {self.tolerance:g})",
            f"  threshold: difference {self.threshold:.3g}",
            f"  metrics of the fold ({', '.join(self.metrics)}): largest difference {gap:.3g}"
            + (f" ({name})" if gap else ""),
        ]
        if self.changed:
            lines.append(f"  not as it was: {'; '.join(self.changed)}")
        return "\n".join([*lines, "agrees" if self.agrees else "DOES NOT AGREE"])


def reproduce(settings: Settings, site: Site, version: str, into: Path | None) -> Reproduction:
    """Makes a version's fold again in a fresh folder and compares; also writes reproduction.json there.

    Args:
        settings: where the store, the repository and the key of the ids are, and the tolerance.
        site: of the model.
        version: in the registry.
        into: fresh folder; below the folder of resumable work without it.

    Raises:
        InputError: when something is missing that the version was made of, before anything is trained.
    """
    model, client = f"dgfnet-{site}", tracking.existing_registry(settings)
    registered = version_of(client, model, version)
    origin = read_origin(client, registered)
    known = facts(registered)
    fold = int(known["fold"])
    variant = str(known.get("network", known["variant"]))
    table = out_of_fold(settings, registered, network=True)
    table = table[table["fold"] == fold].set_index("nodule_id")
    metrics = known_metrics(settings, registered)
    key = _key(settings)
    folder = (into or settings.work / "reproduced" / f"{model}-{version}").resolve()
    checkout.check_empty(folder)
    checkout.check_commit(settings.root, origin.git_commit)
    data = str(origin.settings["base"]["data"])
    project = checkout.check_out(settings.root, origin.git_commit, data, origin.data_md5, folder)
    _check_ids(project / data, table.index, key, f"{model} version {version}")
    result = _refit(settings, project, origin, site, variant, fold)
    then, now = dict(origin.versions) | {"processor": origin.machine}, dict(result["versions"])
    now["processor"] = result["machine"]
    done = Reproduction(
        model=model,
        version=version,
        variant=variant,
        fold=fold,
        git_commit=origin.git_commit,
        data_md5=origin.data_md5,
        params_sha256=origin.params_sha256,
        package=result["package"],
        same_fit=result["key"] == known["fit"],
        **beside(table, Path(result["predictions"]), float(result["threshold"]), key),
        metrics={name: (metrics.get(name), value) for name, value in result["scores"].items()},
        tolerance=settings.register_.tolerance,
        changed=tuple(f"{k} {then.get(k)} -> {v}" for k, v in now.items() if v != then.get(k)),
    )
    files.write_json(folder / RECORD, asdict(done) | {"agrees": done.agrees})
    return done


def beside(table: pd.DataFrame, predictions: Path, threshold: float, key: bytes) -> dict[str, Any]:
    """Returns the fields `nodules`, `alone`, `labels_differ`, `probability`, `threshold` of a `Reproduction`.

    Args:
        table: of the version, the nodules of one fold: label, probability, threshold; by hashed nodule_id.
        predictions: CSV file of the fit: nodule_id as it is, label, probability.
        threshold: of the fit.
        key: of the hashes.
    """
    new = pd.read_csv(predictions, dtype={"nodule_id": str})
    new.index = pd.Index([pseudonyms.pseudonym(key, name) for name in new["nodule_id"]])
    both = table.index.intersection(new.index)
    gaps = (table.loc[both, "probability"] - new.loc[both, "probability"]).abs()
    return {
        "nodules": len(both),
        "alone": len(table.index.symmetric_difference(new.index)),
        "labels_differ": int((table.loc[both, "label"] != new.loc[both, "label"]).sum()),
        "probability": float(gaps.max()),
        "threshold": float((table["threshold"] - threshold).abs().max()),
    }


def overrides(sections: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns settings as `--set` texts, which win over file and profile."""
    return [
        f"{section}.{name}={json.dumps(value, ensure_ascii=False)}"
        for section, values in sections.items()
        for name, value in values.items()
    ]


def _gap(then: float | None, now: float | None) -> float:
    if then is None or now is None:
        return 0.0 if then is now else math.inf
    return abs(then - now)


def _key(settings: Settings) -> bytes:
    """Returns the key of the hashes; a key made only now could match nothing."""
    path = settings.home / pseudonyms.KEY_FILE
    if not os.environ.get(pseudonyms.KEY) and not path.is_file():
        raise InputError(
            f"{path}: no such file, and {pseudonyms.KEY} is not set; without the key of the hashes nobody "
            "can tell which nodule of the store is which"
        )
    return pseudonyms.identity_key(settings)


def _check_ids(data: Path, stored: pd.Index, key: bytes, title: str) -> None:
    """Refuses, before hours of training, a key under which no nodule is found again."""
    here = {pseudonyms.pseudonym(key, nodule.nodule_id) for nodule in read_cohort(data).nodules}
    if not here & set(stored):
        raise InputError(
            f"{title}: no nodule of its out-of-fold table is in its cohort; the table was probably logged "
            f"with another key of the hashes ({pseudonyms.KEY_FILE} or {pseudonyms.KEY})"
        )


def _refit(
    settings: Settings, project: Path, origin: Origin, site: Site, variant: str, fold: int
) -> dict[str, Any]:
    """Trains in the checkout, with its package where it has one, in a process of its own."""
    pretrained = str(origin.settings["network"]["pretrained"])
    overridden = {"base.artifacts": "artifacts", "base.work": "work"}
    if pretrained not in ("off", "imagenet"):  # a file beside the settings, which git may not have
        overridden["network.pretrained"] = str(settings.root / pretrained)
    published = settings.work / "pretrained"
    if pretrained == "imagenet" and published.is_dir():
        shutil.copytree(published, project / "work" / "pretrained", dirs_exist_ok=True)
    request = {
        "params": str(project / checkout.PARAMS),
        # what is registered is no setting of a fit, and the file may name what these cannot make
        "settings": [*overrides(origin.settings), f"register.variant={variant}"],
        "paths": [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in overridden.items()],
        "sections": SECTIONS,
        "params_sha256": origin.params_sha256,
        "chosen": {site: origin.chosen} if origin.chosen else {},
        "site": site,
        "variant": variant,
        "fold": fold,
    }
    asked, answered = project / "work" / "request.json", project / "work" / "result.json"
    files.write_json(asked, request)
    own = [str(project / "project")] if (project / "project" / "dgfnet").is_dir() else []
    paths = [*own, *filter(None, [os.environ.get("PYTHONPATH")])]
    # -P: the modules beside the script are today's, and not asked for
    done = subprocess.run(
        [sys.executable, "-P", str(REFIT), str(asked), str(answered)],
        cwd=project,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        check=False,
    )
    if done.returncode:
        raise InputError(f"training again in {project} failed; what was said stands above")
    return dict(json.loads(answered.read_text(encoding="utf-8")))
