"""The network of a fold as an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dgfnet.bundle.crops import Crops
from dgfnet.bundle.joint import Joint
from dgfnet.graphs import open_session

OUTPUTS = ("log_odds", "without_first", "without_second")  # of a fusion: its modalities in their order
Runner = Callable[[Crops], NDArray[np.float64]]  # crops (P, S, S) to log odds (outputs, P)


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
        return np.asarray(self.run(crops)[0] + self.shift)

    def coalitions(self, crops: Crops, lacking: Sequence[Crops]) -> NDArray[np.float64]:
        """Returns the log odds of pairs, and of each set of crops that lacks a modality, (1 + lacking, P).

        Args:
            crops: of the pairs.
            lacking: the same with the mean crop in place of one modality, in the order of the modalities:
                graphs of bundles before format 9 have to be run on them.
        """
        log_odds = self.run(crops)
        if len(log_odds) <= len(lacking):
            log_odds = np.stack([log_odds[0], *(self.run(other)[0] for other in lacking)])
        return log_odds + self.shift

    def reference_log_odds(self, mean: Crops) -> float:
        """Returns the log odds of the mean crops, with every measured feature at its mean and no record."""
        own = self.log_odds(mean)
        return float((own if self.joint is None else self.joint.combined(own, ()))[0])


def open_graph(path: Path, threads: int) -> Runner:
    """Opens the ONNX graph of a network as a function."""
    return partial(_run, open_session(path, threads))


def _run(session: onnxruntime.InferenceSession, crops: Crops) -> NDArray[np.float64]:
    names = [output.name for output in session.get_outputs()]  # before format 7 there are other ones
    wanted = [name for name in OUTPUTS if name in names]
    log_odds = session.run(wanted, {given.name: crops[given.name] for given in session.get_inputs()})
    return np.asarray(log_odds, dtype=np.float64)
