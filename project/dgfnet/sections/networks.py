"""Sections of networks and their training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dgfnet.sections.section import Count, Positive, Section
from dgfnet.vocabulary import Branch, EncoderName, Scored, Site


class Encoders(Section):
    """The ResNet of each site."""

    central: EncoderName
    """Encoder of the models for the central site."""
    lateral: EncoderName
    """Encoder of the models for the lateral site."""


class Dgf(Section):
    """Diverse granularity fusion."""

    branches: tuple[Branch, ...] = Field(strict=False, min_length=1)
    """Levels that are fused."""
    combiner: Literal["product", "sum", "concat"]
    """Combination of the branches; `product` is the paper's."""
    scale_dimension_attention: bool
    """Divide by the root of the number of dimensions in equation 5."""
    nodule_level: Literal["bank", "batch"]
    """Evaluation attends over the reference `bank`, or over the `batch` (the paper)."""


class Tlr(Section):
    """The baseline `us_tlr`: Inception V3 on the rectangle around the nodule (network/tlr.py)."""

    size: Annotated[int, Field(ge=75)]
    """Side of Inception V3's input, pixels."""
    box: Annotated[float, Field(ge=1, le=2)]
    """Side of the rectangle as a multiple of the nodule's bounding box."""
    finetune: Annotated[float, Field(ge=0, le=1)]
    """Learning rate of Mixed_7 as a share of the head's."""
    annealing: Positive
    """Heads tried by simulated annealing in the training part of each fold."""


class Network(Section):
    """Architecture."""

    encoder: Encoders
    width: Annotated[float, Field(gt=0, le=2)]
    """Factor on every channel count; 1 is the paper's network."""
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """Dropout of decoders and classifier."""
    pretrained: str
    """`off`, `imagenet` (torchvision's published weights) or the path of a checkpoint, in which `{encoder}`
    stands for `resnet18`, `resnet34` or `inception_v3`; needs width 1. See docs/how-to/pretrained.md."""
    mask_channel: bool
    """Whether an encoder sees the nodule's mask as a second channel. Its segmentation of the nodule, with
    which training helps it, is then a copy."""
    pooling: Literal["global", "regions"]
    """Of an encoder's maps: the mean of the last over all pixels, the paper's; or the means of the last three
    over nodule, rim and outside, by the mask, brought back to as many values."""
    images: Scored
    """Images of a nodule that are scored: `all`, the mean of the log odds over pairs in which each image
    stands; or `largest`, the pair of the largest nodule areas, the paper's."""
    dgf: Dgf
    tlr: Tlr

    def encoder_of(self, site: Site) -> EncoderName:
        """Returns the encoder of a site."""
        return self.encoder.central if site == "central" else self.encoder.lateral


class Augment(Section):
    """Random changes of a training picture (paper section 2)."""

    probability: Annotated[float, Field(ge=0, le=1)]
    """Probability with which each transform is applied."""
    rotation_degrees: Annotated[float, Field(ge=0, le=180)]
    """Largest rotation to either side, degrees."""
    smallest_crop: Annotated[float, Field(gt=0, le=1)]
    """Area of the smallest random crop, as a share of the input's."""
    brightness: Annotated[float, Field(ge=0, le=1)]
    """Largest change of brightness, as a share of full scale."""
    contrast: Annotated[float, Field(ge=0, le=1)]
    """Largest change of contrast, as a share."""
    elastic_displacement: Annotated[float, Field(ge=0, le=0.1)]
    """Standard deviation of a pixel's elastic displacement, as a share of the side."""
    elastic_smoothness: Annotated[float, Field(gt=0, le=1)]
    """Standard deviation of the Gaussian that makes it smooth, as a share of the side."""


class Training(Section):
    """Optimisation shared by every fit (paper section 4): Adam with a cosine schedule per epoch."""

    batch: Annotated[int, Field(ge=2)]
    """Nodules per step."""
    learning_rate: Annotated[float, Field(gt=0)]
    """Learning rate at the start of a schedule."""
    schedule: Literal["restarted", "joined"]
    """`restarted` begins the schedule, and Adam, again with every fit. `joined` is the paper's: a multi-task
    network of one modality goes on in the schedule of its segmentation-only phase, over `pretrain.epochs` and
    `crossval.unimodal_epochs`, with Adam's moments; a fusion has a schedule of its own."""
    weight_decay: Annotated[float, Field(ge=0)]
    """Weight decay."""
    segmentation_weight: Annotated[float, Field(ge=0)]
    """Weight of the masks' losses beside the label's."""
    sampling: Literal["train_only", "paper", "none"]
    """`train_only` undersamples inside training folds, anew each epoch, and corrects the probabilities;
    `paper` undersamples the cohort first."""
    augment: Augment
    precision: Literal["auto", "float32"]
    """`auto` is mixed precision on GPUs."""
    threads: Positive
    """CPU threads of one fit, which gets as many cores. They change its last digits, and so its key."""
    compile: Literal["auto", "on", "off"]
    """`torch.compile`: `auto` compiles on a GPU, for fits of 5,000 steps and more. A compiled fit draws other
    random numbers for dropout."""


class OutlineSettings(Section):
    """The network that outlines a nodule in a box, for cases that come without a mask."""

    steps: Count
    """Steps of its training, per modality and fold; 0: none, and a nodule in a box is taken for the ellipse
    in it."""
    batch: Annotated[int, Field(ge=2)]
    """Pictures per step."""
    width: Positive
    """Channels of its convolutions."""
    learning_rate: Annotated[float, Field(gt=0)]
    """Learning rate at the start of its cosine."""
    box_jitter: Annotated[float, Field(ge=0, le=0.3)]
    """Edges of boxes are moved in training by at most this share of the side, uniformly: no two people draw
    the same."""


class Pretrain(Section):
    """The phase that knows no label."""

    epochs: Positive
    """Epochs of the phase."""
    measured_weight: Annotated[float, Field(ge=0)]
    """Weight, beside the masks' losses, of telling the measured features of a picture
    (docs/reference/measured-features.md): their mean squared error, standardised. 0: they are not learned."""
