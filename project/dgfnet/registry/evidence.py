"""The evidence that the gate judges a version by: measured in register/measure.py, kept as a fact."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Rival:
    """A version's out-of-fold AUC less that of a simpler model, on the same nodules.

    Attributes:
        name: of the simpler model.
        estimate: of the difference.
        low: lower limit of its interval; None where that is not defined.
        high: upper limit.
    """

    name: str
    estimate: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Evidence:
    """Measurements of one version.

    Attributes:
        audit_findings: number of findings of the audit that stop a model; None without an audit.
        batch_variance: largest difference of a nodule's probability scored alone, in a batch, and in another
            order; 0 is batch invariance.
        onnx_error: largest difference between the probabilities of an ONNX graph and of its network; of the
            networks that are graphs alone, cross-validation's of the nodules held out from them.
        reproduction_error: largest difference between the probabilities of the chosen fold's network and
            cross-validation's of nodules held out from it.
        auc: of all folds, out of fold.
        auc_low: lower limit of its interval.
        calibration_slope: out of fold; 1 is perfect, below 1 too extreme.
        weakest_group: the group of nodules with the lowest accuracy, as text.
        weakest_accuracy: its accuracy; None when no group is large enough.
        missing_lineage: the part of the lineage that is missing, empty when it is whole.
        unimodal: of a fusion, the best of the models of one modality that it starts from; None for others.
        simpler: of `dgf`, or a stack of it, the best of the basic fusions; None for others, or without any.
        baseline: the best baseline of the tables of this cross-validation; None without any.
    """

    audit_findings: int | None
    batch_variance: float
    onnx_error: float
    reproduction_error: float
    auc: float
    auc_low: float
    calibration_slope: float
    weakest_group: str
    weakest_accuracy: float | None
    missing_lineage: str
    unimodal: Rival | None
    simpler: Rival | None
    baseline: Rival | None

    def text(self) -> str:
        """Returns the evidence as the text of a tag."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Evidence:
        """Reads the text of a tag.

        Raises:
            TypeError: when it has other fields: another release measured something else.
        """
        try:
            fields = json.loads(text)
            for name in ("unimodal", "simpler", "baseline"):
                fields[name] = fields[name] and Rival(**fields[name])
            return cls(**fields)
        except (ValueError, KeyError) as error:
            raise TypeError(f"no evidence: {error}") from None
