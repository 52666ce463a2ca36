"""Exports a trained network as an ONNX graph, which serving runs without torch."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dgfnet.bundle.graph import open_graph
from dgfnet.errors import InputError
from dgfnet.files import replacing
from dgfnet.network.variants import DGFNet
from dgfnet.vocabulary import Modality, mask_of

TOLERANCE = 1e-4  # between the graph's log odds and the network's, or this share of them where they are large
PROBES = 5
OPSET = 17


class ScoringPath(nn.Module):
    """The part of a network that scores: crops to log odds, without the decoders."""

    def __init__(self, model: DGFNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, *crops: Tensor) -> Tensor:
        """Returns log odds (B,) from (B, S, S) of each input."""
        embeddings = self.model.features(dict(zip(self.model.inputs, crops, strict=True)))
        fusion = self.model.fusion
        fused = embeddings[0] if fusion is None else fusion(embeddings[0], embeddings[1], None)
        log_odds: Tensor = self.model.classifier(fused)[:, 0]
        return log_odds


def export(model: DGFNet, sides: Mapping[Modality, int], path: Path) -> None:
    """Writes a graph: `us`, `ct` and masks where they are read, (B, S, S) uint8 of any B, to log odds (B,).

    Args:
        model: in evaluation mode.
        sides: of the crops, pixels, by modality.
        path: of the file.

    Raises:
        InputError: when the graph's log odds of random crops differ from the network's by more than 1e-4, or
            by that share of them: of noise they may be in the hundreds, where float32 has few digits left.
    """
    noise = np.random.default_rng(0)
    probes = []
    values: dict[str, tuple[int, int]] = {name: (256, sides[name]) for name in model.modalities}
    values |= {mask_of(name): (2, sides[name]) for name in model.modalities}
    for highest, side in (values[name] for name in model.inputs):
        probes.append(noise.integers(0, highest, (PROBES, side, side), dtype=np.uint8))
    crops = tuple(torch.from_numpy(probe) for probe in probes)
    scoring = ScoringPath(model).eval()
    with replacing(path) as temporary, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # torch's older exporter takes a fraction of the newer one's time; the check below holds for both
        torch.onnx.export(
            scoring,
            crops,
            str(temporary),
            input_names=list(model.inputs),
            output_names=["log_odds"],
            dynamic_axes={name: {0: "nodules"} for name in (*model.inputs, "log_odds")},
            opset_version=OPSET,
            dynamo=False,
        )
        expected = scoring(*crops).double().numpy()
        run = open_graph(temporary, 1)
        onnx = run(dict(zip(model.inputs, probes, strict=True)))
        gap = float((np.abs(onnx - expected) / np.maximum(1, np.abs(expected))).max())
        if not gap <= TOLERANCE:
            raise InputError(
                f"{path.name}: log odds {gap:.1e} (relative above 1) from the network's, expected at most "
                f"{TOLERANCE:g}"
            )
