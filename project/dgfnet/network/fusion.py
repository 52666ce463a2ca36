"""Basic fusion: the two modalities' values side by side, added, or multiplied (paper section 3)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Basic = Literal["concat", "sum", "product"]


class BasicFusion(nn.Module):
    """Concatenation, element-wise sum or element-wise product of US and CT values.

    Concatenation is brought back to F values, so that every variant shares the classifier; sum and product
    have no parameters.
    """

    def __init__(self, how: Basic, features: int) -> None:
        super().__init__()
        self.how = how
        self.reduce = nn.Linear(2 * features, features) if how == "concat" else nn.Identity()

    def forward(self, us: Tensor, ct: Tensor, patients: Tensor | None) -> Tensor:
        """(B, F) and (B, F) become (B, F); patients are not used."""
        if self.how == "concat":
            us = torch.cat([us, ct], dim=1)  # (B, 2F)
        elif self.how == "sum":
            us = us + ct
        else:
            us = us * ct
        return self.reduce(us)  # type: ignore[no-any-return]
