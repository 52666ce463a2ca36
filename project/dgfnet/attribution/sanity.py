"""Checks that an attribution deserves belief; a failed one stands on the figures and in checks.json.

Weights are shuffled from the classifier down (Adebayo 2018, NeurIPS): an attribution that stays alike does
not depend on the network. The network learns labels without meaning (ibid.): an attribution that stays alike
shows the pictures, not what was learnt of the disease. Pixels are deleted and inserted in the order of their
attribution (Petsiuk 2018, BMVC): the prediction must follow faster than in random order. And a little noise
must not turn the map over. Infidelity and sensitivity stand beside them and are not judged (fidelity.py).
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor, nn

from dgfnet.attribution import fidelity
from dgfnet.attribution.fidelity import Explain
from dgfnet.attribution.gradients import Images, Paths, Score, log_odds
from dgfnet.attribution.networks import scorer
from dgfnet.network.tlr import Model

# Rank correlation, with sign, above which two maps are the same map. Edges and grey values survive any
# randomisation, for an attribution is a gradient times the picture's distance from its baseline, which is the
# same for both networks. They survive in the size of the numbers; the signs are the network's own. So maps
# are compared with their signs: 0 is expected of networks that share nothing, 1 of the same network.
ALIKE = 0.5
STABLE = 0.5  # correlation with the map of the noisy picture below which noise has turned the map over
NOISE = 2.55  # standard deviation, grey values: 1 % of the range
STEPS = 10  # of a curve
ORDERS = 3  # random orders a curve is compared with
PARTS = {  # from the output to the input; `us_tlr` calls its classifier head and its encoder blocks
    "classifier": ("classifier", "head"),
    "fusion": ("fusion",),
    "streams": ("streams", "blocks"),
}


@dataclass(frozen=True)
class Checks:
    """The results of all checks of one network.

    Attributes:
        similarity: rank correlation with the map of the trained network, after each part was shuffled too.
        curves: per kind (deletion, insertion) and order (attribution, random) the mean change of the log odds
            towards the decision, (STEPS + 1,).
        noise: correlation of the maps of clean and noisy pictures.
        random_labels: rank correlation with the map of the network trained on labels without meaning
            (`similarity`), and that of the sizes of the numbers (`absolute`), which is not judged: the
            pictures explain it; None when there is no such network.
        fidelity: infidelity and sensitivity, see `fidelity.describe`.
    """

    similarity: dict[str, float]
    curves: dict[str, dict[str, NDArray[np.float64]]]
    noise: float
    random_labels: dict[str, float] | None
    fidelity: dict[str, Any]

    def failed(self) -> list[str]:
        """Returns a sentence for each check that failed."""
        failures = []
        last = list(self.similarity)[-1]
        if not self.similarity[last] < ALIKE:
            failures.append(
                f"maps stay alike (rank correlation {self.similarity[last]:.2f}) when weights are shuffled"
            )
        if self.random_labels is not None and not self.random_labels["similarity"] < ALIKE:
            failures.append(
                f"maps stay alike (rank correlation {self.random_labels['similarity']:.2f}) when the "
                "network learns labels without meaning"
            )
        deletion, insertion = self.curves["deletion"], self.curves["insertion"]
        if not deletion["attribution"].mean() < deletion["random"].mean():
            failures.append("deleting the highest pixels lowers the prediction no faster than deleting any")
        if not insertion["attribution"].mean() > insertion["random"].mean():
            failures.append("inserting the highest pixels raises the prediction no faster than inserting any")
        if not self.noise > STABLE:
            failures.append(f"1 % noise turns maps over (correlation {self.noise:.2f})")
        return failures

    def describe(self) -> dict[str, Any]:
        """Returns the content of checks.json."""
        curves = {
            kind: {order: values.tolist() for order, values in each.items()}
            for kind, each in self.curves.items()
        }
        return {
            "passed": not self.failed(),
            "failed": self.failed(),
            "similarity": self.similarity,
            "curves": curves,
            "noise_correlation": self.noise,
            "random_labels": self.random_labels,
            "limits": {"similarity": ALIKE, "noise_correlation": STABLE},
            **self.fidelity,
        }


def check(
    model: Model,
    random_label_model: Model | None,
    explain: Explain,
    paths: Paths,
    rows: int,
    rng: np.random.Generator,
) -> Checks:
    """Makes all checks of one network on N nodules.

    Args:
        model: the trained network.
        random_label_model: the same, trained on labels without meaning; None leaves that check out.
        explain: the attribution to be checked: network and paths become maps.
        paths: pictures and baselines of the nodules.
        rows: most pictures of a modality that go through the network at once.
        rng: source of all randomness.
    """
    extra = rng.spawn(1)[0]  # so that the other checks keep their numbers
    score = scorer(model)
    maps = explain(score, paths)
    similarity = {}
    shuffled = deepcopy(model)
    for part, names in PARTS.items():
        for name in names:
            shuffle(getattr(shuffled, name, None), rng)
        similarity[part] = likeness(maps, explain(scorer(shuffled), paths), ranks=True)
    noisy = {
        name: values + NOISE * torch.from_numpy(rng.standard_normal(values.shape)).to(values)
        for name, values in paths.images.items()
    }
    noise = likeness(maps, explain(score, replace(paths, images=noisy)), ranks=False)
    random_labels = None
    if random_label_model is not None:
        others = explain(scorer(random_label_model), paths)
        sizes = [{name: values.abs() for name, values in each.items()} for each in (maps, others)]
        random_labels = {
            "similarity": likeness(maps, others, ranks=True),
            "absolute": likeness(sizes[0], sizes[1], ranks=True),
        }
    return Checks(
        similarity,
        curves(score, maps, paths, rows, rng),
        noise,
        random_labels,
        fidelity.describe(score, explain, maps, paths, rows, extra),
    )


def shuffle(module: nn.Module | None, rng: np.random.Generator) -> None:
    """Puts the numbers of every parameter in a random order: nothing learnt is left, but the scale is."""
    with torch.no_grad():
        for parameter in module.parameters() if module is not None else ():
            order = torch.from_numpy(rng.permutation(parameter.numel()))
            parameter.copy_(parameter.reshape(-1)[order].reshape(parameter.shape))


def curves(
    score: Score, maps: Images, paths: Paths, rows: int, rng: np.random.Generator
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Computes deletion and insertion, by attribution and in random order; see `Checks.curves`.

    Pixels of all modalities are one list. Deleted pixels take the value of the baseline.
    """
    sign = np.sign(log_odds(score, paths.images, paths.fixed, rows))
    sign[sign == 0] = 1
    signs = torch.from_numpy(sign).float()
    flat = torch.cat([maps[name].flatten(1) for name in paths.images], dim=1) * signs[:, None]
    by_attribution = _ranks(flat)
    at_random = [
        _ranks(torch.from_numpy(rng.random(tuple(flat.shape), dtype=np.float32))) for _ in range(ORDERS)
    ]
    orders = {"attribution": [by_attribution], "random": at_random}
    reverse = Paths(paths.baselines, paths.images, paths.fixed)  # `_curve` goes from end to start
    return {
        kind: {
            name: np.mean([_curve(score, ranks, line, rows, sign) for ranks in each], axis=0)
            for name, each in orders.items()
        }
        for kind, line in (("deletion", paths), ("insertion", reverse))
    }


