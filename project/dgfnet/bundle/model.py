"""A model that answers: ONNX graphs of a bundle, without torch, and what goes with a probability.

Rows do not mix: a nodule's answer does not depend on which others are scored with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file

from dgfnet.bundle.crops import Crops, checked_crops, in_parts
from dgfnet.bundle.layout import FACTS, GRAPH, REFERENCE, check_sums, fold_graph
from dgfnet.bundle.ranges import distances, outside
from dgfnet.errors import InputError
from dgfnet.settings import Preprocess
from dgfnet.vocabulary import MODALITIES, Modality

# graphs of one answer: each has one thread, and onnxruntime lets other threads run; cores() of the cohort
# room would ask for rich, which the environment of a served model does not have
BESIDE = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="graphs")

# crops (B, S, S) to log odds (B,) and per modality values (B, F)
Runner = Callable[[Crops], tuple[NDArray[np.float64], dict[Modality, NDArray[np.float32]]]]


@dataclass(frozen=True, eq=False)
class ScoringModel:
    """A network, those of the other folds, and what they were trained on.

    Attributes:
        modalities: what it needs.
        preprocess: settings that make its crops.
        threshold: frozen; a nodule is called positive at or above it.
        facts: everything in bundle.json.
        run: the network.
        folds: the networks of the other folds, each with the shift of its own log odds.
        reference: per modality (S, S) the mean crop of its training nodules.
        base: log odds of the reference crops.
        seen: per modality (N, F) values of the training nodules, of unit length.
        alone: for a fusion, the models of one modality that it was built from.
    """

    modalities: tuple[Modality, ...]
    preprocess: Preprocess
    threshold: float
    facts: Mapping[str, Any]
    run: Runner
    folds: tuple[tuple[Runner, float], ...]
    reference: Mapping[Modality, NDArray[np.uint8]]
    base: float
    seen: Mapping[Modality, NDArray[np.float32]]
    alone: Mapping[Modality, ScoringModel]

    @property
    def usable(self) -> tuple[Modality, ...]:
        """What it, or one of the models alone, can use."""
        return tuple(name for name in MODALITIES if name in self.modalities or name in self.alone)

    @classmethod
    def open(cls, folder: Path, threads: int = 1) -> ScoringModel:
        """Reads a bundle folder.

        Args:
            folder: as bundle/write.py writes it.
            threads: of one network; requests run beside each other anyway.

        Raises:
            InputError: when a file is missing, damaged or not the one that was written.
        """
        try:
            check_sums(folder)
            facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
            modalities = tuple(facts["modalities"])
            preprocess = Preprocess.model_validate(facts["preprocess"])
            run = graph(folder / GRAPH, modalities, threads)
            folds = tuple(
                (graph(fold_graph(folder, other["fold"]), modalities, threads), float(other["shift"]))
                for other in facts["folds"]
            )
            tensors = load_file(folder / REFERENCE)
            reference = {name: tensors[f"{name}_mean"] for name in modalities}
            seen = {name: tensors[f"{name}_seen"] for name in modalities}
            threshold = float(facts["threshold"])
            base = float(run({name: reference[name][None] for name in modalities})[0][0]) + facts["shift"]
        except Exception as error:  # onnxruntime and safetensors have kinds of their own
            raise InputError(f"{folder}: this bundle is incomplete or damaged ({error})") from None
        alone: dict[Modality, ScoringModel] = {n: cls.open(folder / n, threads) for n in facts["alone"]}
        return cls(modalities, preprocess, threshold, facts, run, folds, reference, base, seen, alone)

    def score(self, crops: Crops) -> pd.DataFrame:
        """Probability and decision of N nodules.

        Args:
            crops: per modality (N, S, S) uint8.

        Raises:
            InputError: naming the modality whose crops are missing or of another shape or type.
        """
        images = checked_crops(crops, self.modalities, self.preprocess)
        logits = np.concatenate([self.run(part)[0] for part in in_parts(images)])
        return pd.DataFrame(self._called(logits + float(self.facts["shift"])))

    def answer(self, crops: Crops) -> dict[str, NDArray[Any]]:
        """Everything that is said of N nodules, in columns.

        Args:
            crops: per modality (N, S, S) uint8.

        Returns:
            Arrays (N,): `probability`, `decision`, `threshold`; `calibrated` (recalibrated on the
            out-of-fold predictions, NaN where that is not defined) with `calibrated_low` and
            `calibrated_high`, its range over the models of all folds; `us_contribution`,
            `ct_contribution` (exact Shapley values, log odds) and `reference_log_odds`, which add up to the
            log odds of the probability; `variant`; `warnings`, a list of texts.

        Raises:
            InputError: as `score`.
        """
        images = checked_crops(crops, self.modalities, self.preprocess)
        parts = [self._answered(part) for part in in_parts(images)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _answered(self, crops: Crops) -> dict[str, NDArray[Any]]:
        """One batch, as columns."""
        count = len(crops[self.modalities[0]])
        means = {name: np.repeat(self.reference[name][None], count, axis=0) for name in self.modalities}
        without = [{**crops, name: means[name]} for name in self.modalities]
        coalitions = [crops, *without] if len(self.modalities) == 2 else [crops]
        stacked = {name: np.concatenate([one[name] for one in coalitions]) for name in self.modalities}
        logits, values, others = self._beside(stacked, crops)
        whole, *rest = np.split(logits + float(self.facts["shift"]), len(coalitions))
        spread = np.stack([self._calibrated(one) for one in (whole, *others)])
        shares = dict(zip(self.modalities, shapley(whole, self.base, *rest), strict=True))
        warnings = np.empty(count, dtype=object)
        warnings[:] = self._warnings(crops, {name: found[:count] for name, found in values.items()})
        return {
            **self._called(whole),
            "threshold": np.full(count, self.threshold),
            "calibrated": spread[0],
            "calibrated_low": spread.min(axis=0),
            "calibrated_high": spread.max(axis=0),
            **{f"{name}_contribution": shares.get(name, np.full(count, np.nan)) for name in MODALITIES},
            "reference_log_odds": np.full(count, self.base),
            "variant": np.full(count, self.facts["variant"], dtype=object),
            "warnings": warnings,
        }

    def _beside(
        self, stacked: Crops, crops: Crops
    ) -> tuple[NDArray[np.float64], dict[Modality, NDArray[np.float32]], list[NDArray[np.float64]]]:
        """What the network says of one stack, and beside it the networks of the other folds of another."""
        pending = [BESIDE.submit(run, crops) for run, _ in self.folds]
        logits, values = self.run(stacked)
        others = zip(pending, self.folds, strict=True)
        return logits, values, [found.result()[0] + shift for found, (_, shift) in others]

    def _called(self, log_odds: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        probability = _expit(log_odds)
        return {"probability": probability, "decision": (probability >= self.threshold).astype(int)}

    def _calibrated(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        line = self.facts["calibration"]
        if line is None:
            return np.full(len(log_odds), np.nan)
        return _expit(float(line["intercept"]) + float(line["slope"]) * log_odds)

    def _warnings(self, crops: Crops, values: Mapping[Modality, NDArray[np.float32]]) -> list[list[str]]:
        found: list[list[str]] = [[] for _ in crops[self.modalities[0]]]
        for name in self.modalities:
            told = outside(crops[name], self.facts["ranges"][name])
            limit = float(self.facts["far"][name])
            for place, distance in enumerate(distances(values[name], self.seen[name])):
                found[place] += [f"{name} {text}" for text in told[place]]
                if distance > limit:
                    found[place].append(
                        f"{name} embedding {distance:.3g} from its nearest training nodules, nodules of the "
                        f"training cohort nearly always within {limit:.3g}"
                    )
        return found


def graph(path: Path, modalities: tuple[Modality, ...], threads: int) -> Runner:
    """An ONNX graph as a function; on a GPU where onnxruntime was built for one."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    known = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in known]
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    return partial(_run, session, modalities)


def _run(
    session: onnxruntime.InferenceSession, modalities: tuple[Modality, ...], crops: Crops
) -> tuple[NDArray[np.float64], dict[Modality, NDArray[np.float32]]]:
    logits, *values = session.run(None, {name: crops[name] for name in modalities})
    return np.asarray(logits, dtype=np.float64), dict(zip(modalities, values, strict=True))


def shapley(
    whole: NDArray[np.float64], base: float, *without: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Each player's exact Shapley value in a game of one or two; they add up to whole - base.

    Args:
        whole: (N,) with every player.
        base: with none.
        without: for two players, (N,) each: the game without the first, and without the second.
    """
    if not without:
        return [whole - base]
    lacks_first, lacks_second = without
    first = ((lacks_second - base) + (whole - lacks_first)) / 2
    return [first, whole - base - first]


def _expit(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-log_odds)))
