"""`dgfnet STAGE`: one stage, one function. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

# nobody is phoned: these are off unless the user switched them on
PRIVATE = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DVC_NO_ANALYTICS": "true",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "GIT_PYTHON_REFRESH": "quiet",
}
QUIET = {"MLFLOW_LOGGING_LEVEL": "WARNING", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
STAGES = {  # name: (module with `run(settings)`, help)
    "cohort": ("dgfnet.cohort.stage", "read the manifest, screen the nodules, make the folds"),
    "audit": ("dgfnet.audit.stage", "look for pictures of two patients, and for shortcuts"),
    "preprocess": ("dgfnet.preprocess.stage", "cut regions of interest and targets into the archive"),
    "pretrain": ("dgfnet.pretrain", "train the shared segmentation phase"),
    "tune": ("dgfnet.tune", "search settings inside the training part of every fold"),
    "crossval": ("dgfnet.crossval", "cross-validate the variants at every site"),
    "compare": ("dgfnet.compare.stage", "compare the variants"),
    "register": ("dgfnet.register.stage", "register and promote the best model of each site"),
    "external": ("dgfnet.external.stage", "validate the champions on the external cohort"),
    "attribute": ("dgfnet.attribution.stage", "explain predictions: US beside CT, and where networks look"),
    "applicability": ("dgfnet.applicability.stage", "for whom the models work, and who needs CT"),
    "report": ("dgfnet.report.stage", "write the report"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command `dgfnet`; exits with 2 and one message on bad input."""
    for name, value in (PRIVATE | QUIET).items():
        os.environ.setdefault(name, value)
    options = _parser().parse_args(arguments)
    from dgfnet.errors import InputError

    try:
        _dispatch(options)
    except InputError as error:
        print(f"dgfnet {options.command}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print(f"dgfnet {options.command}: interrupted", file=sys.stderr)
        raise SystemExit(130) from None  # as shells say it of Ctrl-C


def _dispatch(options: argparse.Namespace) -> None:
    from dgfnet.errors import InputError
    from dgfnet.settings import load

    if options.command == "ingest":
        _ingest(options)
        return
    if options.command in ("push", "pull"):
        from dgfnet import s3 as store

        if options.command == "push":
            moved = store.push(options.folder, options.address)
        else:
            moved = store.pull(options.address, options.folder)
        print(f"{moved.files} files, {moved.moved} transferred; checked by {moved.checked}")
        return
    settings = load(options.params, _overrides(options))
    if options.command == "phantom":
        from dgfnet.phantom.generate import generate

        out = options.out.resolve() if options.out else settings.data
        truth = out.with_name(f"{out.name}-truth") if options.out else settings.root / settings.base.truth
        wanted = settings.phantom
        how = (wanted.seed, wanted.signal, wanted.informative)
        generate(out, truth, wanted.patients, wanted.external_patients, *how)
    elif options.command in ("promote", "rollback", "history", "lineage"):
        from dgfnet.registry import commands

        site = settings.base.sites[0]
        if options.command == "promote":
            print(commands.promote(settings, site, options.version, options.dry_run))
        elif options.command == "lineage":
            print(commands.lineage(settings, site, options.version))
        else:
            print(getattr(commands, options.command)(settings, site))
    elif options.command == "reproduce":
        from dgfnet.reproduce.reproduction import reproduce

        made = reproduce(settings, settings.base.sites[0], options.version, options.into)
        print(made.text())
        if not made.agrees:
            raise SystemExit(1)
    elif options.command == "serve":
        from dgfnet.serve import serve

        serve(settings, settings.base.sites[0], options.host, options.port)
    elif options.command == "predict":
        _predict(settings, options)
    elif options.command == "summary":
        from dgfnet.summary import run

        run(settings)
    elif options.command == "attribute" and options.nodule:
        from dgfnet.attribution.single import explain

        faults = []
        for site in settings.base.sites:
            try:
                print(explain(settings, site, options.nodule, options.variant))
            except InputError as error:  # a nodule may have a label of one site only
                faults.append(f"{site}: {error}")
        if len(faults) == len(settings.base.sites):
            raise InputError("\n".join(faults))
    else:
        for stage in STAGES if options.command == "all" else (options.command,):
            import_module(STAGES[stage][0]).run(settings)


def _predict(settings: Any, options: argparse.Namespace) -> None:
    from dgfnet.errors import InputError
    from dgfnet.predict import predict, predict_case

    site = settings.base.sites[0]
    files: dict[Any, Any] = {name: getattr(options, name) for name in ("us", "ct") if getattr(options, name)}
    if bool(files) == (options.folder is not None):
        raise InputError("expected a cohort folder, or one case: --us IMAGE MASK, --ct IMAGE MASK")
    if files and options.nodule:
        raise InputError("--nodule names a nodule of a cohort folder; one case by its files has none")
    if files:
        found = predict_case(settings, site, files, options.out, options.overlays)
        for name, value in found.iloc[0].items():
            print(f"{name:18s} {value:.4f}" if isinstance(value, float) else f"{name:18s} {value}")
        return
    if options.out is None:
        raise InputError("a cohort folder needs --out, the CSV file to write")
    found = predict(settings, site, options.folder, options.out, options.nodule, options.overlays)
    scored = found["probability"].notna()
    print(f"{options.out}: {scored.sum()} nodules, {int(found['decision'].sum())} called positive")
    for nodule, statement in found.loc[~scored, ["nodule_id", "statement"]].itertuples(index=False):
        print(f"  nodule {nodule}: {statement}")


def _ingest(options: argparse.Namespace) -> None:
    from dgfnet.ingest import dicom_tree, public, tree

    if options.kind == "folder":
        account = tree.import_folder(options.source, options.out, options.image, options.mask, options.labels)
    elif options.kind == "dicom":
        account = dicom_tree.import_dicom(options.source, options.out, options.labels)
    else:
        drawn = (options.out, options.seed, options.external_share)
        if options.kind == "ddti":
            account = public.import_ddti(options.source, *drawn)
        elif options.kind == "lidc-voi":
            account = public.import_lidc(options.source, *drawn)
        else:
            account = public.pair_ddti_lidc(options.ddti, options.lidc, *drawn)
    print(f"{options.out}: {dict(account.used)}; not used (row by row in not_used.csv):")
    for reason, count in account.reasons().items():
        print(f"{count:5d}  {reason}")


def _add_ingest(commands: Any) -> None:
    """`dgfnet ingest KIND`."""
    ingest = commands.add_parser("ingest", help="make a cohort folder (docs/how-to/ingest.md)")
    kinds = ingest.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind, text in (
        ("folder", "from files whose paths say whose they are"),
        ("dicom", "from a DICOM export with DICOM-SEG"),
        ("ddti", "from the public ultrasound set DDTI"),
        ("lidc-voi", "from the public CT set LIDC VOI"),
        ("ddti-lidc", "from both public sets, paired by class"),
    ):
        parser = kinds.add_parser(kind, help=text)
        if kind == "ddti-lidc":
            for name in ("ddti", "lidc"):
                parser.add_argument(f"--{name}", type=Path, required=True, help="folder or archive")
        else:
            parser.add_argument("source", type=Path)
        parser.add_argument("--out", type=Path, required=True, help="folder to make")
        if kind in ("folder", "dicom"):
            parser.add_argument(
                "--labels", type=Path, required=True, help="table: patient_id, lnm_central ..."
            )
        else:
            parser.add_argument("--seed", type=int, default=1)
            parser.add_argument("--external-share", type=float, default=0.2)
        if kind == "folder":
            for name in ("image", "mask"):
                parser.add_argument(f"--{name}", action="append", default=[], metavar="PATTERN")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dgfnet", description="Lymph-node metastasis from ultrasound and CT."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="STAGE")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--params", type=Path, default=Path("params.yaml"), help="settings file")
    shared.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override section.key=value; several allowed",
    )
    for name, (_, text) in STAGES.items():
        stage = commands.add_parser(name, parents=[shared], help=text)
        stage.add_argument("--site", default="all", help="central, lateral or all")
        if name in ("tune", "crossval"):
            stage.add_argument("--variant", default="all", help="one variant or all of the settings")
        if name == "attribute":
            stage.add_argument(
                "--nodule", metavar="ID", help="explain this nodule alone, into work/attribution"
            )
            stage.add_argument(
                "--variant", default="all", help="another than the settings'; unimodal with --nodule"
            )
    everything = commands.add_parser("all", parents=[shared], help="every stage, one after the other")
    everything.add_argument("--site", default="all", help="central, lateral or all")
    commands.add_parser("summary", parents=[shared], help="print the results beside the best reachable ones")
    phantom = commands.add_parser("phantom", parents=[shared], help="generate a phantom cohort")
    phantom.add_argument("--out", type=Path, help="folder of the cohort; its truth goes to OUT-truth")
    for name, kind in (("patients", int), ("seed", int), ("signal", float)):
        phantom.add_argument(f"--{name}", type=kind, help=f"instead of phantom.{name} in the settings")
    for name, text in (
        ("promote", "judge a registered version and make it champion if it passes"),
        ("rollback", "give the alias champion back to the version that had it before"),
        ("history", "every decision about a site's versions"),
        ("lineage", "commit, data, settings and runs that a version comes from"),
        ("reproduce", "train the fold of a version again, from its commit and data, and compare"),
    ):
        registry = commands.add_parser(name, parents=[shared], help=text)
        registry.add_argument("site", choices=("central", "lateral"))
        if name in ("promote", "lineage", "reproduce"):
            registry.add_argument("version")
        if name == "promote":
            registry.add_argument("--dry-run", action="store_true", help="judge and change nothing")
        if name == "reproduce":
            registry.add_argument("--into", type=Path, metavar="FOLDER", help="fresh folder to make")
            registry.add_argument("--tolerance", type=float, help="instead of register.tolerance")
    scored = commands.add_parser("predict", parents=[shared], help="score a cohort folder with a champion")
    scored.add_argument("site", choices=("central", "lateral"))
    scored.add_argument("folder", type=Path, nargs="?", help="cohort folder; labels may be empty")
    for name in ("us", "ct"):
        scored.add_argument(
            f"--{name}",
            type=Path,
            nargs=2,
            action="append",
            metavar=("IMAGE", "MASK"),
            help="of one case, instead of a folder; may be repeated",
        )
    scored.add_argument("--out", type=Path, help="CSV file to write")
    scored.add_argument("--overlays", type=Path, help="folder for a picture of each nodule")
    scored.add_argument("--nodule", help="one nodule's id; all without it")
    served = commands.add_parser("serve", parents=[shared], help="answer requests with a champion")
    served.add_argument("site", choices=("central", "lateral"))
    served.add_argument("--host", default="127.0.0.1", help="127.0.0.1: this machine alone")
    served.add_argument("--port", type=int, default=5001)
    _add_ingest(commands)
    pushed = commands.add_parser("push", help="copy a folder to S3 (docs/how-to/s3.md)")
    pushed.add_argument("folder", type=Path)
    pushed.add_argument("address", metavar="s3://BUCKET/PREFIX")
    pulled = commands.add_parser("pull", help="copy a folder from S3, checked by sha256")
    pulled.add_argument("address", metavar="s3://BUCKET/PREFIX")
    pulled.add_argument("folder", type=Path)
    return parser


def _overrides(options: argparse.Namespace) -> list[str]:
    """`--set` texts (MLproject passes several in one, blank-separated), and the short forms spelled out."""
    texts = [text for given in options.set for text in given.split()]
    if getattr(options, "site", "all") != "all":
        texts.append(f"base.sites=[{options.site}]")
    if getattr(options, "variant", "all") != "all":
        section = "tune" if options.command == "tune" else "crossval"
        if options.command != "attribute":
            texts.append(f"{section}.variants=[{options.variant}]")
        elif not options.nodule:
            texts.append(f"attribute.variant={options.variant}")
    if getattr(options, "tolerance", None) is not None:
        texts.append(f"register.tolerance={options.tolerance}")
    for name in ("patients", "seed", "signal"):
        if options.command == "phantom" and getattr(options, name) is not None:
            texts.append(f"phantom.{name}={getattr(options, name)}")
    return texts


if __name__ == "__main__":
    main()
