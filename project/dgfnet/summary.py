"""The table at the end: AUC of every variant and baseline beside the Bayes-optimal one (phantom only)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dgfnet.files import read_json
from dgfnet.results import load_external, load_registered, load_results, load_skipped
from dgfnet.settings import Settings
from dgfnet.vocabulary import SPECS, Site


def run(settings: Settings) -> None:
    """Prints AUC with interval per variant and site, the promoted versions, and the next step."""
    console = Console()
    truth = _read(settings.home / settings.base.truth / "bayes.json")
    percent = f"{settings.base.confidence:.0%}"
    table = Table(title="Pooled out-of-fold AUC", caption="gap: Bayes-optimal minus reached; phantom only")
    for column in ("site", "variant", f"AUC ({percent} interval)", "Bayes-optimal", "gap"):
        table.add_column(column, justify="left" if column in ("site", "variant") else "right")
    for site in settings.base.sites:
        for variant, result in load_results(settings, site).items():
            interval = result["auc_interval"]
            best = truth.get(site, {}).get(_information(variant, result))
            cells = [f"{best:.3f}", f"{best - interval['estimate']:.3f}"] if best is not None else ["-", "-"]
            table.add_row(site, variant, f"{interval['estimate']:.3f} ({_range(interval)})", *cells)
    console.print(table)
    for site in settings.base.sites:
        _print_promotion(console, settings, site)
    console.print(
        f"Next: open {settings.artifacts('report', 'index.html')}, "
        "or run `make ui` and compare the runs there.",
        soft_wrap=True,
    )


def _information(variant: str, result: dict[str, Any]) -> str:
    """Returns whose pictures a model reads: us, ct or both; nothing for one that reads none."""
    modalities = SPECS[variant].modalities if variant in SPECS else result["modalities"]
    return "both" if len(modalities) == 2 else "".join(modalities)


def _range(interval: dict[str, Any]) -> str:
    return "undefined" if interval["low"] is None else f"{interval['low']:.3f}-{interval['high']:.3f}"


def _print_promotion(console: Console, settings: Settings, site: Site) -> None:
    skipped = load_skipped(settings, "crossval", site)
    registered, external = load_registered(settings, site), load_external(settings, site)
    if skipped:
        console.print(f"{site}: skipped, {skipped}")
    if registered:
        word = "is" if registered["alias"] == "champion" else "is not"
        console.print(
            f"{registered['model']} version {registered['version']} {word} champion: {registered['reason']}"
        )
    if external:
        outside = external["external"]
        console.print(
            f"External validation of {external['model']} version {external['version']}: "
            f"AUC {outside['auc']:.3f} ({_range(outside['auc_interval'])}), {outside['n']} nodules"
        )


def _read(path: Path) -> dict[str, Any]:
    return dict(read_json(path)) if path.is_file() else {}
