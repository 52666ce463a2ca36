"""A trained network as an ONNX graph: what serving runs, without torch."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dgfnet.bundle.model import graph
from dgfnet.errors import InputError
from dgfnet.files import replacing
from dgfnet.network.variants import DGFNet

TOLERANCE = 1e-4  # between the graph's log odds and the network's
PROBES = 5
OPSET = 17


class Scoring(nn.Module):
    """The path from crops to log odds, and the values of each modality on the way; no decoders."""

    def __init__(self, model: DGFNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, *crops: Tensor) -> tuple[Tensor, ...]:
        """Crops of each modality, (B, S, S), become log odds (B,) and values (B, F) of each."""
        values = self.model.features(dict(zip(self.model.modalities, crops, strict=True)))
        fusion = self.model.fusion
        fused = values[0] if fusion is None else fusion(values[0], values[1], None)
        return self.model.classifier(fused)[:, 0], *values


def export(model: DGFNet, sides: tuple[int, ...], path: Path) -> None:
    """Writes the graph: inputs `us`, `ct` (B, S, S) uint8 with B free; outputs log odds (B,), values (B, F).

    Args:
        model: in evaluation mode.
        sides: of the crops, one per modality of the model.
        path: the file.

    Raises:
        InputError: when the graph's log odds of random crops differ from the network's by more than 1e-4.
    """
    names = list(model.modalities)
    noise = np.random.default_rng(0)
    probes = [noise.integers(0, 256, (PROBES, side, side), dtype=np.uint8) for side in sides]
    crops = tuple(torch.from_numpy(probe) for probe in probes)
    scoring = Scoring(model).eval()
    outputs = ["log_odds", *(f"{name}_values" for name in names)]
    with replacing(path) as temporary, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # torch's older exporter takes a fraction of the newer one's time; the check below holds for both
        torch.onnx.export(
            scoring,
            crops,
            str(temporary),
            input_names=names,
            output_names=outputs,
            dynamic_axes={name: {0: "nodules"} for name in (*names, *outputs)},
            opset_version=OPSET,
            dynamo=False,
        )
        expected = scoring(*crops)[0].double().numpy()
        found = graph(temporary, model.modalities, 1)(dict(zip(model.modalities, probes, strict=True)))[0]
        gap = float(np.abs(found - expected).max())
        if not gap <= TOLERANCE:
            raise InputError(
                f"{path.name}: log odds {gap:.1e} from the network's, expected at most {TOLERANCE:g}"
            )
