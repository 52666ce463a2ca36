"""Basic fusion: the streams' values side by side, added, or multiplied (paper section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Basic = Literal["concat", "sum", "product"]


class BasicFusion(nn.Module):
    """Concatenation, element-wise sum or element-wise product of the values of M streams, 2 in the paper.

    Concatenation is brought back to F values, so that every variant shares the classifier; sum and product
    have no parameters.
    """

    def __init__(self, how: Basic, features: int, streams: int = 2) -> None:
        super().__init__()
        self.how = how
        self.reduce = nn.Linear(streams * features, features) if how == "concat" else nn.Identity()

    def forward(self, streams: Sequence[Tensor], patients: Tensor | None) -> Tensor:
        """M times (B, F) become (B, F); patients are not used."""
        first, *others = streams
        if self.how == "concat":
            return self.reduce(torch.cat([first, *others], dim=1))  # type: ignore[no-any-return]
        for other in others:
            first = first + other if self.how == "sum" else first * other
        return first
