"""Commands that make and move cohort folders: phantom, ingest, push, pull."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dgfnet.commands.options import PATH, InOrder, with_settings

if TYPE_CHECKING:
    from dgfnet.ingest.folder import Account
    from dgfnet.s3 import Moved
    from dgfnet.settings import Settings


@click.command()
@with_settings(patients="phantom.patients={}", seed="phantom.seed={}", signal="phantom.signal={}")
@click.option("--out", type=PATH, help="folder of the cohort; its truth goes to OUT-truth")
@click.option("--patients", type=int, help="instead of phantom.patients in the settings")
@click.option("--seed", type=int, help="instead of phantom.seed in the settings")
@click.option("--signal", type=float, help="instead of phantom.signal in the settings")
def phantom(settings: Settings, out: Path | None) -> None:
    """Generate a phantom cohort."""
    from dgfnet.phantom.generate import generate

    folder = out.resolve() if out else settings.data
    truth = folder.with_name(f"{folder.name}-truth") if out else settings.root / settings.base.truth
    wanted = settings.phantom
    how = (wanted.seed, wanted.signal, wanted.informative, wanted.interaction, wanted.style)
    generate(folder, truth, wanted.patients, wanted.external_patients, *how)


@click.group(cls=InOrder)
def ingest() -> None:
    """Make a cohort folder (docs/how-to/ingest.md)."""


source_argument = click.argument("source", type=PATH)
out_option = click.option("--out", type=PATH, required=True, help="folder to make")
labels_option = click.option("--labels", type=PATH, required=True, help="table: patient_id, lnm_central ...")
seed_option = click.option("--seed", type=int, default=1, help="of every draw")
external_option = click.option(
    "--external-share", type=float, default=0.2, help="share held out as external cohort"
)


segment_option = click.option(
    "--segment",
    "segments",
    multiple=True,
    metavar="NAME",
    help="region of the masks that is a nodule: name, number, code or pattern; several allowed",
)
resample_option = click.option(
    "--resample", is_flag=True, help="masks on other grids: take the nearest pixel"
)


@ingest.command("folder")
@source_argument
@out_option
@labels_option
@click.option("--image", "images", multiple=True, metavar="PATTERN", help="of images; several allowed")
@click.option("--mask", "masks", multiple=True, metavar="PATTERN", help="of their masks, in the same order")
@segment_option
@resample_option
def ingest_folder(
    source: Path,
    out: Path,
    labels: Path,
    images: tuple[str, ...],
    masks: tuple[str, ...],
    segments: tuple[str, ...],
    resample: bool,
) -> None:
    """From files whose paths say whose they are."""
    from dgfnet.ingest.tree import import_folder

    _print_account(out, import_folder(source, out, images, masks, labels, segments, resample))


@ingest.command("dicom")
@source_argument
@out_option
@labels_option
@segment_option
@resample_option
def ingest_dicom(source: Path, out: Path, labels: Path, segments: tuple[str, ...], resample: bool) -> None:
    """From a DICOM export with DICOM-SEG or RTSTRUCT."""
    from dgfnet.ingest.dicom_tree import import_dicom

    _print_account(out, import_dicom(source, out, labels, segments, resample))


@ingest.command("dicomweb")
@click.argument("url")
@out_option
@labels_option
@segment_option
@resample_option
@click.option("--pacs-ca", type=PATH, help="PEM file of the authority that the PACS's certificate is of")
def ingest_dicomweb(
    url: str, out: Path, labels: Path, segments: tuple[str, ...], resample: bool, pacs_ca: Path | None
) -> None:
    """From studies of a PACS, which the table names."""
    from dgfnet.ingest.dicomweb import import_dicomweb
    from dgfnet.pacs.client import Pacs
    from dgfnet.pacs.session import hush

    hush()
    _print_account(out, import_dicomweb(Pacs(url, pacs_ca), out, labels, segments, resample))


@ingest.command("ddti")
@source_argument
@out_option
@seed_option
@external_option
def ingest_ddti(source: Path, out: Path, seed: int, external_share: float) -> None:
    """From the public ultrasound set DDTI."""
    from dgfnet.ingest.public import import_ddti

    _print_account(out, import_ddti(source, out, seed, external_share))


@ingest.command("lidc-voi")
@source_argument
@out_option
@seed_option
@external_option
def ingest_lidc(source: Path, out: Path, seed: int, external_share: float) -> None:
    """From the public CT set LIDC VOI."""
    from dgfnet.ingest.public import import_lidc

    _print_account(out, import_lidc(source, out, seed, external_share))


@ingest.command("ddti-lidc")
@click.option("--ddti", type=PATH, required=True, help="folder or archive")
@click.option("--lidc", type=PATH, required=True, help="folder or archive")
@out_option
@seed_option
@external_option
def ingest_pairs(ddti: Path, lidc: Path, out: Path, seed: int, external_share: float) -> None:
    """From both public sets, paired by class."""
    from dgfnet.ingest.public import pair_ddti_lidc

    _print_account(out, pair_ddti_lidc(ddti, lidc, out, seed, external_share))


def _print_account(out: Path, account: Account) -> None:
    print(f"{out}: {dict(account.used)}; not used (row by row in not_used.csv):")
    for reason, count in account.reasons().items():
        print(f"{count:5d}  {reason}")
    if held := account.origin.get("copied_unchecked"):
        print("copied unchecked, number of files (private attributes, free text: they may name a person):")
        for name, count in held.items():
            print(f"{count:5d}  {name}")


address_argument = click.argument("address", metavar="s3://BUCKET/PREFIX")
folder_argument = click.argument("folder", type=PATH)


@click.command()
@folder_argument
@address_argument
def push(folder: Path, address: str) -> None:
    """Copy a folder to S3 (docs/how-to/s3.md)."""
    from dgfnet import s3

    _print_moved(s3.push(folder, address))


@click.command()
@address_argument
@folder_argument
def pull(address: str, folder: Path) -> None:
    """Copy a folder from S3, checked by sha256."""
    from dgfnet import s3

    _print_moved(s3.pull(address, folder))


def _print_moved(moved: Moved) -> None:
    print(f"{moved.files} files, {moved.moved} transferred; checked by {moved.checked}")
