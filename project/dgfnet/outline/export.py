"""Exports the network that outlines nodules as an ONNX graph, which runs without torch."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dgfnet.errors import InputError
from dgfnet.graphs import open_session
from dgfnet.outline.network import OutlineNet, radius_of
from dgfnet.outline.polar import RAYS, STEPS

TOLERANCE = 1e-4  # between the graph's radii and the network's
PROBES = 5
OPSET = 17


class _Radii(nn.Module):
    """Maps grey values along rays to the radius of the outline on each."""

    def __init__(self, model: OutlineNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, rays: Tensor) -> Tensor:
        """Returns the radii (B, RAYS) of rays (B, RAYS, STEPS)."""
        return radius_of(self.model(rays))


def graph_of(model: OutlineNet) -> bytes:
    """Returns a graph: input `rays`, (B, RAYS, STEPS) uint8 of any B, output `radii`, (B, RAYS).

    Args:
        model: in evaluation mode.

    Raises:
        InputError: when the graph's radii of random rays differ from the network's by more than 1e-4.
    """
    probe = np.random.default_rng(0).integers(0, 256, (PROBES, RAYS, STEPS), dtype=np.uint8)
    made, rays = _Radii(model).eval(), torch.from_numpy(probe)
    graph: Any = io.BytesIO()  # as PyTorch takes it, though its types do not say so
    axes = {name: {0: "pictures"} for name in ("rays", "radii")}
    names: dict[str, Any] = {"input_names": ["rays"], "output_names": ["radii"], "dynamic_axes": axes}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # torch's older exporter takes a fraction of the newer one's time; the check below holds for both
        torch.onnx.export(made, (rays,), graph, **names, opset_version=OPSET, dynamo=False)
        expected = made(rays).numpy()
    content = bytes(graph.getvalue())
    gap = float(np.abs(np.asarray(open_session(content, 1).run(None, {"rays": probe})[0]) - expected).max())
    if not gap <= TOLERANCE:
        raise InputError(f"outlines: radii {gap:.1e} from the network's, expected at most {TOLERANCE:g}")
    return content
