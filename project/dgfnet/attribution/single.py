"""Explains one nodule by the network it was held out from: `dgfnet attribute --nodule ID`."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from matplotlib.figure import Figure

from dgfnet.attribution.figures import panel, smoothed
from dgfnet.attribution.fold_network import effort, load
from dgfnet.attribution.fold_network import explain as explain_pictures
from dgfnet.errors import InputError, meant
from dgfnet.files import replacing, write_json
from dgfnet.results import is_cross_validated, load_table
from dgfnet.settings import Settings
from dgfnet.vocabulary import Site, Variant


def explain(settings: Settings, site: Site, nodule: str, variant: str) -> str:
    """Writes work/attribution/<site>-<variant>-<nodule>.json and .png; returns what to print.

    Args:
        settings: of the run.
        site: whose network.
        nodule: id of a nodule of the main cohort.
        variant: any cross-validated one, or `all` for that of the settings.

    Raises:
        InputError: for an unknown variant or nodule, or one that was not cross-validated.
    """
    chosen = _variant(settings, variant)
    if not is_cross_validated(settings, site, chosen):
        raise InputError(f"{site} {chosen} was not cross-validated; run the stage crossval")
    table = load_table(settings, site, chosen).set_index("nodule_id")
    if nodule not in table.index:
        raise InputError(f"nodule {nodule} has no out-of-fold prediction of {site} {chosen}")
    row: Any = table.loc[nodule]
    network = load(settings, site, chosen, int(row["fold"]))
    pictures = network.pictures(np.array([network.held_out.ids.index(nodule)]))
    explanation = explain_pictures(network, pictures, settings.attribute.baselines[0], effort(settings))
    attributions, baselines = explanation.attributions, explanation.baselines
    record: dict[str, Any] = {
        **{"nodule_id": nodule, "site": site, "variant": chosen, "fold": int(row["fold"])},
        **{"label": int(row["label"]), "probability": float(row["probability"])},
        **{"threshold": float(row["threshold"]), "log_odds": float(attributions.at_input[0])},
        "attribution": {name: float(values[0]) for name, values in attributions.sums.items()},
        **{"baseline": settings.attribute.baselines[0], "partner": baselines.partner[0]},
        "baseline_probability": float(baselines.probability[0]),
        **{"completeness_error": float(attributions.error[0]), "gradients": int(attributions.gradients[0])},
    }
    stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in f"{site}-{chosen}-{nodule}")[:120]
    path = settings.work / "attribution" / f"{stem}.json"
    write_json(path, record)
    figure = Figure(figsize=(3.2 * 2 * len(attributions.maps), 3.6), layout="constrained")
    grid = figure.subplots(1, 2 * len(attributions.maps))
    for place, (name, maps) in enumerate(attributions.maps.items()):
        image, mask = pictures.images[name][0].numpy(), pictures.masks[name][0].numpy()
        values = smoothed(maps[0].numpy())
        limit = float(np.abs(values).max()) or 1.0
        panel(grid[2 * place], image, mask, None, limit)
        panel(grid[2 * place + 1], image, mask, values, limit)
        grid[2 * place + 1].set_title(f"{name}: {attributions.sums[name][0]:+.2f} log odds", fontsize=10)
    with replacing(path.with_suffix(".png")) as temporary:
        figure.savefig(temporary, dpi=130)
    parts = ", ".join(f"{name} {values[0]:+.2f}" for name, values in attributions.sums.items())
    return (
        f"{site} {chosen}: {nodule} probability {row['probability']:.3f} (threshold {row['threshold']:.3f}), "
        f"log odds towards metastasis: {parts} (completeness error {attributions.error[0]:.3f}); "
        f"{path.with_suffix('.png')}"
    )


def _variant(settings: Settings, text: str) -> Variant:
    if text == "all":
        return settings.attribute.variant
    known: tuple[Variant, ...] = get_args(Variant)
    chosen = next((name for name in known if name == text), None)
    if chosen is None:
        raise InputError(f"--variant {text}: expected one of {', '.join(known)}{meant(text, known)}")
    return chosen
