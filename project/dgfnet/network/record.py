"""The record of a nodule as a stream: columns of nodules.csv become as many values as a picture's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dgfnet.tabular.terms import Term

HIDDEN = 32  # values between; a record has a few columns
LIMIT = 5.0  # standard deviations: a number beyond counts as this, so that a slip of the pen stays one


class RecordStream(nn.Module):
    """Standardisation, and a perceptron of one hidden layer.

    It takes what `tabular.terms.raw` gives and standardises inside, as the streams of pictures do: with the
    medians, means and deviations of the training nodules, which lie among the weights.

    Attributes:
        fill, centre, scale: (T,) float64, those of the T terms; of no use before `set_normalisation`.
    """

    fill: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(self, terms: int, features: int, dropout: float) -> None:
        """Builds the stream with random weights.

        Args:
            terms: T, at least 1.
            features: F, values of every stream.
            dropout: share of the hidden values that training leaves out.
        """
        super().__init__()
        for name, value in (("fill", 0.0), ("centre", 0.0), ("scale", 1.0)):
            self.register_buffer(name, torch.full((terms,), value, dtype=torch.float64))
        self.hidden = nn.Linear(terms, HIDDEN)
        self.dropout = nn.Dropout(dropout)
        self.value = nn.Linear(HIDDEN, features)

    def set_normalisation(self, terms: Sequence[Term]) -> None:
        """Takes over the statistics of the training nodules, a term each."""
        for name in ("fill", "centre", "scale"):
            own = self.get_buffer(name)
            own.copy_(torch.tensor([getattr(term, name) for term in terms], dtype=own.dtype))

    def standardised(self, record: Tensor) -> Tensor:
        """(B, T) float64 becomes (B, T) float32 within +-LIMIT; a gap, NaN, is what the median is."""
        known = torch.where(record.isnan(), self.fill, record)
        return ((known - self.centre) / self.scale).clamp(-LIMIT, LIMIT).float()

    def forward(self, record: Tensor) -> Tensor:
        """(B, T) float64 becomes values (B, F), at least 0 as those of pictures are."""
        hidden = self.dropout(torch.relu(self.hidden(self.standardised(record))))
        return torch.relu(self.value(hidden))
