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

    def scores(self, us: Tensor, ct: Tensor, patients: Tensor | None) -> Tensor:
        """Attention before the softmax, (B, D, D)."""
        q, k = self.query(us), self.key(ct)  # (1), (3): (B, D)
        return q[:, :, None] * k[:, None, :] / self.divisor  # type: ignore[no-any-return]

    def forward(
        self, us: Tensor, ct: Tensor, patients: Tensor | None = None, uniform: bool = False
    ) -> Tensor:
        """(B, F) and (B, F) become (B, F)."""
        v_us, v_ct = self.value_us(us), self.value_ct(ct)  # (2), (4): (B, D)
        attention = _softmax(self.scores(us, ct, patients), uniform)  # (5): (B, D, D)
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

    def scores(self, us: Tensor, ct: Tensor, patients: Tensor | None) -> Tensor:
        """Attention before the softmax, (B, 2, 2)."""
        tokens = torch.stack([us, ct], dim=1)  # (9): (B, 2, F)
        q, k = self.query(tokens), self.key(tokens)  # (10), (11): (B, 2, D)
        return q @ k.transpose(1, 2) / self.divisor  # type: ignore[no-any-return]

    def forward(
        self, us: Tensor, ct: Tensor, patients: Tensor | None = None, uniform: bool = False
    ) -> Tensor:
        """(B, F) and (B, F) become (B, F)."""
        v = self.value(torch.stack([us, ct], dim=1))  # (12): (B, 2, D)
        attention = _softmax(self.scores(us, ct, patients), uniform)  # (13): (B, 2, 2)
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
        with_self: over a bank, a nodule attends to itself too, as it does in a batch.
    """

    bank_keys: Tensor
    bank_values: Tensor
    bank_patients: Tensor

    def __init__(self, features: int, over: Literal["bank", "batch"]) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(2 * features, features, bias=False) for _ in range(3))
        self.divisor = features**0.5
        self.over = over
        self.with_self = False
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

    def scores(self, us: Tensor, ct: Tensor, patients: Tensor | None) -> Tensor:
        """Attention before the softmax, over the batch (B, B) or the bank (B, M)."""
        both = torch.cat([us, ct], dim=1)  # (15): (B, 2F)
        q: Tensor = self.query(both)  # (16): (B, F)
        if self.training or self.over == "batch":
            k: Tensor = self.key(both)  # (17): (B, F)
            return torch.div(q @ k.T, self.divisor)
        if not len(self.bank_keys):
            raise RuntimeError("the nodule level has no reference bank; call set_bank before evaluation")
        scores: Tensor = q @ self.bank_keys.T / self.divisor  # (B, M)
        if patients is not None:
            scores = scores.masked_fill(patients[:, None] == self.bank_patients[None, :], float("-inf"))
        if self.with_self:
            own = torch.div((q * self.key(both)).sum(dim=1, keepdim=True), self.divisor)
            scores = torch.cat([scores, own], dim=1)  # (B, M + 1)
        return scores

    def forward(self, us: Tensor, ct: Tensor, patients: Tensor | None, uniform: bool = False) -> Tensor:
        """(B, F) and (B, F) become (B, F).

        Args:
            us: US features.
            ct: CT features.
            patients: (B,) patient keys; bank entries of the same patient are not attended to. None masks
                nothing.
            uniform: attend to everything alike.

        Raises:
            RuntimeError: in evaluation without a bank.
        """
        v: Tensor = self.value(torch.cat([us, ct], dim=1))  # (18): (B, F)
        attention = _softmax(self.scores(us, ct, patients), uniform)  # (19)
        if self.training or self.over == "batch":
            return v + attention @ v  # (20)
        size = len(self.bank_values)
        return v + attention[:, :size] @ self.bank_values + attention[:, size:].sum(dim=1, keepdim=True) * v


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

    def forward(self, us: Tensor, ct: Tensor, patients: Tensor | None, uniform: bool = False) -> Tensor:
        """(B, F) and (B, F) become (B, F); with `uniform` every level attends to everything alike."""
        parts = [level(us, ct, patients, uniform) for level in self.levels.values()]
        return self.reduce(combine(parts, self.combiner))  # type: ignore[no-any-return]

    def entropy(self, us: Tensor, ct: Tensor, patients: Tensor | None) -> dict[str, Tensor]:
        """Returns per level the entropy of a nodule's attention, (B,), mean over its rows.

        In shares of that of uniform attention: 1 attends to everything alike, 0 to one thing.
        """
        levels = {name: level.scores(us, ct, patients) for name, level in self.levels.items()}  # type: ignore[operator]
        return {name: _entropy(scores) for name, scores in levels.items()}


def _softmax(scores: Tensor, uniform: bool) -> Tensor:
    """Returns the softmax over the last dimension, or equal weights of all that is not masked."""
    return torch.softmax(torch.where(scores.isneginf(), scores, 0.0) if uniform else scores, dim=-1)


def _entropy(scores: Tensor) -> Tensor:
    """Returns the entropy of the softmax over the last dimension, a share of log n: (B, ..., n) to (B,)."""
    attention = torch.softmax(scores.double(), dim=-1)
    nats = -(attention * attention.clamp_min(1e-300).log()).sum(dim=-1)
    allowed = (~scores.isneginf()).sum(dim=-1)
    share = nats / allowed.clamp_min(2).double().log()
    return share.reshape(len(share), -1).mean(dim=1)


def combine(parts: Sequence[Tensor], how: Literal["product", "sum", "concat"]) -> Tensor:
    """Equation 21 (product), or one of its alternatives."""
    if how == "concat":
        return torch.cat(list(parts), dim=1)
    stacked = torch.stack(list(parts))
    return stacked.prod(dim=0) if how == "product" else stacked.sum(dim=0)
