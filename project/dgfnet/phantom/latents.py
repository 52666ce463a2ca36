"""The truth of the phantom: latent factors, labels drawn from them, and the Bayes-optimal AUC.

Each patient has four US factors and three CT factors, independent standard normals clipped at +-2.5. Their
weighted means `us` and `ct` have unit variance, and the label of a site is drawn with the probability
sigmoid(intercept + signal * (w_us * us + w_ct * ct)). The pictures show every factor, so that the
Bayes-optimal unimodal scores are `us` and `ct`, and that of both is the sum above. The weight of a modality
that is not informative is 0: its pictures vary as ever, and say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

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
PREVALENCE: dict[Site, float] = {"central": 0.44, "lateral": 0.34}
POPULATION = 100_000  # simulated patients behind the intercepts and the Bayes-optimal AUC
POPULATION_SEED = 20_230_101


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


def probability(latents: Latents, site: Site, signal: float, informative: Informative) -> float:
    """Returns the true probability of metastasis at a site."""
    us, ct = _weights(site, informative)
    intercept = _intercepts(signal, informative)[site]
    return float(_sigmoid(np.asarray(intercept + signal * (us * latents.us + ct * latents.ct))))


def bayes_auc(signal: float, informative: Informative) -> dict[Site, dict[str, float]]:
    """Returns the Bayes-optimal AUC per site for US, for CT and for both, from a simulated population."""
    us, ct = _population()
    result: dict[Site, dict[str, float]] = {}
    for site in SITES:
        w_us, w_ct = _weights(site, informative)
        both = signal * (w_us * us + w_ct * ct)
        p = _sigmoid(_intercepts(signal, informative)[site] + both)
        scores = {"us": us, "ct": ct, "both": both}
        result[site] = {name: round(_expected_auc(score, p), 4) for name, score in scores.items()}
    return result


def _weights(site: Site, informative: Informative) -> tuple[float, float]:
    us, ct = WEIGHTS[site]
    return us if "us" in informative else 0.0, ct if "ct" in informative else 0.0


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


_cache: dict[tuple[float, Informative], dict[Site, float]] = {}


def _intercepts(signal: float, informative: Informative) -> dict[Site, float]:
    """Returns the intercepts that give each site its prevalence, by bisection."""
    if (signal, informative) not in _cache:
        us, ct = _population()
        intercepts: dict[Site, float] = {}
        for site in SITES:
            w_us, w_ct = _weights(site, informative)
            x = signal * (w_us * us + w_ct * ct)
            low, high = -10.0, 10.0
            for _ in range(40):
                middle = (low + high) / 2
                low, high = (
                    (middle, high) if _sigmoid(middle + x).mean() < PREVALENCE[site] else (low, middle)
                )
            intercepts[site] = round((low + high) / 2, 6)
        _cache[signal, informative] = intercepts
    return _cache[signal, informative]


def _expected_auc(score: Floats, p: Floats) -> float:
    """Returns the AUC of a score when labels are drawn with probability p; ties count half."""
    order = np.argsort(score, kind="stable")
    _, group = np.unique(score[order], return_inverse=True)
    positive = np.bincount(group, weights=p[order])
    negative = np.bincount(group, weights=1 - p[order])
    below = np.concatenate([[0.0], np.cumsum(negative)[:-1]])
    return float(np.sum(positive * (below + negative / 2)) / (positive.sum() * negative.sum()))
