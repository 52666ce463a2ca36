"""The command `dgfnet`: its errors and its stages; the commands that are no stages are in `commands`.

Every command is one function with its options beside it. Heavy imports stand inside the functions, so that
`--help` and shell completion answer at once.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dgfnet.commands import cohorts, registry, scoring
from dgfnet.commands.options import SITES, InOrder, overrides, settings_options, site_option, with_settings
from dgfnet.errors import InputError, explained

if TYPE_CHECKING:
    from dgfnet.settings import Settings

# nobody is phoned: these are off unless the user switched them on
PRIVATE = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DVC_NO_ANALYTICS": "true",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    "GIT_PYTHON_REFRESH": "quiet",
}
QUIET = {
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# a server that does not answer is told within half a minute; MLflow itself tries for four
SERVER = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "9",  # seconds
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
}
# empty, it would let MLflow 3.17 trust any certificate
CERTIFICATE = "MLFLOW_TRACKING_SERVER_CERT_PATH"
STAGES = {  # name: (module with `run(settings)`, help); in the order of the pipeline
    "cohort": ("dgfnet.cohort.stage", "Read the manifest, screen the nodules, make the folds."),
    "audit": ("dgfnet.audit.stage", "Look for pictures of two patients, and for shortcuts."),
    "preprocess": ("dgfnet.preprocess.stage", "Cut regions of interest and targets into the archive."),
    "outline": ("dgfnet.outline.stage", "Learn to outline a nodule in a box."),
    "pretrain": ("dgfnet.pretrain", "Train the shared segmentation phase."),
    "tune": ("dgfnet.tune", "Search settings inside the training part of every fold."),
    "crossval": ("dgfnet.crossval", "Cross-validate the variants at every site."),
    "compare": ("dgfnet.compare.stage", "Compare the variants."),
    "register": ("dgfnet.register.stage", "Register and promote the best model of each site."),
    "external": ("dgfnet.external.stage", "Validate the champions on the external cohort."),
    "holdout": ("dgfnet.holdout", "Validate as the paper's Table 4 does, on one split."),
    "attribute": ("dgfnet.attribution.stage", "Explain predictions: US beside CT, and where networks look."),
    "applicability": ("dgfnet.applicability.stage", "For whom the models work, and who needs CT."),
    "report": ("dgfnet.report.stage", "Write the report."),
}
COMPLETE = "_DGFNET_COMPLETE"  # click's name of the variable by which a shell asks for completions


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command `dgfnet`; returns when it succeeded.

    Not by click's own `main`, which hides an EOFError or a broken pipe of any stage behind a bare status.

    Raises:
        SystemExit: 2 on bad input, with one message on stderr; 130 on Ctrl-C; 1 when `reproduce` disagrees;
            0 after --help and --version.
    """
    for name, value in (PRIVATE | QUIET | SERVER).items():
        os.environ.setdefault(name, value)
    if not os.environ.get(CERTIFICATE):
        os.environ.pop(CERTIFICATE, None)
    # imports make objects and no garbage; looking for it took a tenth of a start
    gc.set_threshold(100_000, 50, 50)
    if COMPLETE in os.environ:
        from click.shell_completion import shell_complete

        raise SystemExit(shell_complete(command_line, {}, "dgfnet", COMPLETE, os.environ[COMPLETE]))
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = " ".join(["dgfnet", *given[:1]])
    try:
        with command_line.make_context("dgfnet", [*given]) as context:
            command_line.invoke(context)
    except click.exceptions.Exit as end:
        raise SystemExit(end.exit_code) from None
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        raise SystemExit(2) from None
    except click.UsageError as error:
        name = error.ctx.command_path if error.ctx else name
        print(f"{name}: {error.format_message()}\nTry '{name} --help'.", file=sys.stderr)
        raise SystemExit(2) from None
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        raise SystemExit(130) from None  # as shells say it of Ctrl-C
    except Exception as error:
        if (sentence := explained(error)) is None:
            raise  # a fault of ours: the traceback is what a report of it needs
        print(f"{name}: {sentence}", file=sys.stderr)
        raise SystemExit(2) from None


@click.group(cls=InOrder, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="dgfnet", message="dgfnet %(version)s")
def command_line() -> None:
    """Lymph-node metastasis from ultrasound and CT."""


variant_option = click.option("--variant", default="all", help="one variant or all of the settings")


def run_stage(name: str, settings: Settings) -> None:
    """Runs a stage."""
    import_module(STAGES[name][0]).run(settings)


def _stage(name: str) -> click.Command:
    """Returns the command of a stage that has the options of every stage."""

    @click.command(name, help=STAGES[name][1])
    @with_settings(site=SITES)
    @site_option
    def stage(settings: Settings) -> None:
        run_stage(name, settings)

    return stage


@click.command(help=STAGES["tune"][1])
@with_settings(site=SITES, variant="tune.variants=[{}]")
@site_option
@variant_option
def tune(settings: Settings) -> None:
    """Runs the stage; --variant is short for tune.variants."""
    run_stage("tune", settings)


@click.command(help=STAGES["crossval"][1])
@with_settings(site=SITES, variant="crossval.variants=[{}]")
@site_option
@variant_option
def crossval(settings: Settings) -> None:
    """Runs the stage; --variant is short for crossval.variants."""
    run_stage("crossval", settings)


@click.command(help=STAGES["attribute"][1])
@settings_options
@site_option
@click.option("--nodule", metavar="ID", help="explain this nodule alone, into work/attribution")
@click.option("--variant", default="all", help="another than the settings'; unimodal with --nodule")
def attribute(params: Path, changes: tuple[str, ...], nodule: str | None, **values: str) -> None:
    """Runs the stage, or explains one nodule; --variant is short for attribute.variant in the stage only."""
    from dgfnet.settings import load

    if nodule:
        settings = load(params, overrides(changes, {"site": SITES}, values))
        _explain(settings, nodule, values["variant"])
    else:
        short = {"site": SITES, "variant": "attribute.variant={}"}
        run_stage("attribute", load(params, overrides(changes, short, values)))


def _explain(settings: Settings, nodule: str, variant: str) -> None:
    from dgfnet.attribution.single import explain

    faults = []
    for site in settings.base.sites:
        try:
            print(explain(settings, site, nodule, variant))
        except InputError as error:  # a nodule may have a label of one site only
            faults.append(f"{site}: {error}")
    if len(faults) == len(settings.base.sites):
        raise InputError("\n".join(faults))


_NARROWED = {"tune": tune, "crossval": crossval, "attribute": attribute}
for _name in STAGES:
    command_line.add_command(_NARROWED.get(_name) or _stage(_name))


@command_line.command("all")
@with_settings(site=SITES)
@site_option
def every_stage(settings: Settings) -> None:
    """Run every stage, one after the other."""
    for name in STAGES:
        run_stage(name, settings)


@command_line.command()
@with_settings()
def summary(settings: Settings) -> None:
    """Print the results beside the best reachable ones."""
    from dgfnet.summary import run

    run(settings)


for _command in (
    *(cohorts.phantom, registry.promote, registry.rollback, registry.champions, registry.history),
    *(registry.lineage, registry.reproduce_version, registry.export_model, registry.import_model),
    *(scoring.score, scoring.validate_version, scoring.recalibrate_champion),
    *(scoring.monitor_champion, scoring.examples, scoring.serve_champion),
    *(cohorts.ingest, cohorts.push, cohorts.pull),
):
    command_line.add_command(_command)


if __name__ == "__main__":
    main()
