"""The baseline `us_tlr`: transfer learning on the nodule's rectangle, after Yu 2020 (Nat Commun 11:4807).

A re-implementation; head unspecified in the public text. Known are the rectangle 5 % larger than the lesion,
Inception V3 pretrained on ImageNet, and a top part whose hyper-parameters were found by simulated annealing
(training/annealing.py). Ours: blocks up to Mixed_6e frozen, Mixed_7 trained at a fraction of the head's rate,
global average pooling to 2048 values, fully connected layers with ReLU and dropout, one output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dgfnet.dataset.rectangle import Rectangle
from dgfnet.network.pretrained import Match, match
from dgfnet.network.variants import DGFNet, Output
from dgfnet.sections.networks import Tlr, Training
from dgfnet.vocabulary import Modality, Variant

FROZEN = (  # torchvision's names, in order
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1"),
    *("Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
)
TUNED = ("Mixed_7a", "Mixed_7b", "Mixed_7c")
FEATURES = 2048


@dataclass(frozen=True)
class Head:
    """Hyper-parameters of the top part and of its training.

    Attributes:
        width: units of each hidden layer.
        depth: number of hidden layers.
        dropout: after each of them.
        learning_rate, weight_decay: of Adam.
    """

    width: int
    depth: int
    dropout: float
    learning_rate: float
    weight_decay: float

    def layers(self) -> nn.Sequential:
        """Builds the layers from 2048 values to one logit."""
        layers: list[nn.Module] = []
        inside = FEATURES
        for _ in range(self.depth):
            layers += [nn.Linear(inside, self.width), nn.ReLU(inplace=True), nn.Dropout(self.dropout)]
            inside = self.width
        return nn.Sequential(*layers, nn.Linear(inside, 1))


class TransferNet(nn.Module):
    """Inception V3 with a new head; called like a `DGFNet`, without masks and without a reference bank."""

    variant: Variant = "us_tlr"
    modalities: tuple[Modality, ...] = ("us",)
    inputs: tuple[str, ...] = ("us",)
    nodule_level = None

    def __init__(self, head: Head, settings: Tlr) -> None:
        super().__init__()
        from torchvision.models import inception_v3  # seconds to import, and no other variant needs it

        blocks = inception_v3(weights=None, aux_logits=False, transform_input=False, init_weights=False)
        self.blocks = nn.ModuleDict({name: getattr(blocks, name) for name in (*FROZEN, *TUNED)})
        for (
            module
        ) in self.blocks.modules():  # without a checkpoint the frozen blocks must at least carry signal
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        self.head = head.layers()
        self.annealed, self.settings = head, settings
        for name in FROZEN:
            self.blocks[name].requires_grad_(False)

    def train(self, mode: bool = True) -> TransferNet:
        """Sets training mode for the trained blocks; the frozen blocks keep their batch statistics."""
        super().train(mode)
        for name in FROZEN:
            self.blocks[name].eval()
        return self

    def optimised(self, settings: Training) -> list[dict[str, Any]]:
        """Returns parameter groups: the head at its annealed rate, Mixed_7 at a fraction of it."""
        rate = self.annealed.learning_rate
        tuned = [parameter for name in TUNED for parameter in self.blocks[name].parameters()]
        shared = {"weight_decay": self.annealed.weight_decay}
        return [
            {"params": list(self.head.parameters()), "lr": rate, **shared},
            {"params": tuned, "lr": rate * self.settings.finetune, **shared},
        ]

    @property
    def rectangle(self) -> Rectangle:
        """The part of a region of interest that the network gets."""
        return Rectangle(self.settings.size, self.settings.box)

    def load_pretrained(self, content: Mapping[str, Any]) -> Match:
        """Loads torchvision's Inception V3, without its classifiers.

        Raises:
            InputError: when it does not fit; nothing is changed then.
        """
        tensors, report = match(
            content, self.blocks.state_dict(), "Conv2d_1a_3x3.conv.weight", "torchvision's Inception V3"
        )
        self.blocks.load_state_dict(tensors)
        return report

    def pooled(self, images: Mapping[str, Tensor]) -> Tensor:
        """Computes the values under the head, (B, 2048)."""
        x = images["us"][:, None].float() / 127.5 - 1  # Inception's own range
        x = x.expand(-1, 3, -1, -1).contiguous(
            memory_format=torch.channels_last
        )  # grey in all three channels
        with torch.no_grad():
            for name in FROZEN:
                x = self.blocks[name](x)
        for name in TUNED:
            x = self.blocks[name](x)
        return x.mean(dim=(2, 3))

    def forward(
        self, images: Mapping[str, Tensor], patients: Tensor | None = None, segment: bool = False
    ) -> Output:
        """Scores rectangles, `us` (B, T, T) grey 0..255; `patients` and `segment` change nothing."""
        return Output(self.head(self.pooled(images))[:, 0], {}, {})

    def describe(self) -> dict[str, Any]:
        """Returns the head, as fit.json keeps it."""
        return asdict(self.annealed)


Model = DGFNet | TransferNet
