"""Infidelity and sensitivity of attributions where both are known by hand; captum stays in its room."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import dgfnet
from dgfnet.attribution.fidelity import NOISES, RADIUS, describe, infidelities, sensitivities
from dgfnet.attribution.gradients import Effort, Paths, integrate

SIDE = 16
PACKAGE = Path(dgfnet.__file__).parent


def paths(count=3):
    generator = torch.Generator().manual_seed(0)
    images, baselines = (
        {name: torch.rand(count, SIDE, SIDE, generator=generator) * 255 for name in ("us", "ct")}
        for _ in range(2)
    )
    return Paths(images, baselines, torch.arange(count))


WEIGHTS = {name: torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(1)) for name in ("us", "ct")}


def linear(images, _):
    return sum((images[name].double() * WEIGHTS[name].double()).sum(dim=(1, 2)) for name in WEIGHTS) / 255


def by_hand(lines):
    """Weight times difference from the baseline."""
    return {name: WEIGHTS[name] * values / 255 for name, values in lines.steps().items()}


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("count", [1, 3])  # captum treats the baselines of a batch of one differently
@pytest.mark.parametrize("rows", [2, 64])
def test_attributions_of_a_linear_network_predict_every_replacement(count, rows):
    lines = paths(count)
    values = infidelities(linear, by_hand(lines), lines, rows, rng())
    assert values.shape == (count,)
    assert values == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("count", [1, 2])
def test_the_infidelity_of_a_known_error_is_that_error_squared(count):
    """F is the number of blocks that are not replaced; the attribution of each is c instead of 1.

    Of 64 blocks of either modality K are replaced: the error is (1 - c) K, whose mean square is
    (1 - c)^2 (64^2 + 32), for K is binomial with mean 64 and variance 128 / 4.
    """
    ones, zeros = ({name: torch.full((count, 8, 8), v) for name in ("us", "ct")} for v in (1.0, 0.0))
    lines = Paths(ones, zeros, torch.arange(count))
    maps = {name: torch.full((count, 8, 8), 0.75) for name in ones}

    def score(images, _):
        return sum(values.sum(dim=(1, 2)) for values in images.values())

    values = infidelities(score, maps, lines, 64, rng())
    # 20 replacements: the standard deviation of (K / 64)^2 is 0.18, that of its mean 0.04
    assert values == pytest.approx(0.25**2 * (64**2 + 32), rel=0.16)
    assert len(set(values)) == count  # every nodule has replacements of its own


def test_replacements_differ_within_a_batch_of_one():
    """With one replacement used 20 times the mean square of K - 64 would be a square of an integer."""
    ones, zeros = ({name: torch.full((1, 8, 8), v) for name in ("us", "ct")} for v in (1.0, 0.0))
    maps = {name: torch.zeros(1, 8, 8) for name in ones}

    def score(images, _):
        return sum(values.sum(dim=(1, 2)) for values in images.values()) - 64

    (value,) = infidelities(score, maps, Paths(ones, zeros, torch.arange(1)), 64, rng())
    assert value**0.5 != pytest.approx(round(value**0.5), abs=1e-6)


def explain_by_hand(_, lines):
    return by_hand(lines)


def test_an_attribution_that_ignores_the_picture_has_no_sensitivity():
    values = sensitivities(
        linear,
        lambda _, lines: {n: WEIGHTS[n].expand(len(lines), -1, -1) for n in WEIGHTS},
        paths(),
        64,
        rng(),
    )
    assert values.tolist() == [0, 0, 0]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("rows", [2, 64])
def test_the_sensitivity_of_the_difference_from_black_is_the_relative_size_of_the_noise(count, rows):
    """The attribution is the picture itself, 100 everywhere: uniform noise of radius r is r / sqrt(3) / 100.

    The mean square of 512 pixels is within 9 % of r^2 / 3 by three standard deviations.
    """
    full, black = ({n: torch.full((count, SIDE, SIDE), v) for n in ("us", "ct")} for v in (100.0, 0.0))
    lines = Paths(full, black, torch.arange(count))
    values = sensitivities(linear, lambda _, lines: lines.steps(), lines, rows, rng())
    expected = RADIUS / 3**0.5 / 100
    assert values.shape == (count,)
    assert (values > 0.97 * expected).all()
    assert (values < 1.08 * expected).all()


def test_integrated_gradients_of_a_linear_network_are_as_sensitive_as_by_hand():
    def explain(score, lines):
        return dict(integrate(score, lines, Effort(1e-3, 4, 2, 64)).maps)

    exact = sensitivities(linear, explain_by_hand, paths(), 64, rng())
    assert sensitivities(linear, explain, paths(), 64, rng()) == pytest.approx(exact, rel=1e-3)


def test_patients_and_baselines_stay_with_their_nodules():
    """An explanation made of nothing but these two: any mix-up of rows would change it."""

    def explain(_, lines):
        marks = lines.fixed[:, None, None].float() + 1
        return {name: values * marks for name, values in lines.baselines.items()}

    assert sensitivities(linear, explain, paths(4), 8, rng()).tolist() == [0, 0, 0, 0]


def test_the_description_compares_with_an_attribution_that_says_nothing():
    lines = paths()
    both = describe(linear, explain_by_hand, by_hand(lines), lines, 64, rng())
    assert both["infidelity"]["attribution"] == pytest.approx(0, abs=1e-8)
    assert both["infidelity"]["zero"] > 1
    assert 0 < both["sensitivity_max"]["median"] <= both["sensitivity_max"]["largest"]
    assert (both["sensitivity_max"]["noises"], both["sensitivity_max"]["radius"]) == (NOISES, RADIUS)
    assert both == describe(linear, explain_by_hand, by_hand(lines), lines, 64, rng())
    torch.manual_seed(1)  # and nothing comes from the generator that all share
    assert both == describe(linear, explain_by_hand, by_hand(lines), lines, 64, rng())


def test_captum_is_imported_by_this_room_only():
    rooms = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if any(name.split(".")[0] == "captum" for name in names):
                rooms.add(path.relative_to(PACKAGE).parts[0])
    assert rooms == {"attribution"}


def test_the_command_line_starts_without_captum():
    code = "import sys, dgfnet.cli; sys.exit('captum' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
