"""Commands about registered versions: promote, rollback, history, lineage, reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dgfnet.commands.options import PATH, SITES, site_argument, version_argument, with_settings

if TYPE_CHECKING:
    from dgfnet.settings import Settings


@click.command()
@with_settings(site=SITES)
@site_argument
@version_argument
@click.option("--dry-run", is_flag=True, help="judge and change nothing")
@click.option(
    "--without-comparison", is_flag=True, help="take it although it cannot be compared with the champion"
)
def promote(settings: Settings, version: str, dry_run: bool, without_comparison: bool) -> None:
    """Judge a version, make it champion if it passes."""
    from dgfnet.registry import commands

    print(commands.promote(settings, settings.base.sites[0], version, dry_run, without_comparison))


@click.command()
@with_settings(site=SITES)
@site_argument
def rollback(settings: Settings) -> None:
    """Give the alias champion back to the version before."""
    from dgfnet.registry import commands

    print(commands.rollback(settings, settings.base.sites[0]))


@click.command()
@with_settings()
def champions(settings: Settings) -> None:
    """Write who is champion to champions.json, for DVC.

    Needed after somebody has promoted or rolled back elsewhere.
    """
    from dgfnet.registry import champions

    print(champions.told(settings))


@click.command()
@with_settings(site=SITES)
@site_argument
def history(settings: Settings) -> None:
    """Print every decision about a site's versions."""
    from dgfnet.registry import commands

    print(commands.history(settings, settings.base.sites[0]))


@click.command()
@with_settings(site=SITES)
@site_argument
@version_argument
def lineage(settings: Settings, version: str) -> None:
    """Print commit, data, settings and runs a version comes from."""
    from dgfnet.registry import commands

    print(commands.lineage(settings, settings.base.sites[0], version))


@click.command("export")
@with_settings(site=SITES)
@site_argument
@version_argument
@click.argument("file", type=PATH)
@click.option("--key", type=PATH, required=True, help="your private Ed25519 key, PEM")
def export_model(settings: Settings, version: str, file: Path, key: Path) -> None:
    """Write a version to one signed file.

    VERSION is a number, or champion.
    """
    from dgfnet.register.exchange import export_version

    print(export_version(settings, settings.base.sites[0], version, file, key))


@click.command("import")
@with_settings()
@click.argument("file", type=PATH)
@click.option("--trust", type=PATH, multiple=True, help="public key of the sender, PEM; several allowed")
def import_model(settings: Settings, file: Path, trust: tuple[Path, ...]) -> None:
    """Take a file of export or validate into the registry."""
    from dgfnet.register.exchange import import_version
    from dgfnet.register.results_exchange import import_results, is_results

    print((import_results if is_results(file) else import_version)(settings, file, trust))


@click.command("reproduce")
@with_settings(site=SITES, tolerance="register.tolerance={}")
@site_argument
@version_argument
@click.option("--into", type=PATH, metavar="FOLDER", help="fresh folder to make")
@click.option("--tolerance", type=float, help="instead of register.tolerance")
def reproduce_version(settings: Settings, version: str, into: Path | None) -> None:
    """Train the fold of a version again, and compare.

    It is trained from the version's commit and data. Status 1 says that the probabilities disagree.
    """
    from dgfnet.reproduce.reproduction import reproduce

    made = reproduce(settings, settings.base.sites[0], version, into)
    print(made.text())
    if not made.agrees:
        raise SystemExit(1)
