"""THE PRODUCT: a folder with everything needed to score: weights, reference bank, settings, threshold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dgfnet.errors import InputError
from dgfnet.metrics.calibration import shift_prevalence
from dgfnet.network.variants import DGFNet, load_weights
from dgfnet.provenance import write_json
from dgfnet.registry.ranges import Ranges
from dgfnet.settings import MODALITIES, Modality, Network, Preprocess, Settings
from dgfnet.training.checkpoint import load_weights_file, save_weights
from dgfnet.training.start import restore
from dgfnet.training.task import Task, finished
from dgfnet.training.tasks import places

BATCH = 64
FACTS, WEIGHTS = "bundle.json", "weights.safetensors"


@dataclass(frozen=True)
class Bundle:
    """A model that can score.

    Attributes:
        model: the network with its reference bank, in evaluation mode.
        preprocess: settings that make its crops.
        threshold: frozen; a nodule is called positive at or above it.
        facts: everything in bundle.json.
        alone: for a network of two modalities, the models of one modality that it was built from: what a
            nodule without the other modality can be scored with.
    """

    model: DGFNet
    preprocess: Preprocess
    threshold: float
    facts: Mapping[str, Any]
    alone: Mapping[Modality, Bundle]

    @classmethod
    def open(cls, folder: Path) -> Bundle:
        """Reads a bundle folder.

        Raises:
            InputError: when a file is missing or damaged.
        """
        try:
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
            network = Network.model_validate(facts["network"])
            preprocess = Preprocess.model_validate(facts["preprocess"])
            model = DGFNet(facts["variant"], facts["encoder"], network)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{folder / FACTS}: missing or damaged ({error})") from None
        load_weights(model, load_weights_file(folder / WEIGHTS))
        alone = {name: cls.open(folder / name) for name in MODALITIES if (folder / name).is_dir()}
        return cls(model.eval(), preprocess, float(facts["threshold"]), facts, alone)

    def score(self, crops: Mapping[str, NDArray[np.uint8]]) -> pd.DataFrame:
        """Probability and decision of N nodules that are not in the reference bank.

        Args:
            crops: per modality (N, S, S) uint8.

        Raises:
            InputError: naming the modality whose crops are missing or of another shape or type.
        """
        images = {modality: self._checked(crops, modality) for modality in self.model.modalities}
        counts = {len(image) for image in images.values()}
        if len(counts) != 1:
            raise InputError(f"every modality needs one crop per nodule, found {sorted(counts)}")
        with torch.inference_mode():
            logits = [
                self.model(
                    {m: torch.from_numpy(image[start : start + BATCH]) for m, image in images.items()}
                ).logit
                for start in range(0, counts.pop(), BATCH)
            ]
        probability = torch.sigmoid(torch.cat(logits).double()).numpy()
        if self.facts["sampling"] == "train_only":
            probability = shift_prevalence(probability, 0.5, self.facts["training_prevalence"])
        return pd.DataFrame(
            {"probability": probability, "decision": (probability >= self.threshold).astype(int)}
        )

    def _checked(self, crops: Mapping[str, NDArray[Any]], modality: Modality) -> NDArray[np.uint8]:
        side = self.preprocess.size(modality)
        if modality not in crops:
            raise InputError(
                f"crops of {modality} are missing; this model needs {', '.join(self.model.modalities)}"
            )
        found = crops[modality]
        if found.ndim != 3 or found.shape[1:] != (side, side) or found.dtype != np.uint8 or not len(found):
            raise InputError(
                f"{modality}: expected (N, {side}, {side}) uint8, found {found.shape} {found.dtype}"
            )
        return np.ascontiguousarray(found)


def write_bundle(
    folder: Path,
    task: Task,
    alone: Mapping[Modality, Task],
    ranges: Mapping[str, Ranges],
    settings: Settings,
) -> None:
    """Writes the bundle of a fit that is done: weights.safetensors and bundle.json.

    Args:
        folder: of the bundle.
        task: the fit.
        alone: the fits of one modality that a fusion was built from; folders us and ct hold their bundles.
        ranges: per modality what its training crops look like.
        settings: for the preprocessing, and where fits are.

    Raises:
        InputError: when a fit is not done.
    """
    record = finished(places(settings), task.key)
    if record is None:
        raise InputError(f"{task.name}: this fit is not done; run the stage crossval")
    for modality, parent in alone.items():
        write_bundle(folder / modality, parent, {}, {modality: ranges[modality]}, settings)
    weights = restore(task, places(settings)).state_dict()
    for name in weights:
        if name.endswith(
            "bank_patients"
        ):  # nobody scored later is in the bank: numbers that lead nowhere will do
            weights[name] = torch.unique(weights[name], return_inverse=True)[1]
    save_weights(folder / WEIGHTS, weights)
    facts = {
        "site": task.site,
        "variant": task.variant,
        "encoder": task.encoder,
        "fold": task.fold,
        "fit": task.key,
        "threshold": record["threshold"],
        "sampling": task.training.sampling,
        "training_prevalence": record["training_prevalence"],
        "network": task.network.model_dump(mode="json"),
        "preprocess": settings.preprocess.model_dump(mode="json"),
        "ranges": ranges,
    }
    write_json(folder / FACTS, facts)
