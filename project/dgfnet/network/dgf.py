"""Diverse granularity fusion (paper section 3, equations 1-21), of the paper's two streams or of more.

Notation: F is the number of values per stream (512 at width 1), D = F / 2, and M the number of streams f_1 to
f_M, in their order; the paper has M = 2, US and CT. V projects each stream to D, so that every level gives
M D values: F of two streams, 3 D of three. Where that is not F, a linear layer behind the combined levels
brings it back to F. Rows of Q, K and V are nodules, as in the paper; W acts from the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor, nn

from dgfnet.sections.networks import Dgf
from dgfnet.vocabulary import MODALITIES, Branch


class DimensionLevel(nn.Module):
    """Attention between the feature dimensions of every two streams of one nodule, equations 1-8.

    For streams i < j, A_ij is the softmax along rows of q_i^T k_j / sqrt(d_k), (D, D). Then

        f_i^d = v_i + sum over j > i of A_ij v_i + sum over j < i of A_ji^T v_i

    which for two streams is equations 6 and 7: each pair gives to its first stream what A does, and to its
    second what the transposed one does. Every stream has a V of its own, every one but the last a Q, every
    one but the first a K.

    Q and K are outer-product factors of dimension one, so the scale sqrt(d_k) is a choice: the number of
    dimensions D when `scale` is set, 1 otherwise.
    """

    def __init__(self, features: int, scale: bool, names: Sequence[str] = MODALITIES) -> None:
        super().__init__()
        # two streams need one Q and one K, whose names checkpoints have
        self.queries = ["query", *(f"query_{name}" for name in names[1:-1])]
        self.keys = ["key", *(f"key_{name}" for name in names[2:])]
        self.values = [f"value_{name}" for name in names]
        for name in (*self.queries, *self.keys, *self.values):
            self.add_module(name, nn.Linear(features, features // 2, bias=False))
        self.pairs = list(combinations(range(len(names)), 2))
        self.divisor = (features // 2) ** 0.5 if scale else 1.0

    def scores(self, streams: Sequence[Tensor], patients: Tensor | None) -> Tensor:
        """Attention of each pair before the softmax, (B, M (M - 1) / 2, D, D)."""
        return torch.stack([self._of_pair(streams, first, second) for first, second in self.pairs], dim=1)

    def _of_pair(self, streams: Sequence[Tensor], first: int, second: int) -> Tensor:
        q = self.get_submodule(self.queries[first])(streams[first])  # (1): (B, D)
        k = self.get_submodule(self.keys[second - 1])(streams[second])  # (3): (B, D)
        return q[:, :, None] * k[:, None, :] / self.divisor  # type: ignore[no-any-return]

    def forward(
        self, streams: Sequence[Tensor], patients: Tensor | None = None, uniform: bool = False
    ) -> Tensor:
        """M times (B, F) become (B, M D)."""
        made = zip(self.values, streams, strict=True)
        v = [self.get_submodule(name)(values)[:, :, None] for name, values in made]  # (2), (4): (B, D, 1)
        fused = list(v)
        for first, second in self.pairs:
            attention = _softmax(self._of_pair(streams, first, second), uniform)  # (5): (B, D, D)
            fused[first] = fused[first] + attention @ v[first]  # (6)
            fused[second] = fused[second] + attention.transpose(1, 2) @ v[second]  # (7)
        return torch.cat(fused, dim=1)[:, :, 0]  # (8): (B, M D)


class ModalityLevel(nn.Module):
    """Attention between the M streams of one nodule as tokens, equations 9-14; Q, K and V are shared."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(features, features // 2, bias=False) for _ in range(3))
        self.divisor = (features // 2) ** 0.5

    def scores(self, streams: Sequence[Tensor], patients: Tensor | None) -> Tensor:
        """Attention before the softmax, (B, M, M)."""
        tokens = torch.stack(list(streams), dim=1)  # (9): (B, M, F)
        q, k = self.query(tokens), self.key(tokens)  # (10), (11): (B, M, D)
        return q @ k.transpose(1, 2) / self.divisor  # type: ignore[no-any-return]

    def forward(
        self, streams: Sequence[Tensor], patients: Tensor | None = None, uniform: bool = False
    ) -> Tensor:
        """M times (B, F) become (B, M D)."""
        v = self.value(torch.stack(list(streams), dim=1))  # (12): (B, M, D)
        attention = _softmax(self.scores(streams, patients), uniform)  # (13): (B, M, M)
        fused: Tensor = (v + attention @ v).flatten(1)  # (14): (B, M D)
        return fused


class NoduleLevel(nn.Module):
    """Attention between nodules, equations 15-20, on the M streams side by side.

    In training it runs over the batch, as in the paper. Over a batch, though, the prediction of one patient
    depends on who else is scored. So evaluation attends over a frozen reference bank, the keys and values of
    the training nodules, without those of the nodule's own patient. With `nodule_level: batch` it always runs
    over the batch.

    Attributes:
        bank_keys, bank_values: (N, M D) of the training nodules; N is 0 until `set_bank`.
        bank_patients: (N,) int64 patient keys.
        with_self: over a bank, a nodule attends to itself too, as it does in a batch.
    """

    bank_keys: Tensor
    bank_values: Tensor
    bank_patients: Tensor

    def __init__(self, features: int, over: Literal["bank", "batch"], count: int = 2) -> None:
        super().__init__()
        inside, outside = count * features, level_width(features, count)
        self.query, self.key, self.value = (nn.Linear(inside, outside, bias=False) for _ in range(3))
        self.divisor = outside**0.5
        self.over = over
        self.with_self = False
        self.register_buffer("bank_keys", torch.empty(0, outside))
        self.register_buffer("bank_values", torch.empty(0, outside))
        self.register_buffer("bank_patients", torch.empty(0, dtype=torch.int64))

    def entries(self, streams: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Keys and values of nodules, (B, M D) each: what a bank is made of."""
        joined = torch.cat(list(streams), dim=1)
        return self.key(joined), self.value(joined)

    def set_bank(self, keys: Tensor, values: Tensor, patients: Tensor) -> None:
        """Freezes the reference bank.

        Raises:
            RuntimeError: with fewer than two patients; nothing would be left for a nodule of the only one.
        """
        if len(torch.unique(patients)) < 2:
            raise RuntimeError("a reference bank needs nodules of at least two patients")
        self.bank_keys, self.bank_values, self.bank_patients = keys.detach(), values.detach(), patients

    def scores(self, streams: Sequence[Tensor], patients: Tensor | None) -> Tensor:
        """Attention before the softmax, over the batch (B, B) or the bank (B, N)."""
        joined = torch.cat(list(streams), dim=1)  # (15): (B, M F)
        q: Tensor = self.query(joined)  # (16): (B, M D)
        if self.training or self.over == "batch":
            k: Tensor = self.key(joined)  # (17): (B, M D)
            return torch.div(q @ k.T, self.divisor)
        if not len(self.bank_keys):
            raise RuntimeError("the nodule level has no reference bank; call set_bank before evaluation")
        scores: Tensor = q @ self.bank_keys.T / self.divisor  # (B, N)
        if patients is not None:
            scores = scores.masked_fill(patients[:, None] == self.bank_patients[None, :], float("-inf"))
        if self.with_self:
            own = torch.div((q * self.key(joined)).sum(dim=1, keepdim=True), self.divisor)
            scores = torch.cat([scores, own], dim=1)  # (B, N + 1)
        return scores

    def forward(self, streams: Sequence[Tensor], patients: Tensor | None, uniform: bool = False) -> Tensor:
        """M times (B, F) become (B, M D).

        Args:
            streams: values of each stream.
            patients: (B,) patient keys; bank entries of the same patient are not attended to. None masks
                nothing.
            uniform: attend to everything alike.

        Raises:
            RuntimeError: in evaluation without a bank.
        """
        v: Tensor = self.value(torch.cat(list(streams), dim=1))  # (18): (B, M D)
        attention = _softmax(self.scores(streams, patients), uniform)  # (19)
        if self.training or self.over == "batch":
            return v + attention @ v  # (20)
        size = len(self.bank_values)
        return v + attention[:, :size] @ self.bank_values + attention[:, size:].sum(dim=1, keepdim=True) * v


class DiverseGranularityFusion(nn.Module):
    """The three levels and their combination, equation 21; any subset of the levels can be left out.

    A product or sum of levels has M D values, and levels side by side as many times that. A linear layer
    brings them to F, but for a product or sum of two streams, which has F already.
    """

    def __init__(self, features: int, settings: Dgf, names: Sequence[str] = MODALITIES) -> None:
        super().__init__()
        levels: dict[Branch, nn.Module] = {
            "dimension": DimensionLevel(features, settings.scale_dimension_attention, names),
            "modality": ModalityLevel(features),
            "nodule": NoduleLevel(features, settings.nodule_level, len(names)),
        }
        self.levels = nn.ModuleDict({name: levels[name] for name in settings.branches})
        self.combiner = settings.combiner
        width = level_width(features, len(names))
        if settings.combiner == "concat":
            width *= len(self.levels)
        needed = settings.combiner == "concat" or width != features
        self.reduce = nn.Linear(width, features) if needed else nn.Identity()

    def forward(self, streams: Sequence[Tensor], patients: Tensor | None, uniform: bool = False) -> Tensor:
        """M times (B, F) become (B, F); with `uniform` every level attends to everything alike."""
        parts = [level(streams, patients, uniform) for level in self.levels.values()]
        return self.reduce(combine(parts, self.combiner))  # type: ignore[no-any-return]

    def entropy(self, streams: Sequence[Tensor], patients: Tensor | None) -> dict[str, Tensor]:
        """Returns per level the entropy of a nodule's attention, (B,), mean over its rows.

        In shares of that of uniform attention: 1 attends to everything alike, 0 to one thing.
        """
        levels = {name: level.scores(streams, patients) for name, level in self.levels.items()}  # type: ignore[operator]
        return {name: _entropy(scores) for name, scores in levels.items()}


def level_width(features: int, streams: int) -> int:
    """Returns the number of values that a level gives, M D: F of two streams."""
    return features * streams // 2


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
