"""Shapley values of a few players: games solved by hand, the axioms that define them, all orders counted."""

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgfnet.bundle.shapley import absences, shapley

NUMBERS = st.floats(-100, 100, allow_subnormal=False)


def game_of(players):
    """The values of coalitions as a graph gives them, that of nobody last."""
    return st.lists(NUMBERS, min_size=2**players, max_size=2**players)


def shares_of(values):
    """Shapley values of one game, that of nobody last."""
    *named, base = values
    return [float(share[0]) for share in shapley([np.array([float(value)]) for value in named], base)]


def named(values, players):
    """The same game as a function of who is present."""
    present = [frozenset(range(players)) - set(gone) for gone in absences(players)]
    return dict(zip([*present, frozenset()], values, strict=True))


def unnamed(game, players):
    """The values of a game of coalitions by name, in the order of a graph, that of nobody last."""
    present = [frozenset(range(players)) - set(gone) for gone in absences(players)]
    return [game[coalition] for coalition in [*present, frozenset()]]


def by_all_orders(game, players):
    """What each adds when they join, averaged over all orders: the definition, written out."""
    total = np.zeros(players)
    orders = list(permutations(range(players)))
    for order in orders:
        for place, player in enumerate(order):
            before = frozenset(order[:place])
            total[player] += game[before | {player}] - game[before]
    return total / len(orders)


def test_a_graph_says_everybody_first_and_nobody_never():
    assert absences(1) == [()]
    assert absences(2) == [(), (0,), (1,)]
    assert absences(3) == [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]


@pytest.mark.parametrize(
    ("values", "shares"),
    [
        ((2.5, 0.5), [2]),  # one player
        ((9, 6, 4, 1), [3, 5]),  # 3 and 5 on a base of 1
        ((4, 1, 4, 1), [3, 0]),  # only the first matters
        ((2, 0, 0, 0), [1, 1]),  # nothing but the pair: shared
        # 1, 2 and 4 alone, 4, 5 and 6 in pairs: the first adds 1, 4 - 2, 5 - 4, 7 - 6, and so on
        ((7, 6, 5, 4, 4, 2, 1, 0), [7 / 6, 13 / 6, 22 / 6]),
        ((6, 5, 4, 3, 3, 2, 1, 0), [1, 2, 3]),  # 1, 2 and 3, each by itself
        ((1, 0, 0, 0, 0, 0, 0, 0), [1 / 3, 1 / 3, 1 / 3]),  # nothing but all three
        ((1, 0, 0, 1, 0, 0, 0, 0), [1 / 2, 1 / 2, 0]),  # nothing but the first two: the third is idle
        ((1, 0, 1, 1, 0, 0, 0, 0), [4 / 6, 1 / 6, 1 / 6]),  # a left glove, and two right ones
    ],
)
def test_games_solved_by_hand(values, shares):
    assert shares_of(values) == pytest.approx(shares, abs=1e-12)


@given(values=game_of(3))
def test_three_players_get_the_mean_over_all_orders(values):
    """Of every player, also of the last, who gets what is left."""
    np.testing.assert_allclose(shares_of(values), by_all_orders(named(values, 3), 3), atol=1e-10)


@given(values=game_of(4))
def test_four_players_do_too(values):
    np.testing.assert_allclose(shares_of(values), by_all_orders(named(values, 4), 4), atol=1e-10)


@given(values=game_of(3))
def test_efficiency_everything_is_shared(values):
    assert sum(shares_of(values)) == pytest.approx(values[0] - values[-1], abs=1e-10)


@given(values=game_of(3), pair=st.sampled_from(list(combinations(range(3), 2))))
def test_symmetry_players_who_add_the_same_get_the_same(values, pair):
    first, second = pair
    game = named(values, 3)
    for others in [coalition for coalition in game if not coalition & set(pair)]:
        game[others | {second}] = game[others | {first}]
    shares = shares_of(unnamed(game, 3))
    assert shares[first] == pytest.approx(shares[second], abs=1e-10)


@given(values=game_of(3), order=st.permutations(range(3)))
def test_symmetry_it_does_not_matter_who_is_called_first(values, order):
    game = named(values, 3)
    renamed = {frozenset(order[player] for player in who): value for who, value in game.items()}
    shares, others = shares_of(values), shares_of(unnamed(renamed, 3))
    assert [others[order[player]] for player in range(3)] == pytest.approx(shares, abs=1e-10)


@given(values=game_of(3), idle=st.integers(0, 2), alone=NUMBERS)
def test_dummy_who_only_adds_their_own_gets_that(values, idle, alone):
    game = named(values, 3)
    for others in [coalition for coalition in game if idle not in coalition]:
        game[others | {idle}] = game[others] + alone
    assert shares_of(unnamed(game, 3))[idle] == pytest.approx(alone, abs=1e-10)


@given(first=game_of(3), second=game_of(3))
def test_additivity_shares_of_two_games_add_up(first, second):
    both = shares_of([a + b for a, b in zip(first, second, strict=True)])
    apart = np.add(shares_of(first), shares_of(second))
    np.testing.assert_allclose(both, apart, atol=1e-10)


@given(values=game_of(2))
def test_two_players_as_the_formula_of_two_says_bit_for_bit(values):
    """Half of what each adds to nobody, half of what to the other: answers stay what they were."""
    whole, lacks_first, lacks_second, base = values
    first = ((lacks_second - base) + (whole - lacks_first)) / 2
    assert shares_of(values) == [first, whole - base - first]
    assert shares_of([whole, base]) == [whole - base]


def test_many_games_at_once():
    values = np.random.default_rng(0).normal(size=(7, 20))
    together = shapley(list(values), 0.25)
    for place in range(20):
        assert [share[place] for share in together] == shares_of([*values[:, place], 0.25])
