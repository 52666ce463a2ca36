"""The network of a fold as an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dgfnet.bundle.crops import Crops
from dgfnet.bundle.joint import Joint
from dgfnet.graphs import open_session

Runner = Callable[[Crops], NDArray[np.float64]]  # crops (B, S, S) to log odds (B,)


@dataclass(frozen=True, eq=False)
class FoldGraph:
    """The network of one fold as a graph.

    Attributes:
        run: the graph.
        shift: prevalence correction, added to its log odds.
        joint: what joins them with measured features, in a stacked model.
    """

    run: Runner
    shift: float
    joint: Joint | None = None

    def log_odds(self, crops: Crops) -> NDArray[np.float64]:
        """Returns the network's corrected log odds of pairs, (P,)."""
        return self.run(crops) + self.shift

    def reference_log_odds(self, mean: Crops) -> float:
        """Returns the log odds of the mean crops, with every measured feature at its mean."""
        own = self.log_odds(mean)
        return float((own if self.joint is None else self.joint.combined(own, ()))[0])


def open_graph(path: Path, threads: int) -> Runner:
    """Opens the ONNX graph of a network as a function."""
    return partial(_run, open_session(path, threads))


def _run(session: onnxruntime.InferenceSession, crops: Crops) -> NDArray[np.float64]:
    (first, *_) = session.get_outputs()  # graphs of bundles before format 7 have more
    (log_odds,) = session.run([first.name], {given.name: crops[given.name] for given in session.get_inputs()})
    return np.asarray(log_odds, dtype=np.float64)
