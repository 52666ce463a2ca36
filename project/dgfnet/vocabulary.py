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
Variant = Literal[Unimodal, Fusion]
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
        modalities: the streams it has.
        tasks: its streams carry decoders and are helped by segmentation; they start from the shared phase.
        parents: the trained variants whose streams it starts from, one per modality.
    """

    modalities: tuple[Modality, ...]
    tasks: bool
    parents: tuple[Variant, ...] = ()

    @property
    def fuses(self) -> bool:
        """Returns True for a variant of both modalities."""
        return len(self.modalities) > 1


_FUSION = Spec(("us", "ct"), True, ("us_multitask", "ct_multitask"))
SPECS: dict[Variant, Spec] = {
    "us_resnet": Spec(("us",), False),
    "us_tlr": Spec(("us",), False),
    "us_multitask": Spec(("us",), True),
    "us_continued": Spec(("us",), True, ("us_multitask",)),  # a stream trained on as in a fusion, alone
    "ct_resnet": Spec(("ct",), False),
    "ct_multitask": Spec(("ct",), True),
    "ct_continued": Spec(("ct",), True, ("ct_multitask",)),
    "concat": _FUSION,
    "sum": _FUSION,
    "product": _FUSION,
    "dgf": _FUSION,
}
