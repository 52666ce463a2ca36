"""The words of the domain: sites, modalities, encoders, the variants with their parts, baselines and stacks.

Nothing here is a setting: adding a variant starts in this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Site = Literal["central", "lateral"]
Modality = Literal["us", "ct"]
EncoderName = Literal["resnet18", "resnet34"]
Backbone = Literal["resnet18", "resnet34", "inception_v3"]  # what pretrained weights are for
Unimodal = Literal[
    "us_resnet", "us_tlr", "us_multitask", "us_continued", "ct_resnet", "ct_multitask", "ct_continued"
]
Fusion = Literal["concat", "sum", "product", "dgf"]
RecordFusion = Literal["concat_record", "sum_record", "dgf_record"]  # of US, CT and the record
Pictured = Literal[Unimodal, Fusion]  # what reads pictures alone
Variant = Literal[Pictured, RecordFusion]
Baseline = Literal["size", "clinical", "radiomics", "late"]  # models on tables, beside the networks
# networks joined with measured features: of US alone, of CT alone, of the variant that the settings name; the
# last but one, with what the record says, stands before the one it is compared with
Stack = Literal["us_stack", "ct_stack", "record_stack", "stack"]
Registered = Literal[Variant, "stack", "record_stack"]  # what can become a version of the registry
Branch = Literal["dimension", "modality", "nodule"]
Scored = Literal["all", "largest"]  # images of a nodule that an evaluation takes

SITES: tuple[Site, ...] = ("central", "lateral")
MODALITIES: tuple[Modality, ...] = ("us", "ct")
VARIANTS: tuple[Variant, ...] = get_args(Variant)  # in the paper's order, from one modality to fusion
PICTURED: tuple[Pictured, ...] = get_args(Pictured)
RECORD_FUSIONS: tuple[RecordFusion, ...] = get_args(RecordFusion)  # no rows of the paper
RECORD = "record"  # columns of nodules.csv as an input, a stream, a part of an answer
# of the epochs that a fusion has more; no rows of the paper
CONTROLS: tuple[Variant, ...] = ("us_continued", "ct_continued")
BASIC_FUSIONS: tuple[Fusion, ...] = ("concat", "sum", "product")
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
STACKS: tuple[Stack, ...] = get_args(Stack)
TABULAR: tuple[Baseline | Stack, ...] = (*BASELINES, *STACKS)  # as tables list them, below the variants


def is_stacked(variant: str) -> bool:
    """Returns True for networks joined with measured features, False for a network alone or a baseline."""
    return variant in STACKS


def mask_of(modality: Modality) -> str:
    """Returns the name of the input of a network that holds the nodule's mask in a picture of a modality."""
    return f"{modality}_mask"


@dataclass(frozen=True)
class Spec:
    """The make-up of a variant, and what its training starts from (paper section 4).

    Attributes:
        modalities: whose pictures it has a stream for.
        tasks: these streams carry decoders and are helped by segmentation; they start from the shared phase.
        parents: the trained variants whose streams it starts from, one per modality.
        fusion: that joins its streams; None with one alone.
        record: it has one more stream, of the record, which starts at random.
    """

    modalities: tuple[Modality, ...]
    tasks: bool
    parents: tuple[Variant, ...] = ()
    fusion: Fusion | None = None
    record: bool = False

    @property
    def fuses(self) -> bool:
        """Returns True for a variant of both modalities."""
        return self.fusion is not None


def _joined(fusion: Fusion, record: bool = False) -> Spec:
    return Spec(("us", "ct"), True, ("us_multitask", "ct_multitask"), fusion, record)


SPECS: dict[Variant, Spec] = {
    "us_resnet": Spec(("us",), False),
    "us_tlr": Spec(("us",), False),
    "us_multitask": Spec(("us",), True),
    "us_continued": Spec(("us",), True, ("us_multitask",)),  # a stream trained on as in a fusion, alone
    "ct_resnet": Spec(("ct",), False),
    "ct_multitask": Spec(("ct",), True),
    "ct_continued": Spec(("ct",), True, ("ct_multitask",)),
    "concat": _joined("concat"),
    "sum": _joined("sum"),
    "product": _joined("product"),
    "dgf": _joined("dgf"),
    "concat_record": _joined("concat", record=True),
    "sum_record": _joined("sum", record=True),
    "dgf_record": _joined("dgf", record=True),
}
