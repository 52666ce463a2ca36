"""Basic fusion: the two modalities' values side by side."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Concat(nn.Module):
    """Concatenation of US and CT, brought back to F values so that every variant shares the classifier."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(2 * features, features)

    def forward(self, us: Tensor, ct: Tensor, patients: Tensor | None) -> Tensor:
        """(B, F) and (B, F) become (B, F); patients are not used."""
        return self.reduce(torch.cat([us, ct], dim=1))  # type: ignore[no-any-return]
