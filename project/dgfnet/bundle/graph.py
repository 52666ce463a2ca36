"""The network of a fold as an ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dgfnet.bundle.crops import Album, Crops, Inputs, ScoredPairs, in_parts
from dgfnet.bundle.joint import Joint
from dgfnet.bundle.record import RecordInput, inputs_of
from dgfnet.bundle.shapley import absences
from dgfnet.graphs import open_session
from dgfnet.vocabulary import RECORD

STREAMS = ("first", "second", "third")  # of a fusion: its modalities in their order, then the record
Runner = Callable[[Inputs], NDArray[np.float64]]  # of pairs, to log odds (outputs, P)


def outputs(streams: int) -> tuple[str, ...]:
    """Returns the names of a graph's outputs: its log odds, then those without some of its streams."""
    parts = (["without", *(STREAMS[place] for place in gone)] for gone in absences(streams) if gone)
    return ("log_odds", *map("_".join, parts))


@dataclass(frozen=True, eq=False)
class FoldGraph:
    """The network of one fold as a graph.

    Attributes:
        run: the graph.
        shift: prevalence correction, added to its log odds.
        joint: what joins them with measured features, in a stacked model.
        stream: how it reads the record, where it has a stream of it.
    """

    run: Runner
    shift: float
    joint: Joint | None = None
    stream: RecordInput | None = None

    def parts(self, pairs: ScoredPairs, album: Album) -> list[Inputs]:
        """Returns what it reads of pairs, in batches.

        Raises:
            InputError: when the album lacks the record, and it reads that.
        """
        return in_parts(inputs_of(pairs.crops, pairs.nodule, album, self.stream))

    def log_odds(self, inputs: Inputs) -> NDArray[np.float64]:
        """Returns the network's corrected log odds of pairs, (P,)."""
        return np.asarray(self.run(inputs)[0] + self.shift)

    def coalitions(self, inputs: Inputs, lacking: Sequence[Crops]) -> NDArray[np.float64]:
        """Returns the log odds of pairs by each coalition of streams, (coalitions, P); see `absences`.

        Args:
            inputs: of the pairs.
            lacking: their crops with the mean crop in place of one modality, in the order of the modalities:
                graphs of bundles before format 9 have to be run on them.
        """
        log_odds = self.run(inputs)
        if len(log_odds) <= len(lacking):
            log_odds = np.stack([log_odds[0], *(self.run(other)[0] for other in lacking)])
        return log_odds + self.shift

    def reference_log_odds(self, mean: Crops) -> float:
        """Returns the log odds of the mean crops, with every measured feature at its mean and no record."""
        own = self.log_odds(mean if self.stream is None else {**mean, RECORD: self.stream.unknown[None]})
        return float((own if self.joint is None else self.joint.combined(own, ()))[0])


def open_graph(path: Path, threads: int) -> Runner:
    """Opens the ONNX graph of a network as a function."""
    return partial(_run, open_session(path, threads))


def _run(session: onnxruntime.InferenceSession, inputs: Inputs) -> NDArray[np.float64]:
    names = [output.name for output in session.get_outputs()]  # before format 7 there are other ones
    wanted = [name for name in outputs(len(STREAMS)) if name in names]
    log_odds = session.run(wanted, {given.name: inputs[given.name] for given in session.get_inputs()})
    return np.asarray(log_odds, dtype=np.float64)
