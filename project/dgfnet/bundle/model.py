"""Scores nodules with the ONNX graphs of a bundle, without torch: probability, contributions, warnings.

Batch invariance: a nodule's answer does not depend on which others are scored with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file

from dgfnet.bundle.crops import Album, Inputs, ScoredPairs, pairs_of, scored_images
from dgfnet.bundle.graph import FoldGraph, open_graph
from dgfnet.bundle.joint import joined_by_all, joint_of, unusual
from dgfnet.bundle.layout import GRAPH, METADATA, REFERENCE, check_sums, fold_graph, outline_graph
from dgfnet.bundle.novelty import Typical, Verdict, features, judge
from dgfnet.bundle.record import Column, stream_of, unusual_record
from dgfnet.bundle.shapley import shapley
from dgfnet.errors import InputError
from dgfnet.metrics.conformal import SetLimits, prediction_sets
from dgfnet.outline.outliner import Outliner, Radii
from dgfnet.sections.data import Preprocess
from dgfnet.vocabulary import MODALITIES, RECORD, Modality, Scored, mask_of

# graphs of one answer run beside each other: each has one thread, and onnxruntime releases the GIL;
# parallel.cores() would import rich, which the environment of a registered model does not have
GRAPHS = ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="graphs")
UNKNOWN = "this version was registered before pictures unlike its training were looked for"


@dataclass(frozen=True, eq=False)
class ScoringModel:
    """The networks of all folds, and what an answer compares new nodules with.

    In a stacked model a regression of each fold joins the log odds of its network with measured features, and
    perhaps with the record. Networks may have a stream of the record themselves.

    Attributes:
        modalities: whose pictures the networks read.
        inputs: of the networks, but for the record: the modalities, and masks where they read them.
        preprocess: settings that make their crops.
        threshold: frozen; a nodule is called positive at or above it.
        metadata: everything in bundle.json.
        members: the networks, that of the chosen fold first.
        reference: by name of the input (S, S): the mean crop of the first network's training nodules, the
            pixels that lie in half their nodules or more.
        reference_log_odds: of the reference crops, with features at their means and nothing of the record.
        typical: per modality the crops of the training cohort, also of one that the networks do not read;
            empty in bundles before format 7.
        unimodal: for a fusion, the models of one modality that it was built from.
        outline: of nodules that come with a box.
    """

    modalities: tuple[Modality, ...]
    inputs: tuple[str, ...]
    preprocess: Preprocess
    threshold: float
    metadata: Mapping[str, Any]
    members: tuple[FoldGraph, ...]
    reference: Mapping[str, NDArray[np.uint8]]
    reference_log_odds: float
    typical: Mapping[Modality, Typical]
    unimodal: Mapping[Modality, ScoringModel]
    outline: Outliner

    @property
    def usable(self) -> tuple[Modality, ...]:
        """The modalities that the networks, or one of the unimodal models, take."""
        return tuple(name for name in MODALITIES if name in self.modalities or name in self.unimodal)

    @property
    def units(self) -> Mapping[Modality, str] | None:
        """The unit of the pixels on which its features were measured, per modality; None: it reads none."""
        units: Mapping[Modality, str] | None = self.metadata["units"]
        return units

    @property
    def record(self) -> dict[str, Column]:
        """The columns of the record that it reads, by their names; empty where it reads none."""
        return {name: Column.of(plain) for name, plain in (self.metadata.get("record") or {}).items()}

    @property
    def reads_masks(self) -> bool:
        """True when answers depend on the nodule's outline, and not only on the square around it."""
        return _reads_masks(self.metadata)

    @property
    def images(self) -> Scored:
        """The images of a nodule that are scored: `all` or `largest`."""
        images: Scored = self.metadata["network"]["images"]
        return images

    @property
    def scoring(self) -> tuple[FoldGraph, ...]:
        """The networks whose mean log odds are the answer: all, or the first."""
        return _scoring(self.members, self.metadata)

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
            modalities, inputs = tuple(metadata["modalities"]), tuple(metadata["inputs"])
            preprocess = Preprocess.model_validate(metadata["preprocess"])
            first, *others = metadata["members"]
            graphs = [folder / GRAPH, *(fold_graph(folder, other["fold"]) for other in others)]
            members = tuple(
                FoldGraph(
                    open_graph(graph, threads),
                    float(member["shift"]),
                    joint_of(metadata, member),
                    stream_of(metadata, member),
                )
                for graph, member in zip(graphs, (first, *others), strict=True)
            )
            tensors = load_file(folder / REFERENCE)
            reference = {name: tensors[f"{name}_mean"] for name in inputs}
            typical = {name: Typical.of(own) for name, own in metadata.get("typical", {}).items()}
            threshold = float(metadata["threshold"])
            mean = {name: crop[None] for name, crop in reference.items()}
            listed = metadata.get("outlines", [])  # bundles of format 5 have none
            outlines = {name: Radii(outline_graph(folder, name).read_bytes(), threads) for name in listed}
            reference_odds = [member.reference_log_odds(mean) for member in _scoring(members, metadata)]
        except Exception as error:  # onnxruntime and safetensors have kinds of their own
            raise InputError(f"{folder}: this bundle is incomplete or damaged ({error})") from None
        return cls(
            modalities,
            inputs,
            preprocess,
            threshold,
            metadata,
            members,
            reference,
            float(np.mean(reference_odds)),
            typical=typical,
            unimodal={name: cls.open(folder / name, threads) for name in metadata["alone"]},
            outline=Outliner(preprocess, outlines, _reads_masks(metadata)),
        )

    def score(self, album: Album) -> pd.DataFrame:
        """Returns `probability` and `decision` of N nodules, a row each.

        Args:
            album: crops of the nodules.

        Raises:
            InputError: naming the modality whose crops are missing or of another shape or type.
        """
        return pd.DataFrame(self._decide(self._log_odds(self.scoring, album).mean(axis=0)))

    def calibrated(self, album: Album) -> NDArray[np.float64]:
        """Returns the recalibrated probability of N nodules, (N,); NaN where that is not defined.

        Raises:
            InputError: as for `score`.
        """
        return self._calibrate(self._log_odds(self.scoring, album).mean(axis=0))

    def score_by(self, member: int, album: Album) -> NDArray[np.float64]:
        """Returns the probability of N nodules by one of `members`, (N,).

        Args:
            member: its place.
            album: crops of the nodules.

        Raises:
            InputError: as for `score`.
        """
        return _expit(self._log_odds((self.members[member],), album)[0])

    def pairs(self, album: Album) -> ScoredPairs:
        """Returns the pairs of pictures of N nodules that are scored.

        Raises:
            InputError: as for `score`.
        """
        return pairs_of(album, self.inputs, self.preprocess, self.images)

    def _log_odds(self, members: tuple[FoldGraph, ...], album: Album) -> NDArray[np.float64]:
        pairs = self.pairs(album)
        parts = [[member.log_odds(part) for part in member.parts(pairs, album)] for member in members]
        networks = pairs.average(np.stack([np.concatenate(own) for own in parts]))
        return joined_by_all([member.joint for member in members], networks, album)

    def answer(self, album: Album) -> dict[str, NDArray[Any]]:
        """Returns everything that an answer says of N nodules, in columns.

        Args:
            album: crops of the nodules.

        Returns:
            Arrays (N,): `probability`, `decision`, `threshold`; `calibrated` (recalibrated on the
            out-of-fold predictions, NaN where that is not defined) with `calibrated_low` and
            `calibrated_high`, its range over the networks of all folds; `us_contribution`,
            `ct_contribution`, `record_contribution` (exact Shapley values, log odds; NaN of what is not read)
            and `reference_log_odds`, which add up to the log odds of the probability; `variant`;
            `prediction_set`, the classes that cannot be ruled out; `level`, `us_novelty`, `ct_novelty` (NaN
            for a modality that is not read) and `warnings`, of `verdicts`.

        Raises:
            InputError: naming the modality whose crops are missing or of another shape or type.
        """
        pairs = self.pairs(album)
        every_part = zip(*(member.parts(pairs, album) for member in self.members), strict=True)
        parts = [self._run_networks(each) for each in every_part]
        networks = pairs.average(np.concatenate([part[0] for part in parts], axis=2))
        every = pairs.average(np.concatenate([part[1] for part in parts], axis=1))
        networks, every, record = self._join(networks, every, album)
        coalitions = networks.mean(axis=0)
        players = (*self.modalities, *((RECORD,) if self.members[0].stream else ()))
        shares = dict(zip(players, shapley(coalitions, self.reference_log_odds), strict=True))
        whole = coalitions[0]
        if record is not None:
            # it enters as a summand, so its Shapley value is that, and the pictures' are those without it
            shares[RECORD], whole = record, whole + record
        alone = [self._calibrate(log_odds) for log_odds in (whole, *every)]
        count = len(whole)
        verdicts, decided = self.verdicts(album), self._decide(whole)
        return {
            **decided,
            "threshold": np.full(count, self.threshold),
            "calibrated": alone[0],
            "calibrated_low": np.min(alone, axis=0),
            "calibrated_high": np.max(alone, axis=0),
            **{
                f"{name}_contribution": shares.get(name, np.full(count, np.nan))
                for name in (*MODALITIES, RECORD)
            },
            "reference_log_odds": np.full(count, self.reference_log_odds),
            "variant": np.full(count, self.metadata["variant"], dtype=object),
            "prediction_set": self.sets(decided["probability"]),
            "level": _objects([verdict.level for verdict in verdicts]),
            **{
                f"{name}_novelty": np.array([verdict.novelty.get(name, np.nan) for verdict in verdicts])
                for name in MODALITIES
            },
            "warnings": _objects([list(verdict.reasons) for verdict in verdicts]),
        }

    def verdicts(self, album: Album) -> list[Verdict]:
        """Says of N nodules whether they may be answered.

        It also warns of measured features and cells of the record that are missing or far out, where they are
        read.

        Args:
            album: crops of the nodules, and measured features and record where the model reads them.
        """
        scored = {name: scored_images(album, name, self.images) for name in self.modalities}
        nodules = zip(*scored.values(), strict=True)
        if not self.typical:
            return [Verdict("caution", (UNKNOWN,), {}) for _ in nodules]
        verdicts = [
            judge(self.typical, dict(zip(scored, map(features, own), strict=True))) for own in nodules
        ]
        warnings = []
        if (joint := self.members[0].joint) is not None:
            warnings.append(unusual(joint, joint.table(album), self.metadata["measured"]))
        if self.record:
            warnings.append(unusual_record(self.record, album[RECORD]))
        for own in warnings:
            verdicts = [verdict.warned(more) for verdict, more in zip(verdicts, own, strict=True)]
        return verdicts

    def sets(self, probability: NDArray[np.float64]) -> NDArray[Any]:
        """Returns the prediction set of each probability, (N,) texts; empty in bundles before format 7."""
        known = self.metadata.get("sets")
        if known is None:
            return np.full(len(probability), "", dtype=object)
        limits = SetLimits(negative=float(known["negative"]), positive=float(known["positive"]))
        return _objects(prediction_sets(probability, limits))

    def _join(
        self, coalitions: NDArray[np.float64], every: NDArray[np.float64], album: Album
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | None]:
        """Joins the log odds of networks with features and record; leaves them where the model reads none.

        Args:
            coalitions: (scoring networks, coalitions, N) as `_run_networks` returns them; without a modality
                its features are at their means, too.
            every: (networks, N).
            album: of the N nodules.

        Returns:
            `coalitions` joined with measured features alone, `every` with the record too; and what the record
            adds to the mean of the scoring networks, (N,), None where it is not read.
        """
        if (first := self.members[0].joint) is None:
            return coalitions, every, None
        beside = first.beside(album)
        coalitions, every, record = coalitions.copy(), every.copy(), []
        for place, member in enumerate(self.members):
            joint = member.joint
            assert joint is not None  # all members of a bundle, or none
            parts = joint.parts(beside)
            every[place] = joint.combined(every[place], parts.values())
            record += [parts.pop(RECORD)] if joint.record else []
            for number in range(coalitions.shape[1] if place < len(coalitions) else 0):
                lacking = self.modalities[number - 1] if number else None
                present = (own for name, own in parts.items() if name != lacking)
                coalitions[place, number] = joint.combined(coalitions[place, number], present)
        return coalitions, every, np.mean(record[: len(coalitions)], axis=0) if record else None

    def _run_networks(self, inputs: Sequence[Inputs]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Runs the networks beside each other on a batch of P pairs.

        Args:
            inputs: what each network reads of the pairs.

        Returns:
            The log odds of the networks that score, (networks, coalitions, P): of the pairs, and of a fusion
            also of each coalition of its streams, where the crops of an absent modality are the mean crop and
            nothing is known of an absent record; log odds of every network, (networks, P).
        """
        crops, lacking = inputs[0], []  # no copies: only graphs of older bundles look at them
        for modality in self.modalities if len(self.modalities) == 2 else ():
            own = {modality, mask_of(modality)} & set(self.inputs)
            means = {name: np.broadcast_to(self.reference[name], crops[name].shape) for name in own}
            lacking.append({**crops, **means})
        first, *rest = self.members
        scoring = len(self.scoring)
        pending = [
            GRAPHS.submit(member.coalitions, inputs[place], lacking if place < scoring else [])
            for place, member in enumerate(rest, start=1)
        ]
        log_odds = [first.coalitions(inputs[0], lacking), *(run.result() for run in pending)]
        return np.stack(log_odds[:scoring]), np.stack([own[0] for own in log_odds])

    def _decide(self, log_odds: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        probability = _expit(log_odds)
        return {"probability": probability, "decision": (probability >= self.threshold).astype(int)}

    def _calibrate(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        line = self.metadata["calibration"]
        if line is None:
            return np.full(len(log_odds), np.nan)
        return _expit(float(line["intercept"]) + float(line["slope"]) * log_odds)


def _objects(values: Sequence[Any]) -> NDArray[Any]:
    """Returns texts or lists as a column."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _reads_masks(metadata: Mapping[str, Any]) -> bool:
    return metadata["units"] is not None or set(metadata["inputs"]) != set(metadata["modalities"])


def _scoring(members: tuple[FoldGraph, ...], metadata: Mapping[str, Any]) -> tuple[FoldGraph, ...]:
    return members if metadata["scoring"] == "ensemble" else members[:1]


def _expit(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-log_odds)))
