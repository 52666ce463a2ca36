"""Exact Shapley values (Shapley 1953) in games of a few players, by their definition.

A game gives each coalition of players a value. The Shapley value of a player is what they add to the value of
a coalition, averaged over all orders in which everybody joins. Here players are what a network reads, the
pictures of a modality or the record, and values are log odds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def absences(players: int) -> list[tuple[int, ...]]:
    """Returns who is absent from each coalition of somebody: nobody first, then one, then ever more."""
    return [gone for size in range(players) for gone in combinations(range(players), size)]


def shapley(values: Sequence[Array], base: float) -> list[Array]:
    """Returns each player's Shapley value, (N,); they add up to the value of everybody less that of nobody.

    Args:
        values: of N games, (N,) for each coalition in the order of `absences`.
        base: the value of nobody, in all of them.
    """
    players = len(values).bit_length()  # there are 2^players - 1 coalitions of somebody
    everybody = frozenset(range(players))
    named = zip(absences(players), values, strict=True)
    game: dict[frozenset[int], Array | float] = {everybody.difference(gone): value for gone, value in named}
    game[frozenset()] = base
    shares: list[Array] = []
    for player in range(players - 1):
        before = [others for others in game if player not in others]
        # of all orders, the share in which these come first and the player next
        weights = [1 / (players * comb(players - 1, len(others))) for others in before]
        added = [game[others | {player}] - game[others] for others in before]
        shares.append(np.asarray(sum(weight * more for weight, more in zip(weights, added, strict=True))))
    # what is left is the last one's, so that rounding does not part the sum from the answer
    rest = np.asarray(values[0] - base)
    for share in shares:
        rest = rest - share
    return [*shares, rest]
