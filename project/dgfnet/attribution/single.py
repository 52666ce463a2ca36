"""Explains one nodule by networks that were not trained on it: `dgfnet attribute --nodule ID`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dgfnet.attribution.contributions import shapley
from dgfnet.attribution.figures import panel, smoothed
from dgfnet.attribution.fold_network import Explanation, FoldNetwork, effort, load
from dgfnet.attribution.fold_network import explain as explain_pictures
from dgfnet.attribution.gradients import Paths
from dgfnet.attribution.networks import Pictures
from dgfnet.errors import InputError, meant
from dgfnet.files import replacing, write_json
from dgfnet.results import is_cross_validated, load_nodules, load_table
from dgfnet.settings import Settings
from dgfnet.vocabulary import VARIANTS, Modality, Site, Variant

# pictures and what they say; of a network that reads the record the Shapley values of US, CT and record
Explained = tuple[Pictures, Explanation, Mapping[str, float]]


def explain(settings: Settings, site: Site, nodule: str, variant: str) -> str:
    """Writes work/attribution/<site>-<variant>-<nodule>.json and .png; returns what to print.

    A nodule that was cross-validated is explained by the network that held it out. No network was trained on
    an external one: those of all folds explain it, and their attributions are averaged, as an ensemble
    averages their log odds.

    Args:
        settings: of the run.
        site: whose network.
        nodule: id of a nodule of the main or of the external cohort.
        variant: any cross-validated one, or `all` for that of the settings.

    Raises:
        InputError: for an unknown variant or nodule, or one that was not cross-validated.
    """
    chosen = _variant(settings, variant)
    if not is_cross_validated(settings, site, chosen):
        raise InputError(f"{site} {chosen} was not cross-validated; run the stage crossval")
    table = load_table(settings, site, chosen).set_index("nodule_id")
    nodules = load_nodules(settings)
    own = nodules[nodules["nodule_id"] == nodule]
    known: dict[str, Any] = {"nodule_id": nodule, "site": site, "variant": chosen}
    if nodule in table.index:
        row: Any = table.loc[nodule]
        folds = [int(row["fold"])]
        known |= {"fold": folds[0], "label": int(row["label"])}
        known |= {"probability": float(row["probability"]), "threshold": float(row["threshold"])}
        said = f"probability {row['probability']:.3f} (threshold {row['threshold']:.3f})"
    elif (own["cohort"] == "external").any():
        folds = sorted(int(fold) for fold in table["fold"].unique())
        said = f"by the networks of all {len(folds)} folds"
    else:
        raise InputError(
            f"nodule {nodule} has no out-of-fold prediction of {site} {chosen}, and is not in the external "
            "cohort"
        )
    explained = [_explained(settings, load(settings, site, chosen, fold), own) for fold in folds]
    shown, every = explained[0][0], [explanation for _, explanation, _ in explained]
    players = {name: _mean([values[name] for *_, values in explained]) for name in explained[0][2]}
    sums = {name: _mean([one.attributions.sums[name][0] for one in every]) for name in shown.images}
    error = max(float(one.attributions.error[0]) for one in every)
    known |= {"folds": folds, "log_odds": _mean([one.attributions.at_input[0] for one in every])}
    known |= {"attribution": sums, "baseline": settings.attribute.baselines[0]}
    known |= {"partner": every[0].baselines.partner[0] if len(every) == 1 else None}
    known |= {
        "baseline_probability": _mean([one.baselines.probability[0] for one in every]),
        "baseline_log_odds": _mean([one.attributions.at_baseline[0] for one in every]),
        "completeness_error": error,
        "gradients": int(sum(one.attributions.gradients[0] for one in every)),
    }
    known |= {"shapley": players} if players else {}
    stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in f"{site}-{chosen}-{nodule}")[:120]
    path = settings.work / "attribution" / f"{stem}.json"
    write_json(path, known)
    maps = {name: np.mean([one.attributions.maps[name][0].numpy() for one in every], axis=0) for name in sums}
    _draw(shown, maps, sums, path.with_suffix(".png"))
    by_shapley = f"; Shapley values with the record: {_listed(players)}" if players else ""
    return (
        f"{site} {chosen}: {nodule} {said}, log odds towards metastasis: {_listed(sums)} (completeness error "
        f"{error:.3f}){by_shapley}; {path.with_suffix('.png')}"
    )


def _explained(settings: Settings, network: FoldNetwork, nodule: pd.DataFrame) -> Explained:
    """Explains a nodule, a row of nodules.parquet, by the network of a fold."""
    shown = network.pictures_of(nodule)
    explanation = explain_pictures(network, shown, settings.attribute.baselines[0], effort(settings))
    if network.unknown is None:
        return shown, explanation, {}
    paths = Paths(shown.images, explanation.baselines.images, shown.fixed)
    values = shapley(network.score, paths, settings.attribute.rows, network.unknown)
    return shown, explanation, {name: float(own[0]) for name, own in values.items()}


def _listed(values: Mapping[Any, float]) -> str:
    return ", ".join(f"{name} {value:+.2f}" for name, value in values.items())


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _draw(
    shown: Pictures, maps: Mapping[Modality, NDArray[Any]], sums: Mapping[Modality, float], path: Path
) -> None:
    """Draws each picture plain, and with what its pixels say."""
    figure = Figure(figsize=(3.2 * 2 * len(maps), 3.6), layout="constrained")
    grid = figure.subplots(1, 2 * len(maps))
    for place, (name, own) in enumerate(maps.items()):
        image, mask = shown.images[name][0].numpy(), shown.masks[name][0].numpy()
        values = smoothed(own)
        limit = float(np.abs(values).max()) or 1.0
        panel(grid[2 * place], image, mask, None, limit)
        panel(grid[2 * place + 1], image, mask, values, limit)
        grid[2 * place + 1].set_title(f"{name}: {sums[name]:+.2f} log odds", fontsize=10)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=130)


def _variant(settings: Settings, text: str) -> Variant:
    if text == "all":
        return settings.attribute.variant
    chosen = next((name for name in VARIANTS if name == text), None)
    if chosen is None:
        raise InputError(f"--variant {text}: expected one of {', '.join(VARIANTS)}{meant(text, VARIANTS)}")
    return chosen
