"""One nodule, explained by the network that never saw it: `dgfnet attribute --nodule ID`."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
from matplotlib.figure import Figure

from dgfnet.attribution.figures import panel, smoothed
from dgfnet.attribution.restored import effort, explained, load
from dgfnet.errors import InputError
from dgfnet.files import replacing, write_json
from dgfnet.results import load_table
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
    if not settings.artifacts("crossval", site, chosen, "out_of_fold.csv").is_file():
        raise InputError(f"{site} {chosen} was not cross-validated; run the stage crossval")
    table = load_table(settings, site, chosen).set_index("nodule_id")
    if nodule not in table.index:
        raise InputError(f"nodule {nodule} has no out-of-fold prediction of {site} {chosen}")
    row: Any = table.loc[nodule]
    network = load(settings, site, chosen, int(row["fold"]))
    pictures = network.pictures(np.array([network.held_out.ids.index(nodule)]))
    found, base = explained(network, pictures, settings.attribute.baselines[0], effort(settings))
    facts: dict[str, Any] = {
        **{"nodule_id": nodule, "site": site, "variant": chosen, "fold": int(row["fold"])},
        **{"label": int(row["label"]), "probability": float(row["probability"])},
        **{"threshold": float(row["threshold"]), "log_odds": float(found.at_input[0])},
        "attribution": {name: float(values[0]) for name, values in found.sums.items()},
        **{"baseline": settings.attribute.baselines[0], "partner": base.partner[0]},
        "baseline_probability": float(base.probability[0]),
        **{"completeness_error": float(found.error[0]), "gradients": int(found.gradients[0])},
    }
    stem = "".join(c if c.isalnum() or c in "-_." else "_" for c in f"{site}-{chosen}-{nodule}")[:120]
    path = settings.work / "attribution" / f"{stem}.json"
    write_json(path, facts)
    figure = Figure(figsize=(3.2 * 2 * len(found.maps), 3.6), layout="constrained")
    grid = figure.subplots(1, 2 * len(found.maps))
    for place, (name, maps) in enumerate(found.maps.items()):
        image, mask = pictures.images[name][0].numpy(), pictures.masks[name][0].numpy()
        values = smoothed(maps[0].numpy())
        limit = float(np.abs(values).max()) or 1.0
        panel(grid[2 * place], image, mask, None, limit)
        panel(grid[2 * place + 1], image, mask, values, limit)
        grid[2 * place + 1].set_title(f"{name}: {found.sums[name][0]:+.2f} log odds", fontsize=10)
    with replacing(path.with_suffix(".png")) as temporary:
        figure.savefig(temporary, dpi=130)
    parts = ", ".join(f"{name} {values[0]:+.2f}" for name, values in found.sums.items())
    return (
        f"{site} {chosen}: {nodule} probability {row['probability']:.3f} (threshold {row['threshold']:.3f}), "
        f"log odds towards metastasis: {parts} (completeness error {found.error[0]:.3f}); "
        f"{path.with_suffix('.png')}"
    )


def _variant(settings: Settings, text: str) -> Variant:
    if text == "all":
        return settings.attribute.variant
    known: tuple[Variant, ...] = get_args(Variant)
    found = next((name for name in known if name == text), None)
    if found is None:
        raise InputError(f"--variant {text}: expected one of {', '.join(known)}")
    return found
