"""Scores nodules with the ONNX graphs of a bundle, without torch: probability, contributions, warnings.

Batch invariance: a nodule's answer does not depend on which others are scored with it.
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
from dgfnet.bundle.layout import GRAPH, METADATA, REFERENCE, check_sums, fold_graph
from dgfnet.bundle.ranges import distances, outside
from dgfnet.errors import InputError
from dgfnet.settings import Preprocess
from dgfnet.vocabulary import MODALITIES, Modality

# graphs of one answer run beside each other: each has one thread, and onnxruntime releases the GIL;
# parallel.cores() would import rich, which the environment of a registered model does not have
GRAPHS = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="graphs")

# crops (B, S, S) to log odds (B,) and per modality embeddings (B, F)
Runner = Callable[[Crops], tuple[NDArray[np.float64], dict[Modality, NDArray[np.float32]]]]


@dataclass(frozen=True, eq=False)
class ScoringModel:
    """A network, the networks of the other folds, and what an answer compares new nodules with.

    Attributes:
        modalities: inputs of the network.
        preprocess: settings that make its crops.
        threshold: frozen; a nodule is called positive at or above it.
        metadata: everything in bundle.json.
        run: the network.
        folds: the networks of the other folds, each with the shift of its own log odds.
        reference: per modality (S, S) the mean crop of its training nodules.
        reference_log_odds: of the reference crops, shifted.
        training_embeddings: per modality (N, F) embeddings of the training nodules, of unit length.
        unimodal: for a fusion, the models of one modality that it was built from.
    """

    modalities: tuple[Modality, ...]
    preprocess: Preprocess
    threshold: float
    metadata: Mapping[str, Any]
    run: Runner
    folds: tuple[tuple[Runner, float], ...]
    reference: Mapping[Modality, NDArray[np.uint8]]
    reference_log_odds: float
    training_embeddings: Mapping[Modality, NDArray[np.float32]]
    unimodal: Mapping[Modality, ScoringModel]

    @property
    def usable(self) -> tuple[Modality, ...]:
        """The modalities that the network, or one of the unimodal models, takes."""
        return tuple(name for name in MODALITIES if name in self.modalities or name in self.unimodal)

    @classmethod
    def open(cls, folder: Path, threads: int = 1) -> ScoringModel:
        """Reads a bundle folder.

        Args:
            folder: as bundle/write.py writes it.
            threads: of each network; requests run beside each other anyway.

        Raises:
            InputError: when a file is missing, damaged or not the one that was written.
        """
        try:
            check_sums(folder)
            metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
            modalities = tuple(metadata["modalities"])
            preprocess = Preprocess.model_validate(metadata["preprocess"])
            run = open_graph(folder / GRAPH, modalities, threads)
            folds = tuple(
                (open_graph(fold_graph(folder, other["fold"]), modalities, threads), float(other["shift"]))
                for other in metadata["folds"]
            )
            tensors = load_file(folder / REFERENCE)
            reference = {name: tensors[f"{name}_mean"] for name in modalities}
            embeddings = {name: tensors[f"{name}_seen"] for name in modalities}
            threshold = float(metadata["threshold"])
            log_odds = run({name: reference[name][None] for name in modalities})[0]
            reference_log_odds = float(log_odds[0]) + metadata["shift"]
        except Exception as error:  # onnxruntime and safetensors have kinds of their own
            raise InputError(f"{folder}: this bundle is incomplete or damaged ({error})") from None
        return cls(
            modalities,
            preprocess,
            threshold,
            metadata,
            run,
            folds,
            reference,
            reference_log_odds,
            training_embeddings=embeddings,
            unimodal={name: cls.open(folder / name, threads) for name in metadata["alone"]},
        )

    def score(self, crops: Crops) -> pd.DataFrame:
        """Returns `probability` and `decision` of N nodules, a row each.

        Args:
            crops: per modality (N, S, S) uint8.

        Raises:
            InputError: naming the modality whose crops are missing or of another shape or type.
        """
        images = checked_crops(crops, self.modalities, self.preprocess)
        logits = np.concatenate([self.run(part)[0] for part in in_parts(images)])
        return pd.DataFrame(self._decide(logits + float(self.metadata["shift"])))

    def answer(self, crops: Crops) -> dict[str, NDArray[Any]]:
        """Returns everything that an answer says of N nodules, in columns.

        Args:
            crops: per modality (N, S, S) uint8.

        Returns:
            Arrays (N,): `probability`, `decision`, `threshold`; `calibrated` (recalibrated on the
            out-of-fold predictions, NaN where that is not defined) with `calibrated_low` and
            `calibrated_high`, its range over the models of all folds; `us_contribution`,
            `ct_contribution` (exact Shapley values, log odds) and `reference_log_odds`, which add up to the
            log odds of the probability; `variant`; `warnings`, a list of texts.

        Raises:
            InputError: naming the modality whose crops are missing or of another shape or type.
        """
        images = checked_crops(crops, self.modalities, self.preprocess)
        parts = [self._answer_batch(part) for part in in_parts(images)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _answer_batch(self, crops: Crops) -> dict[str, NDArray[Any]]:
        """Answers for one batch, as columns."""
        count = len(crops[self.modalities[0]])
        means = {name: np.repeat(self.reference[name][None], count, axis=0) for name in self.modalities}
        without = [{**crops, name: means[name]} for name in self.modalities]
        coalitions = [crops, *without] if len(self.modalities) == 2 else [crops]
        stacked = {m: np.concatenate([coalition[m] for coalition in coalitions]) for m in self.modalities}
        logits, embeddings, other_folds = self._run_networks(stacked, crops)
        whole, *rest = np.split(logits + float(self.metadata["shift"]), len(coalitions))
        calibrated = np.stack([self._calibrate(log_odds) for log_odds in (whole, *other_folds)])
        contributions = shapley(whole, self.reference_log_odds, *rest)
        shares = dict(zip(self.modalities, contributions, strict=True))
        warnings = np.empty(count, dtype=object)
        warnings[:] = self._warnings(crops, {name: rows[:count] for name, rows in embeddings.items()})
        return {
            **self._decide(whole),
            "threshold": np.full(count, self.threshold),
            "calibrated": calibrated[0],
            "calibrated_low": calibrated.min(axis=0),
            "calibrated_high": calibrated.max(axis=0),
            **{f"{name}_contribution": shares.get(name, np.full(count, np.nan)) for name in MODALITIES},
            "reference_log_odds": np.full(count, self.reference_log_odds),
            "variant": np.full(count, self.metadata["variant"], dtype=object),
            "warnings": warnings,
        }

    def _run_networks(
        self, stacked: Crops, crops: Crops
    ) -> tuple[NDArray[np.float64], dict[Modality, NDArray[np.float32]], list[NDArray[np.float64]]]:
        """Runs the network on stacked coalitions, and beside it those of the other folds on the crops.

        Returns:
            Log odds and embeddings of the network; shifted log odds of each other fold.
        """
        pending = [GRAPHS.submit(run, crops) for run, _ in self.folds]
        logits, embeddings = self.run(stacked)
        shifts = [shift for _, shift in self.folds]
        other_folds = [run.result()[0] + shift for run, shift in zip(pending, shifts, strict=True)]
        return logits, embeddings, other_folds

    def _decide(self, log_odds: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        probability = _expit(log_odds)
        return {"probability": probability, "decision": (probability >= self.threshold).astype(int)}

    def _calibrate(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        line = self.metadata["calibration"]
        if line is None:
            return np.full(len(log_odds), np.nan)
        return _expit(float(line["intercept"]) + float(line["slope"]) * log_odds)

    def _warnings(self, crops: Crops, embeddings: Mapping[Modality, NDArray[np.float32]]) -> list[list[str]]:
        warnings: list[list[str]] = [[] for _ in crops[self.modalities[0]]]
        for name in self.modalities:
            sentences = outside(crops[name], self.metadata["ranges"][name])
            embedding_limit = float(self.metadata["far"][name])
            for place, distance in enumerate(distances(embeddings[name], self.training_embeddings[name])):
                warnings[place] += [f"{name} {sentence}" for sentence in sentences[place]]
                if distance > embedding_limit:
                    warnings[place].append(
                        f"{name} embedding {distance:.3g} from its nearest training nodules, nodules of the "
                        f"training cohort nearly always within {embedding_limit:.3g}"
                    )
        return warnings


def open_graph(path: Path, modalities: tuple[Modality, ...], threads: int) -> Runner:
    """Opens an ONNX graph as a function; on a GPU where onnxruntime was built for one."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    available = onnxruntime.get_available_providers()
    providers = [n for n in ("CUDAExecutionProvider", "CPUExecutionProvider") if n in available]
    session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    return partial(_run, session, modalities)


def _run(
    session: onnxruntime.InferenceSession, modalities: tuple[Modality, ...], crops: Crops
) -> tuple[NDArray[np.float64], dict[Modality, NDArray[np.float32]]]:
    logits, *embeddings = session.run(None, {name: crops[name] for name in modalities})
    return np.asarray(logits, dtype=np.float64), dict(zip(modalities, embeddings, strict=True))


def shapley(
    whole: NDArray[np.float64], base: float, *without: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """Returns each player's exact Shapley value (N,) in a game of one or two; they add up to whole - base.

    Args:
        whole: (N,) with every player.
        base: with no player.
        without: for two players, (N,) each: the game without the first, and without the second.
    """
    if not without:
        return [whole - base]
    lacks_first, lacks_second = without
    first = ((lacks_second - base) + (whole - lacks_first)) / 2
    return [first, whole - base - first]


def _expit(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-log_odds)))
