"""Commands that score nodules with a champion: predict, serve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dgfnet import vocabulary
from dgfnet.commands.options import PATH, SITES, site_argument, version_argument, with_settings
from dgfnet.errors import InputError

if TYPE_CHECKING:
    from dgfnet.imaging.boxes import Box
    from dgfnet.settings import Settings
    from dgfnet.vocabulary import Modality

Images = tuple[tuple[Path, Path], ...]  # each with its mask, or what stands for one
SPACING = (click.Choice(["us", "ct"]), float)
SECONDS = click.FloatRange(0.1, 86400)
ONE_SIDE = "of one case: us or ct, and the side of its pixels in mm, where the files do not say"
ONE_RECORD = "of one case: a column that the model reads beside pictures, as age=47; may be repeated"
ONE_CASE = "of one case, instead of a folder; may be repeated"


PAIR = (
    "needs two values, IMAGE and MASK: a picture, and a file with the outline of its nodule, "
    "box:LEFT,TOP,RIGHT,BOTTOM or calipers:X1,Y1,X2,Y2 (docs/how-to/predict.md)"
)


class OneCase(click.Command):
    """A command with options of two files; says what the second one is when it is missing."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses as click does."""
        given = [*args]
        for place, word in enumerate(given):
            option = word.partition("=")[0]
            if option not in ("--us", "--ct"):
                continue
            files = [*([word.partition("=")[2]] if "=" in word else []), *given[place + 1 :]][:2]
            files = [name for name in files if not name.startswith("--")]
            if len(files) < 2 or files[1] in vocabulary.SITES:  # SITE, taken for the mask
                found = files[0] if files else "none"
                raise click.UsageError(f"{option} {PAIR}; found {found}", ctx)
        return super().parse_args(ctx, args)


@click.command("predict", cls=OneCase)
@with_settings(site=SITES)
@site_argument
@click.argument("folder", type=PATH, required=False)
@click.option("--us", type=(PATH, PATH), multiple=True, metavar="IMAGE MASK", help=ONE_CASE)
@click.option("--ct", type=(PATH, PATH), multiple=True, metavar="IMAGE MASK", help=ONE_CASE)
@click.option("--out", type=PATH, help="CSV file to write")
@click.option("--overlays", type=PATH, help="folder for a picture of each nodule")
@click.option("--nodule", help="one nodule's id; all without it")
@click.option("--segment", help="of one case: which region of the masks is the nodule")
@click.option("--spacing", type=SPACING, multiple=True, metavar="MODALITY MM", help=ONE_SIDE)
@click.option("--record", multiple=True, metavar="COLUMN=VALUE", help=ONE_RECORD)
def score(
    settings: Settings,
    folder: Path | None,
    us: Images,
    ct: Images,
    out: Path | None,
    overlays: Path | None,
    nodule: str | None,
    segment: str | None,
    spacing: tuple[tuple[Modality, float], ...],
    record: tuple[str, ...],
) -> None:
    """Score a cohort or a case with a champion.

    FOLDER is a cohort folder; its labels may be empty.
    """
    from dgfnet.predict import predict, predict_case

    site = settings.base.sites[0]
    images: dict[Modality, Images] = {"us": us, "ct": ct}
    files = {modality: pairs for modality, pairs in images.items() if pairs}
    if bool(files) == (folder is not None):
        raise InputError("expected a cohort folder, or one case: --us IMAGE MASK, --ct IMAGE MASK")
    if folder is None:
        if nodule:
            raise InputError("--nodule names a nodule of a cohort folder; one case by its files has none")
        marked = {
            modality: tuple((image, _mark(mark, f"--{modality}")) for image, mark in pairs)
            for modality, pairs in files.items()
        }
        sides = dict(spacing)
        case = predict_case(settings, site, marked, out, overlays, segment, sides, record).iloc[0]
        for name, value in case.items():
            print(f"{name:19s} {value:.4f}" if isinstance(value, float) else f"{name:19s} {value}")
        return
    if segment:
        raise InputError("--segment is of one case; a cohort folder has the column segment in images.csv")
    if spacing:
        raise InputError("--spacing is of one case; a cohort folder has the column spacing_mm in images.csv")
    if record:
        raise InputError("--record is of one case; a cohort folder has its columns in nodules.csv")
    if out is None:
        raise InputError("a cohort folder needs --out, the CSV file to write")
    table = predict(settings, site, folder, out, nodule, overlays)
    scored = table["probability"].notna()
    print(f"{out}: {scored.sum()} nodules, {int(table['decision'].sum())} called positive")
    for name, statement in table.loc[~scored, ["nodule_id", "statement"]].itertuples(index=False):
        print(f"  nodule {name}: {statement}")


