"""Exports a trained network as an ONNX graph, which serving runs without torch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dgfnet.bundle.crops import Inputs
from dgfnet.bundle.graph import open_graph, outputs
from dgfnet.bundle.shapley import absences
from dgfnet.errors import InputError
from dgfnet.files import replacing
from dgfnet.network.variants import DGFNet
from dgfnet.vocabulary import RECORD

TOLERANCE = 1e-4  # between the graph's log odds and the network's, or this share of them where they are large
PROBES = 5
OPSET = 17


class ScoringPath(nn.Module):
    """The part of a network that scores: crops and record to log odds, without the decoders.

    Of a fusion also those of every coalition of its streams: the values of an absent one are constants,
    so that an encoder sees each picture once.
    """

    def __init__(self, model: DGFNet, absent: Inputs) -> None:
        super().__init__()
        self.model = model
        self.streams = (*model.modalities, *((RECORD,) if model.record is not None else ()))
        given = {name: torch.from_numpy(absent[name])[None] for name in model.inputs}
        with torch.no_grad():
            for name, values in zip(self.streams, model.features(given), strict=True):
                self.register_buffer(f"{name}_mean", values)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Returns log odds (B,) from (B, S, S) of pictures and masks, (B, T) of a record; see `outputs`."""
        own = self.model.features(dict(zip(self.model.inputs, inputs, strict=True)))
        if self.model.fusion is None:
            return (self._log_odds(own[0]),)
        absent = [self.get_buffer(f"{name}_mean").expand_as(own[0]) for name in self.streams]
        coalitions = [
            [absent[place] if place in gone else values for place, values in enumerate(own)]
            for gone in absences(len(own))
        ]
        return tuple(self._log_odds(self.model.fusion(values, None)) for values in coalitions)

    def _log_odds(self, fused: Tensor) -> Tensor:
        log_odds: Tensor = self.model.classifier(fused)[:, 0]
        return log_odds


def export(model: DGFNet, absent: Inputs, path: Path) -> None:
    """Writes a graph, of what a network reads of any number B of pairs to log odds (B,).

    It reads `us`, `ct` and, where the network does, masks, (B, S, S) uint8, and the record, (B, T) float64.

    Args:
        model: in evaluation mode.
        absent: by name of the input what stands for a stream in log odds without it: (S, S) uint8 of pictures
            and masks, (T,) float64 of the record.
        path: of the file.

    Raises:
        InputError: when the graph's log odds of random inputs differ from the network's by more than 1e-4, or
            by that share of them: of noise they may be in the hundreds, where float32 has few digits left.
    """
    probes = _probes(model, absent)
    given = tuple(map(torch.from_numpy, probes.values()))
    scoring = ScoringPath(model, absent).eval()
    names = outputs(len(scoring.streams))
    with replacing(path) as temporary, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # torch's older exporter takes a fraction of the newer one's time; the check below holds for both
        torch.onnx.export(
            scoring,
            given,
            str(temporary),
            input_names=list(model.inputs),
            output_names=list(names),
            dynamic_axes={name: {0: "nodules"} for name in (*model.inputs, *names)},
            opset_version=OPSET,
            dynamo=False,
        )
        expected = torch.stack(scoring(*given)).double().numpy()
        onnx = open_graph(temporary, 1)(probes)
        gap = float((np.abs(onnx - expected) / np.maximum(1, np.abs(expected))).max())
        if not gap <= TOLERANCE:
            raise InputError(
                f"{path.name}: log odds {gap:.1e} (relative above 1) from the network's, expected at most "
                f"{TOLERANCE:g}"
            )


def _probes(model: DGFNet, absent: Inputs) -> dict[str, NDArray[Any]]:
    """Returns random inputs: grey values, masks, and records around those of training, with gaps."""
    noise, probes = np.random.default_rng(0), {}
    for name in model.inputs:
        shape = (PROBES, *absent[name].shape)
        if name != RECORD:
            highest = 256 if name in model.modalities else 2  # or a mask
            probes[name] = noise.integers(0, highest, shape, dtype=np.uint8)
        elif model.record is not None:
            centre, scale = (getattr(model.record, part).numpy() for part in ("centre", "scale"))
            probes[name] = centre + scale * noise.normal(0, 2, shape)
            probes[name][0] = np.nan
    return probes