def likeness(first: Images, second: Images, ranks: bool) -> float:
    """Returns the mean of `likenesses` over nodules."""
    return float(np.mean(likenesses(first, second, ranks)))


def likenesses(first: Images, second: Images, ranks: bool) -> NDArray[np.float64]:
    """Correlates two maps of each nodule, all modalities in one list, (N,); 0 for a constant map."""
    correlations = []
    for a, b in zip(
        torch.cat([values.flatten(1) for values in first.values()], dim=1).numpy(),
        torch.cat([values.flatten(1) for values in second.values()], dim=1).numpy(),
        strict=True,
    ):
        if np.ptp(a) == 0 or np.ptp(b) == 0:
            correlations.append(0.0)
        else:
            correlations.append(float(spearmanr(a, b).statistic if ranks else np.corrcoef(a, b)[0, 1]))
    return np.array(correlations)


def _ranks(values: Tensor) -> Tensor:
    """Ranks the values of each row: 0 for the highest, towards 1 for the lowest."""
    return values.argsort(dim=1, descending=True).argsort(dim=1) / values.shape[1]


def _curve(
    score: Score, ranks: Tensor, paths: Paths, rows: int, sign: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Scores pictures whose pixels give way to the baselines' in the order of their ranks.

    Args:
        score: the network.
        ranks: (N, pixels of all modalities), 0 for the first towards 1 for the last.
        paths: pictures and baselines of N nodules.
        rows: most pictures of a modality that go through the network at once.
        sign: (N,) of the decision.

    Returns:
        (STEPS + 1,) mean log odds towards the decision, from the pictures to the baselines.
    """
    sizes = [values[0].numel() for values in paths.images.values()]
    own = dict(zip(paths.images, torch.split(ranks, sizes, dim=1), strict=True))
    points = []
    for step in range(STEPS + 1):
        mixed = {
            name: torch.where(own[name].view(values.shape) < step / STEPS, paths.baselines[name], values)
            for name, values in paths.images.items()
        }
        points.append(float((sign * log_odds(score, mixed, paths.fixed, rows)).mean()))
    return np.array(points)
