"""Exports a trained network as an ONNX graph, which serving runs without torch."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dgfnet.bundle.crops import Crops
from dgfnet.bundle.graph import OUTPUTS, open_graph
from dgfnet.errors import InputError
from dgfnet.files import replacing
from dgfnet.network.variants import DGFNet

TOLERANCE = 1e-4  # between the graph's log odds and the network's, or this share of them where they are large
PROBES = 5
OPSET = 17


class ScoringPath(nn.Module):
    """The part of a network that scores: crops to log odds, without the decoders.

    Of a fusion also the log odds without either modality: the values of its mean crop are constants, so that
    an encoder sees each picture once.
    """

    def __init__(self, model: DGFNet, means: Crops) -> None:
        super().__init__()
        self.model = model
        mean = {name: torch.from_numpy(means[name])[None] for name in model.inputs}
        with torch.no_grad():
            for name, values in zip(model.modalities, model.features(mean), strict=True):
                self.register_buffer(f"{name}_mean", values)

    def forward(self, *crops: Tensor) -> tuple[Tensor, ...]:
        """Returns log odds (B,) from (B, S, S) of each input; see OUTPUTS."""
        own = self.model.features(dict(zip(self.model.inputs, crops, strict=True)))
        if self.model.fusion is None:
            return (self._log_odds(own[0]),)
        first, second = own
        means = [self.get_buffer(f"{name}_mean").expand_as(first) for name in self.model.modalities]
        coalitions = ((first, second), (means[0], second), (first, means[1]))
        return tuple(self._log_odds(self.model.fusion(values, None)) for values in coalitions)

    def _log_odds(self, fused: Tensor) -> Tensor:
        log_odds: Tensor = self.model.classifier(fused)[:, 0]
        return log_odds


def export(model: DGFNet, means: Crops, path: Path) -> None:
    """Writes a graph: `us`, `ct` and masks where they are read, (B, S, S) uint8 of any B, to log odds (B,).

    Args:
        model: in evaluation mode.
        means: by name of the input (S, S) uint8: what stands for a modality in log odds without it.
        path: of the file.

    Raises:
        InputError: when the graph's log odds of random crops differ from the network's by more than 1e-4, or
            by that share of them: of noise they may be in the hundreds, where float32 has few digits left.
    """
    noise = np.random.default_rng(0)
    probes = {}
    for name in model.inputs:
        highest = 256 if name in model.modalities else 2  # or a mask
        probes[name] = noise.integers(0, highest, (PROBES, *means[name].shape), dtype=np.uint8)
    crops = tuple(map(torch.from_numpy, probes.values()))
    scoring = ScoringPath(model, means).eval()
    outputs = OUTPUTS if model.fusion is not None else OUTPUTS[:1]
    with replacing(path) as temporary, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # torch's older exporter takes a fraction of the newer one's time; the check below holds for both
        torch.onnx.export(
            scoring,
            crops,
            str(temporary),
            input_names=list(model.inputs),
            output_names=list(outputs),
            dynamic_axes={name: {0: "nodules"} for name in (*model.inputs, *outputs)},
            opset_version=OPSET,
            dynamo=False,
        )
        expected = torch.stack(scoring(*crops)).double().numpy()
        onnx = open_graph(temporary, 1)(probes)
        gap = float((np.abs(onnx - expected) / np.maximum(1, np.abs(expected))).max())
        if not gap <= TOLERANCE:
            raise InputError(
                f"{path.name}: log odds {gap:.1e} (relative above 1) from the network's, expected at most "
                f"{TOLERANCE:g}"
            )
