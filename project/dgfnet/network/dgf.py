"""Diverse granularity fusion (paper section 3, equations 1-21).

Notation: F is the number of values per modality (512 at width 1) and D = F / 2. V projects each modality to
D, so that every level gives 2 D = F values. Rows of Q, K and V are nodules, as in the paper; W acts from the
right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from dgfnet.settings import Dgf
from dgfnet.vocabulary import Branch


class DimensionLevel(nn.Module):
    """Attention between the feature dimensions of US and CT of one nodule, equations 1-8.

    Q and K are outer-product factors of dimension one, so the scale sqrt(d_k) is a choice: the number of
    dimensions D when `scale` is set, 1 otherwise.
    """

    def __init__(self, features: int, scale: bool) -> None:
        super().__init__()
        self.query, self.key, self.value_us, self.value_ct = (
            nn.Linear(features, features // 2, bias=False) for _ in range(4)
        )
        self.divisor = (features // 2) ** 0.5 if scale else 1.0

    def forward(self, us: Tensor, ct: Tensor) -> Tensor:
        """(B, F) and (B, F) become (B, F)."""
        q, k, v_us, v_ct = (
            self.query(us),
            self.key(ct),
            self.value_us(us),
            self.value_ct(ct),
        )  # (1)-(4): (B, D)
        attention = torch.softmax(q[:, :, None] * k[:, None, :] / self.divisor, dim=-1)  # (5): (B, D, D)
        from_us = v_us + (attention @ v_us[:, :, None])[:, :, 0]  # (6)
        from_ct = v_ct + (attention.transpose(1, 2) @ v_ct[:, :, None])[:, :, 0]  # (7)
        fused: Tensor = torch.cat([from_us, from_ct], dim=1)  # (8): (B, F)
        return fused


class ModalityLevel(nn.Module):
    """Attention between the two modalities of one nodule as tokens, equations 9-14."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(features, features // 2, bias=False) for _ in range(3))
        self.divisor = (features // 2) ** 0.5

    def forward(self, us: Tensor, ct: Tensor) -> Tensor:
        """(B, F) and (B, F) become (B, F)."""
        tokens = torch.stack([us, ct], dim=1)  # (9): (B, 2, F)
        q, k, v = self.query(tokens), self.key(tokens), self.value(tokens)  # (10)-(12): (B, 2, D)
        attention = torch.softmax(q @ k.transpose(1, 2) / self.divisor, dim=-1)  # (13): (B, 2, 2)
        fused: Tensor = (v + attention @ v).flatten(1)  # (14): (B, F)
        return fused


class NoduleLevel(nn.Module):
    """Attention between nodules, equations 15-20.

    In training it runs over the batch, as in the paper. Over a batch, though, the prediction of one patient
    depends on who else is scored. So evaluation attends over a frozen reference bank, the keys and values of
    the training nodules, without those of the nodule's own patient. With `nodule_level: batch` it always runs
    over the batch.

    Attributes:
        bank_keys, bank_values: (M, F) of the training nodules; M is 0 until `set_bank`.
        bank_patients: (M,) int64 patient keys.
    """

    bank_keys: Tensor
    bank_values: Tensor
    bank_patients: Tensor

    def __init__(self, features: int, over: Literal["bank", "batch"]) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(2 * features, features, bias=False) for _ in range(3))
        self.divisor = features**0.5
        self.over = over
        self.register_buffer("bank_keys", torch.empty(0, features))
        self.register_buffer("bank_values", torch.empty(0, features))
        self.register_buffer("bank_patients", torch.empty(0, dtype=torch.int64))

    def entries(self, us: Tensor, ct: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of nodules, (B, F) each: what a bank is made of."""
        both = torch.cat([us, ct], dim=1)
        return self.key(both), self.value(both)

    def set_bank(self, keys: Tensor, values: Tensor, patients: Tensor) -> None:
        """Freezes the reference bank.

        Raises:
            RuntimeError: with fewer than two patients; nothing would be left for a nodule of the only one.
        """
        if len(torch.unique(patients)) < 2:
            raise RuntimeError("a reference bank needs nodules of at least two patients")
        self.bank_keys, self.bank_values, self.bank_patients = keys.detach(), values.detach(), patients

    def forward(self, us: Tensor, ct: Tensor, patients: Tensor | None) -> Tensor:
        """(B, F) and (B, F) become (B, F).

        Args:
            us: US features.
            ct: CT features.
            patients: (B,) patient keys; bank entries of the same patient are not attended to. None masks
                nothing.

        Raises:
            RuntimeError: in evaluation without a bank.
        """
        both = torch.cat([us, ct], dim=1)  # (15): (B, 2F)
        q: Tensor = self.query(both)  # (16): (B, F)
        v: Tensor = self.value(both)  # (18): (B, F)
        if self.training or self.over == "batch":
            attention = torch.softmax(q @ self.key(both).T / self.divisor, dim=-1)  # (17), (19): (B, B)
            return v + attention @ v  # (20)
        if not len(self.bank_keys):
            raise RuntimeError("the nodule level has no reference bank; call set_bank before evaluation")
        scores = q @ self.bank_keys.T / self.divisor  # (B, M)
        if patients is not None:
            scores = scores.masked_fill(patients[:, None] == self.bank_patients[None, :], float("-inf"))
        return v + torch.softmax(scores, dim=-1) @ self.bank_values


class DiverseGranularityFusion(nn.Module):
    """The three levels and their combination, equation 21; any subset of the levels can be left out."""

    def __init__(self, features: int, settings: Dgf) -> None:
        super().__init__()
        levels: dict[Branch, nn.Module] = {
            "dimension": DimensionLevel(features, settings.scale_dimension_attention),
            "modality": ModalityLevel(features),
            "nodule": NoduleLevel(features, settings.nodule_level),
        }
        self.levels = nn.ModuleDict({name: levels[name] for name in settings.branches})
        self.combiner = settings.combiner
        self.reduce = (
            nn.Linear(features * len(self.levels), features)
            if settings.combiner == "concat"
            else nn.Identity()
        )

    def forward(self, us: Tensor, ct: Tensor, patients: Tensor | None) -> Tensor:
        """(B, F) and (B, F) become (B, F)."""
        parts = [
            level(us, ct, patients) if name == "nodule" else level(us, ct)
            for name, level in self.levels.items()
        ]
        return self.reduce(combine(parts, self.combiner))  # type: ignore[no-any-return]


def combine(parts: Sequence[Tensor], how: Literal["product", "sum", "concat"]) -> Tensor:
    """Equation 21 (product), or one of its alternatives."""
    if how == "concat":
        return torch.cat(list(parts), dim=1)
    stacked = torch.stack(list(parts))
    return stacked.prod(dim=0) if how == "product" else stacked.sum(dim=0)
