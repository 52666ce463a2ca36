"""The truth of the phantom: latent factors, labels drawn from them, and the Bayes-optimal AUC.

Each patient has four US factors and three CT factors, independent standard normals clipped at +-2.5. Their
weighted means `us` and `ct` have unit variance, and the label of a site is drawn with the probability

    sigmoid(intercept + signal * ((1 - k) * (w_us * us + w_ct * ct) + k * w * us * ct))

where k is the interaction: the weight of CT is (1 - k) * w_ct + k * w * us, it depends on what US shows. The
pictures show every factor, so that without interaction the Bayes-optimal unimodal scores are `us` and `ct`,
and that of both is the log odds. With it, the best score of one modality is the expected probability over
the other. The weight of a modality that is not informative is 0: its pictures vary as ever, and say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from dgfnet.vocabulary import SITES, Modality, Site

Floats = NDArray[np.float64]

US_FACTORS = {"hypoechogenicity": 0.65, "irregularity": 0.45, "tallness": 0.35, "microcalcification": 0.50}
CT_FACTORS = {"enhancement": 0.70, "extension": 0.45, "nodes": 0.55}
CLIP = 2.5
# log odds per standard deviation (us, ct): US weighs more at the central site, both alike at the lateral one
WEIGHTS: dict[Site, tuple[float, float]] = {"central": (2.8, 2.1), "lateral": (2.4, 2.4)}
Informative = tuple[Modality, ...]  # modalities whose factors decide the label
INTERACTION_WEIGHT = 3.3  # w at both sites: an AUC of 0.866 from both at k = 1, where either alone is at 0.5
PREVALENCE: dict[Site, float] = {"central": 0.44, "lateral": 0.34}  # without interaction
POPULATION = 100_000  # simulated patients behind the intercepts and the Bayes-optimal AUC
POPULATION_SEED = 20_230_101


@dataclass(frozen=True)
class Rule:
    """The dependence of labels on factors.

    Attributes:
        signal: scales the log odds of the factors.
        informative: modalities whose factors count.
        interaction: k above, from 0 (a sum) to 1 (a product); above 0 both modalities are informative.
    """

    signal: float
    informative: Informative
    interaction: float = 0.0

    def prevalence(self, site: Site) -> float:
        """Returns the share with metastasis, which goes to 1/2 with the interaction.

        With another share even the product would tell by the size of one factor alone (AUC 0.58 where it is
        0.34): the log odds of its intercept are near 0 for large factors only.
        """
        return PREVALENCE[site] + self.interaction * (0.5 - PREVALENCE[site])

    def slope(self, site: Site, us: Floats, ct: Floats) -> Floats:
        """Returns the log odds without their intercept."""
        w_us, w_ct = WEIGHTS[site]
        w_us, w_ct = w_us * ("us" in self.informative), w_ct * ("ct" in self.informative)
        if self.interaction == 0:  # the same operations as ever: the last digit counts
            return self.signal * (w_us * us + w_ct * ct)
        k = self.interaction
        return self.signal * ((1 - k) * (w_us * us + w_ct * ct) + k * INTERACTION_WEIGHT * us * ct)


@dataclass(frozen=True)
class Latents:
    """Factors of one patient, in standard deviations, and the scores they add up to."""

    factors: dict[str, float]

    @property
    def us(self) -> float:
        """Unit-variance US score."""
        return _score(self.factors, US_FACTORS)

    @property
    def ct(self) -> float:
        """Unit-variance CT score."""
        return _score(self.factors, CT_FACTORS)


def draw(rng: np.random.Generator) -> Latents:
    """Draws the latent factors of a patient."""
    names = [*US_FACTORS, *CT_FACTORS]
    values = np.clip(rng.standard_normal(len(names)), -CLIP, CLIP)
    return Latents({name: round(float(value), 6) for name, value in zip(names, values, strict=True)})


def probability(latents: Latents, site: Site, rule: Rule) -> float:
    """Returns the true probability of metastasis at a site."""
    slope = rule.slope(site, np.asarray(latents.us), np.asarray(latents.ct))
    return float(_sigmoid(_intercepts(rule)[site] + slope))


def bayes_auc(rule: Rule) -> dict[Site, dict[str, float]]:
    """Returns the Bayes-optimal AUC per site for US, for CT and for both, from a simulated population."""
    us, ct = _population()
    result: dict[Site, dict[str, float]] = {}
    for site in SITES:
        both = rule.slope(site, us, ct)
        p = _sigmoid(_intercepts(rule)[site] + both)
        scores = {"us": us, "ct": ct, "both": both}
        if rule.interaction > 0:
            scores |= {"us": _expected(rule, site, us, None), "ct": _expected(rule, site, None, ct)}
        result[site] = {name: round(_expected_auc(score, p), 4) for name, score in scores.items()}
    return result


def _expected(rule: Rule, site: Site, us: Floats | None, ct: Floats | None) -> Floats:
    """Returns the probability expected from one modality's scores, over quantiles of the other's.

    The scores' distribution is symmetric, and so are the quantiles.
    """
    one, other = (us, _population()[1]) if us is not None else (ct, _population()[0])
    assert one is not None
    points = np.quantile(other, (np.arange(1000) + 0.5) / 1000)
    points = (points - points[::-1]) / 2
    grid = np.linspace(one.min(), one.max(), 401)
    pair = (grid[:, None], points[None, :])
    slope = rule.slope(site, *(pair if us is not None else pair[::-1]))
    expected = _sigmoid(_intercepts(rule)[site] + slope).mean(axis=1)
    return np.asarray(np.interp(one, grid, expected), dtype=np.float64)


def _score(factors: dict[str, float], weights: dict[str, float]) -> float:
    norm = float(np.linalg.norm(list(weights.values())))
    return sum(weight * factors[name] for name, weight in weights.items()) / norm


def _sigmoid(x: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-x))


def _population() -> tuple[Floats, Floats]:
    rng = np.random.default_rng(POPULATION_SEED)
    draws = np.clip(rng.standard_normal((POPULATION, len(US_FACTORS) + len(CT_FACTORS))), -CLIP, CLIP)
    us, ct = np.array(list(US_FACTORS.values())), np.array(list(CT_FACTORS.values()))
    split = len(US_FACTORS)
    return draws[:, :split] @ us / np.linalg.norm(us), draws[:, split:] @ ct / np.linalg.norm(ct)


@cache
def _intercepts(rule: Rule) -> dict[Site, float]:
    """Returns the intercepts that give each site its prevalence, by bisection."""
    us, ct = _population()
    intercepts: dict[Site, float] = {}
    for site in SITES:
        x, prevalence = rule.slope(site, us, ct), rule.prevalence(site)
        low, high = -10.0, 10.0
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if _sigmoid(middle + x).mean() < prevalence else (low, middle)
        intercepts[site] = round((low + high) / 2, 6)
    return intercepts


def _expected_auc(score: Floats, p: Floats) -> float:
    """Returns the AUC of a score when labels are drawn with probability p; ties count half."""
    order = np.argsort(score, kind="stable")
    _, group = np.unique(score[order], return_inverse=True)
    positive = np.bincount(group, weights=p[order])
    negative = np.bincount(group, weights=1 - p[order])
    below = np.concatenate([[0.0], np.cumsum(negative)[:-1]])
    return float(np.sum(positive * (below + negative / 2)) / (positive.sum() * negative.sum()))
