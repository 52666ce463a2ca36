"""The network of a bundle in torch, the reference of the gate for the ONNX graph."""

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
from scipy.special import expit

from dgfnet.bundle.crops import Album, Inputs, in_parts, of_pictures, pairs_of
from dgfnet.bundle.joint import Joint, joined_log_odds, joint_of
from dgfnet.bundle.layout import METADATA, WEIGHTS
from dgfnet.bundle.record import RecordInput, inputs_of, stream_of
from dgfnet.errors import InputError
from dgfnet.network.variants import DGFNet, load_weights
from dgfnet.sections.data import Preprocess
from dgfnet.sections.networks import Network
from dgfnet.training.checkpoint import load_weights_file


@dataclass(frozen=True)
class BundledNetwork:
    """The first network of a bundle in torch, with which the gate compares its graph.

    Attributes:
        model: the network with its reference bank, in evaluation mode.
        joint: what joins its log odds with measured features, in a stacked model.
        stream: how it reads the record, where it has a stream of it.
        preprocess: settings that make its crops.
        threshold: frozen, of this network; a nodule is called positive at or above it.
        metadata: everything in bundle.json.
    """

    model: DGFNet
    joint: Joint | None
    stream: RecordInput | None
    preprocess: Preprocess
    threshold: float
    metadata: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> BundledNetwork:
        """Reads a bundle folder.

        Raises:
            InputError: when a file is missing or damaged.
        """
        try:
            metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
            network = Network.model_validate(metadata["network"])
            preprocess = Preprocess.model_validate(metadata["preprocess"])
            first = metadata["members"][0]
            joint, stream = joint_of(metadata, first), stream_of(metadata, first)
            terms = 0 if stream is None else len(stream.terms)
            model = DGFNet(metadata["network_variant"], metadata["encoder"], network, terms=terms)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{folder / METADATA}: missing or damaged ({error})") from None
        load_weights(model, load_weights_file(folder / WEIGHTS))
        return cls(model.eval(), joint, stream, preprocess, float(first["threshold"]), metadata)

    def score(self, album: Album) -> pd.DataFrame:
        """Probability and decision of N nodules that are not in the reference bank.

        Args:
            album: crops of the nodules.

        Raises:
            InputError: naming the modality whose crops are missing or of another shape or type.
        """
        images = self.metadata["network"]["images"]
        pairs = pairs_of(album, of_pictures(self.model.inputs), self.preprocess, images)
        inputs = inputs_of(pairs.crops, pairs.nodule, album, self.stream)
        shift = float(self.metadata["members"][0]["shift"])
        network = pairs.average(log_odds_of(self.model, inputs)) + shift
        probability = expit(joined_log_odds(self.joint, network, album))
        decision = (probability >= self.threshold).astype(int)
        return pd.DataFrame({"probability": probability, "decision": decision})


@torch.inference_mode()
def log_odds_of(model: DGFNet, inputs: Inputs) -> NDArray[np.float64]:
    """Returns the network's log odds of P pairs, (P,), without the correction of the prevalence."""
    parts = [model(part).logit for part in _batches(inputs)]
    return np.asarray(torch.cat(parts).double().numpy())


def _batches(inputs: Inputs) -> list[dict[str, torch.Tensor]]:
    return [{name: torch.from_numpy(rows) for name, rows in part.items()} for part in in_parts(inputs)]