@click.command("recalibrate")
@with_settings(site=SITES)
@site_argument
@click.option("--cohort", "folder", type=PATH, required=True, help="cohort folder with labels")
def recalibrate_champion(settings: Settings, folder: Path) -> None:
    """Fit a champion's calibration and threshold to a new site."""
    from dgfnet.recalibrate import recalibrate

    print(recalibrate(settings, settings.base.sites[0], folder))


@click.command("validate")
@with_settings(site=SITES)
@site_argument
@version_argument
@click.option("--cohort", "folder", type=PATH, required=True, help="cohort folder with labels")
@click.option("--out", type=PATH, help="file that gets the results, signed, without patients")
@click.option("--key", type=PATH, help="your private Ed25519 key, PEM, for --out")
def validate_version(
    settings: Settings, version: str, folder: Path, out: Path | None, key: Path | None
) -> None:
    """Measure a version on a labelled cohort, without training.

    VERSION is a number, or champion.
    """
    from dgfnet.validate import validate

    print(validate(settings, settings.base.sites[0], version, folder, out, key))


@click.command("monitor")
@with_settings(site=SITES)
@site_argument
@click.argument("counts", type=PATH)
@click.option("--before", type=PATH, help="what /metrics said when the period began")
def monitor_champion(settings: Settings, counts: Path, before: Path | None) -> None:
    """Compare answers of a served champion with held-out nodules.

    COUNTS is a file with what GET /metrics of dgfnet serve said.
    """
    from dgfnet.monitor import monitor

    print(monitor(settings, settings.base.sites[0], counts, before))


def _mark(given: Path, option: str) -> Path | Box:
    """Returns the mask file that was named, or the box that stands in its place."""
    from dgfnet.imaging.boxes import FORMS, read_mark

    form, colon, numbers = str(given).partition(":")
    if colon and form in FORMS and not given.exists():
        return read_mark(form, numbers, f"{option} {given}")
    return given


@click.command()
@with_settings()
@click.argument("folder", type=PATH)
@click.option("--nodules", type=click.IntRange(1, 100), default=4, help="how many")
def examples(settings: Settings, folder: Path, nodules: int) -> None:
    """Write nodules as PNG and DICOM files, to try serve with."""
    from dgfnet.serving.examples import write_examples

    table = write_examples(settings, folder, nodules)
    print(f"{folder}: {len(table)} pictures; boxes.csv has a box around each nodule")


@click.command("serve")
@with_settings(site=SITES)
@site_argument
@click.option("--host", default="127.0.0.1", help="127.0.0.1: this machine alone")
@click.option("--port", type=int, default=5001, help="where it listens")
@click.option("--header-seconds", type=SECONDS, default=10, help="limit of a request's header")
@click.option("--body-seconds", type=SECONDS, default=60, help="limit of a request's body")
@click.option("--silence-seconds", type=SECONDS, default=10, help="limit between two pieces of a body")
@click.option("--stop-seconds", type=SECONDS, default=30, help="that requests have to end after SIGTERM")
@click.option("--token", type=PATH, help="its first line is the token that requests have to bring")
@click.option("--tls", type=(PATH, PATH), metavar="CERT KEY", help="PEM files: answer by https")
@click.option("--log", is_flag=True, help="a line of JSON per request to stderr")
@click.option("--pacs", metavar="URL", help="DICOMweb address to choose studies from (docs/how-to/pacs.md)")
@click.option("--pacs-ca", type=PATH, help="PEM file of the authority that the PACS's certificate is of")
@click.option("--send-results", is_flag=True, help="answers may be stored in the PACS, by request")
@click.option("--behind-proxy", is_flag=True, help="with --pacs: a proxy in front answers by https")
def serve_champion(
    settings: Settings,
    host: str,
    port: int,
    header_seconds: float,
    body_seconds: float,
    silence_seconds: float,
    stop_seconds: float,
    token: Path | None,
    tls: tuple[Path, Path] | None,
    log: bool,
    pacs: str | None,
    pacs_ca: Path | None,
    send_results: bool,
    behind_proxy: bool,
) -> None:
    """Serve a model."""
    from dgfnet.serve import serve
    from dgfnet.serving.access import Access, read_token
    from dgfnet.serving.connection import Limits

    limits = Limits(
        head_s=header_seconds, body_s=body_seconds, silence_s=silence_seconds, stop_s=stop_seconds
    )
    access = Access(None if token is None else read_token(token), tls, log)
    if pacs is None and (pacs_ca or send_results or behind_proxy):
        raise InputError("--pacs-ca, --send-results and --behind-proxy are of a PACS; expected --pacs URL")
    remote = None
    if pacs is not None:
        from dgfnet.pacs.client import Pacs
        from dgfnet.serving.pacs_routes import PacsLink

        remote = PacsLink(Pacs(pacs, pacs_ca), send_results, behind_proxy)
    serve(settings, settings.base.sites[0], host, port, limits, access, remote)
