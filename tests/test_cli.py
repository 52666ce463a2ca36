"""The command line: what every command hands on, its exit statuses, its help, and the table in the docs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType, SimpleNamespace

import click
import pandas as pd
import pytest

from dgfnet import cli
from dgfnet.commands.options import overrides
from dgfnet.errors import InputError
from dgfnet.serving.access import Access
from dgfnet.serving.connection import Limits

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "how-to" / "command-line.md"


def tree(group=cli.command_line, path=()):
    """Every command that is no group, by the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from tree(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(tree())


def table():
    """The table of docs/how-to/command-line.md, which `python tests/test_cli.py` prints."""
    rows = ["| command | options | settings | does |", "| --- | --- | --- | --- |"]
    for path, command in COMMANDS.items():
        arguments = [p for p in command.params if isinstance(p, click.Argument)]
        options = [p.opts[0] for p in command.params if isinstance(p, click.Option)]
        shown = [p.human_readable_name if p.required else f"[{p.human_readable_name}]" for p in arguments]
        own = " ".join(f"`{name}`" for name in options if name not in ("--params", "--set"))
        settings = "yes" if {"--params", "--set"} <= set(options) else ""
        summary = command.help.splitlines()[0]
        first, *more = textwrap.wrap(own, 110) or [""]
        rows.append(f"| `{' '.join([*path, *shown])}` | {first} | {settings} | {summary} |")
        rows += [f"| | {line} | | |" for line in more]
    return re.sub(" +", " ", "\n".join(rows))


class Behind:
    """Replaces what stands behind the commands, so that nothing heavy is done, and notes the calls."""

    def __init__(self, monkeypatch):
        self.monkeypatch = monkeypatch
        self.calls = []

    def replace(self, module, **answers):
        stub = ModuleType(module)
        for name, answer in answers.items():
            setattr(stub, name, self.function(f"{module.removeprefix('dgfnet.')}.{name}", answer))
        self.monkeypatch.setitem(sys.modules, module, stub)
        package, _, leaf = module.rpartition(".")
        if package in sys.modules:
            self.monkeypatch.setattr(sys.modules[package], leaf, stub, raising=False)

    def function(self, name, answer):
        def noted(*arguments):
            self.calls.append((name, *arguments))
            if isinstance(answer, BaseException):
                raise answer
            return answer(*arguments) if callable(answer) else answer

        return noted

    def only(self):
        """The one call's name, the overrides in its settings, and its other arguments."""
        ((name, settings, *others),) = self.calls
        return name, settings.overrides, others


@pytest.fixture
def behind(monkeypatch, params):
    monkeypatch.chdir(params.parent)
    for name in [name for name in os.environ if name.startswith("_DGFNET")]:
        monkeypatch.delenv(name)
    made = Behind(monkeypatch)
    for name in cli.STAGES:
        monkeypatch.setitem(cli.STAGES, name, (f"stages.{name}", ""))
        made.replace(f"stages.{name}", run=None)
    scores = pd.DataFrame(
        {
            "nodule_id": ["A", "B", "C"],
            "probability": [0.75, 0.25, None],
            "decision": [1, 0, None],
            "statement": ["", "", "no CT"],
        }
    )
    account = SimpleNamespace(used={"nodules": 7}, reasons=lambda: {"no mask": 2}, origin={})
    moved = SimpleNamespace(files=3, moved=2, checked="sha256")
    again = SimpleNamespace(text=lambda: "the same", agrees=True)
    made.replace("dgfnet.summary", run=None)
    made.replace("dgfnet.attribution.single", explain=lambda settings, site, *_: f"explained {site}")
    made.replace("dgfnet.phantom.generate", generate=None)
    made.replace("dgfnet.registry.commands", promote="judged", rollback="back", history="all", lineage="from")
    made.replace("dgfnet.reproduce.reproduction", reproduce=again)
    made.replace("dgfnet.serve", serve=None)
    made.replace("dgfnet.predict", predict=scores, predict_case=scores.iloc[:1, 1:2])
    made.replace("dgfnet.ingest.tree", import_folder=account)
    made.replace("dgfnet.ingest.dicom_tree", import_dicom=account)
    public = dict.fromkeys(("import_ddti", "import_lidc", "pair_ddti_lidc"), account)
    made.replace("dgfnet.ingest.public", **public)
    made.replace("dgfnet.s3", push=moved, pull=moved)
    return made


def run(line):
    """Runs words without blanks as a command line; returns the exit status."""
    try:
        cli.main(line.split())
    except SystemExit as end:
        return end.code
    return 0


@pytest.mark.parametrize(
    ("changes", "values", "expected"),
    [
        ([], {"site": "all", "tolerance": None}, []),
        (["a.b=1 c.d=2", "", "e.f=3"], {"site": "all", "tolerance": None}, ["a.b=1", "c.d=2", "e.f=3"]),
        ([], {"site": "lateral", "tolerance": 1e-6}, ["base.sites=[lateral]", "register.tolerance=1e-06"]),
        ([], {"site": "all", "tolerance": 0.0}, ["register.tolerance=0.0"]),
        (["x.y=1"], {"tolerance": None, "site": "central"}, ["x.y=1", "base.sites=[central]"]),
    ],
)
def test_overrides_are_the_texts_of_set_and_then_the_short_forms(changes, values, expected):
    short = {"site": "base.sites=[{}]", "tolerance": "register.tolerance={}"}
    assert overrides(changes, short, values) == expected


@pytest.mark.parametrize("stage", cli.STAGES)
def test_a_stage_runs_with_the_settings_of_its_options(stage, behind):
    assert run(f"{stage} --set training.batch=16 --site lateral --set base.seed=4") == 0
    name, changes, others = behind.only()
    assert name == f"stages.{stage}.run"
    assert changes == ("training.batch=16", "base.seed=4", "base.sites=[lateral]")
    settings = behind.calls[0][1]
    assert (settings.base.sites, settings.base.seed, settings.training.batch) == (("lateral",), 4, 16)
    assert others == []


@pytest.mark.parametrize("stage", cli.STAGES)
def test_a_stage_without_options_has_the_settings_of_the_file(stage, behind):
    assert run(stage) == 0
    assert behind.only() == (f"stages.{stage}.run", (), [])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tune --variant dgf", ("tune.variants=[dgf]",)),
        ("tune --variant=all --site=all", ()),
        ("crossval --variant concat --site central", ("base.sites=[central]", "crossval.variants=[concat]")),
        (
            "crossval --set base.sites=[lateral] --site central",
            ("base.sites=[lateral]", "base.sites=[central]"),
        ),
        ("attribute --variant concat", ("attribute.variant=concat",)),
    ],
)
def test_short_forms_of_a_stage(line, expected, behind):
    assert run(line) == 0
    assert behind.only()[1] == expected


def test_one_text_of_set_may_hold_several_overrides_or_none_as_mlproject_passes_them(behind):
    cli.main(["crossval", "--site", "all", "--variant", "all", "--set", "base.seed=3 training.batch=16"])
    cli.main(["crossval", "--site", "all", "--variant", "all", "--set", ""])
    assert [call[1].overrides for call in behind.calls] == [("base.seed=3", "training.batch=16"), ()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("report.title='A b'", ("report.title='A b'",)),
        ("report.title=A b base.seed=3", ("report.title=A b", "base.seed=3")),
        ("base.seed=3 network.dgf.branches=[dimension, modality]  training.batch=16 ",
         ("base.seed=3", "network.dgf.branches=[dimension, modality]", "training.batch=16")),
        ('report.title="see base.seed=3" base.seed=4', ('report.title="see base.seed=3"', "base.seed=4")),
        ("report.title=O'Brien base.seed=4", ("report.title=O'Brien", "base.seed=4")),
        ("tune.space={training.batch: {low: 8, high: 9}}",
         ("tune.space={training.batch: {low: 8, high: 9}}",)),
    ],
)  # fmt: skip
def test_a_value_may_hold_blanks(behind, text, expected):
    cli.main(["crossval", "--set", text])
    assert behind.calls[0][1].overrides == expected


def test_params_names_another_file(behind, params, tmp_path):
    (tmp_path / "other.yaml").write_text(params.read_text())
    assert run(f"cohort --params {tmp_path / 'other.yaml'}") == 0
    assert behind.calls[0][1].root == tmp_path


def test_all_runs_the_stages_in_order_with_one_tree_of_settings(behind):
    assert run("all --site central") == 0
    assert [name for name, _ in behind.calls] == [f"stages.{stage}.run" for stage in cli.STAGES]
    assert {settings.overrides for _, settings in behind.calls} == {("base.sites=[central]",)}


def test_attribute_explains_one_nodule_where_it_has_a_label(behind, capsys):
    def explain(settings, site, nodule, variant):
        if site == "lateral":
            raise InputError("no label")
        return f"{nodule} by {variant}"

    behind.replace("dgfnet.attribution.single", explain=explain)
    assert run("attribute --nodule N1 --variant us_resnet") == 0
    assert [call[2:] for call in behind.calls] == [
        ("central", "N1", "us_resnet"),
        ("lateral", "N1", "us_resnet"),
    ]
    assert behind.calls[0][1].overrides == ()  # a unimodal variant is none of the stage's
    assert capsys.readouterr().out == "N1 by us_resnet\n"
    assert run("attribute --nodule N1 --site lateral") == 2
    assert capsys.readouterr().err == "dgfnet attribute: lateral: no label\n"


@pytest.mark.parametrize(
    ("line", "call", "changes", "others", "printed"),
    [
        ("summary", "summary.run", (), [], ""),
        ("promote central 3", "registry.commands.promote", (), ["central", "3", False, False], "judged\n"),
        (
            "promote --dry-run lateral 3",
            "registry.commands.promote",
            (),
            ["lateral", "3", True, False],
            "judged\n",
        ),
        (
            "promote lateral --dry-run 3",
            "registry.commands.promote",
            (),
            ["lateral", "3", True, False],
            "judged\n",
        ),
        (
            "promote lateral --without-comparison 3",
            "registry.commands.promote",
            (),
            ["lateral", "3", False, True],
            "judged\n",
        ),
        ("rollback central", "registry.commands.rollback", (), ["central"], "back\n"),
        ("history lateral", "registry.commands.history", (), ["lateral"], "all\n"),
        ("lineage central 12", "registry.commands.lineage", (), ["central", "12"], "from\n"),
        ("reproduce central 1", "reproduce.reproduction.reproduce", (), ["central", "1", None], "the same\n"),
        (
            "reproduce --into new central 1 --tolerance 1e-6",
            "reproduce.reproduction.reproduce",
            ("register.tolerance=1e-06",),
            ["central", "1", Path("new")],
            "the same\n",
        ),
        ("serve lateral", "serve.serve", (), ["lateral", "127.0.0.1", 5001, Limits(), Access(), None], ""),
        (
            "serve --port 1 lateral --host ::1",
            "serve.serve",
            (),
            ["lateral", "::1", 1, Limits(), Access(), None],
            "",
        ),
        (
            *(
                "serve lateral --header-seconds 1 --body-seconds 2 --silence-seconds 3 --stop-seconds 4",
                "serve.serve",
            ),
            (),
            ["lateral", "127.0.0.1", 5001, Limits(head_s=1, body_s=2, silence_s=3, stop_s=4), Access(), None],
            "",
        ),
        (
            "serve central --tls cert.pem key.pem --log",
            "serve.serve",
            (),
            [
                "central",
                "127.0.0.1",
                5001,
                Limits(),
                Access(None, (Path("cert.pem"), Path("key.pem")), True),
                None,
            ],
            "",
        ),
        (
            "predict central folder --out o.csv",
            "predict.predict",
            (),
            ["central", Path("folder"), Path("o.csv"), None, None],
            "o.csv: 2 nodules, 1 called positive\n  nodule C: no CT\n",
        ),
        (
            "predict --nodule A --overlays p central --out o.csv folder",
            "predict.predict",
            (),
            ["central", Path("folder"), Path("o.csv"), "A", Path("p")],
            "o.csv: 2 nodules, 1 called positive\n  nodule C: no CT\n",
        ),
        (
            "predict lateral --us a am --ct c cm --us b bm --out o.csv --segment nodule --spacing us 0.1"
            " --record age=47 --record sex=F",
            "predict.predict_case",
            (),
            [
                "lateral",
                {"us": ((Path("a"), Path("am")), (Path("b"), Path("bm"))), "ct": ((Path("c"), Path("cm")),)},
                Path("o.csv"),
                None,
                "nodule",
                {"us": 0.1},
                ("age=47", "sex=F"),
            ],
            "probability         0.7500\n",
        ),
    ],
)
def test_a_command_hands_on_its_arguments(line, call, changes, others, printed, behind, capsys):
    assert run(line) == 0
    name, made, given = behind.only()
    site = [f"base.sites=[{site}]" for site in ("central", "lateral") if site in line.split()]
    assert (name, made, given) == (call, (*site, *changes), others)
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("phantom --out x/y --patients 40", ("x/y", "x/y-truth", 40, None, None)),
        ("phantom --set phantom.seed=8 --seed 9 --signal 0", ("data", "data-truth", None, 9, 0.0)),
    ],
)
def test_phantom(line, expected, behind, tiny):
    assert run(line) == 0
    ((_, out, truth, patients, external, seed, signal_, *how),) = behind.calls
    base = tiny.phantom  # nothing of the phantom is changed there
    given = (patients, seed, signal_)
    assert given == tuple(
        value if value is not None else getattr(base, name)
        for name, value in zip(("patients", "seed", "signal"), expected[2:], strict=True)
    )
    assert (out, truth) == (ROOT / expected[0], ROOT / expected[1])
    rest = (base.external_patients, base.informative, base.interaction, base.style)
    assert (external, *how) == rest


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "folder src --out o --labels l --image i1 --mask m1 --image i2 --mask m2",
            ("tree.import_folder", Path("src"), Path("o"), ("i1", "i2"), ("m1", "m2"), Path("l"), (), False),
        ),
        (
            "folder --labels l --out o src --segment 2 --resample",
            ("tree.import_folder", Path("src"), Path("o"), (), (), Path("l"), ("2",), True),
        ),
        (
            "dicom src --out o --labels l --segment nodule --segment lesion",
            ("dicom_tree.import_dicom", Path("src"), Path("o"), Path("l"), ("nodule", "lesion"), False),
        ),
        ("ddti src --out o", ("public.import_ddti", Path("src"), Path("o"), 1, 0.2)),
        ("lidc-voi --seed 3 src --out o", ("public.import_lidc", Path("src"), Path("o"), 3, 0.2)),
        (
            "ddti-lidc --ddti d --lidc l --out o --external-share 0.5",
            ("public.pair_ddti_lidc", Path("d"), Path("l"), Path("o"), 1, 0.5),
        ),
    ],
)
def test_ingest(line, expected, behind, capsys):
    assert run(f"ingest {line}") == 0
    assert behind.calls == [(f"ingest.{expected[0]}", *expected[1:])]
    assert capsys.readouterr().out == (
        "o: {'nodules': 7}; not used (row by row in not_used.csv):\n    2  no mask\n"
    )


def test_push_and_pull_have_their_arguments_in_the_order_from_to(behind, capsys):
    assert run("push folder s3://b/p") == 0
    assert run("pull s3://b/p folder") == 0
    assert behind.calls == [
        ("s3.push", Path("folder"), "s3://b/p"),
        ("s3.pull", "s3://b/p", Path("folder")),
    ]
    assert capsys.readouterr().out == "3 files, 2 transferred; checked by sha256\n" * 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nope", "dgfnet: No such command 'nope'"),
        ("--nope", "dgfnet: No such option"),
        ("ingest nope", "dgfnet ingest: No such command 'nope'"),
        ("cohort --nope", "dgfnet cohort: No such option"),
        ("cohort extra", "dgfnet cohort: Got unexpected extra argument (extra)"),
        ("cohort --set", "dgfnet cohort: Option '--set' requires an argument"),
        ("cohort --set nonsense", "dgfnet cohort: --set nonsense: expected section.key=value"),
        ("cohort --params nope.yaml", "nope.yaml: no such settings file"),
        ("cohort --site nope", "dgfnet cohort: params.yaml: base.sites"),
        ("promote central", "dgfnet promote: Missing argument 'VERSION'"),
        ("promote middle 3", "'middle' is not one of 'central', 'lateral'"),
        ("reproduce central 1 --tolerance much", "dgfnet reproduce: Invalid value for '--tolerance'"),
        ("phantom --patients 4.5", "dgfnet phantom: Invalid value for '--patients'"),
        ("phantom --out --seed 3", "expected a path, found --seed"),
        ("predict central --us image --ct image mask", "--us needs two values, IMAGE and MASK"),
        ("predict central --us image", "dgfnet predict: --us needs two values, IMAGE and MASK"),
        ("predict central --us=image", "(docs/how-to/predict.md); found image"),
        ("predict central --ct", "--ct needs two values, IMAGE and MASK"),
        ("predict centrall folder", "'centrall' is not one of 'central', 'lateral'; did you mean central?"),
        ("cohort --site latral", "found 'latral'; did you mean lateral?"),
        ("crossval --variant concatt", "found 'concatt'; did you mean concat?"),
        ("crossvall", "dgfnet: No such command 'crossvall'. Did you mean 'crossval'?"),
        (
            "cohort --set base.profile=papr",
            "'paper', 'paper_size']; did you mean paper?",
        ),
        ("predict central", "dgfnet predict: expected a cohort folder, or one case: --us IMAGE MASK"),
        ("predict central folder --us i m", "dgfnet predict: expected a cohort folder, or one case"),
        ("predict central --us i m --nodule A", "one case by its files has none"),
        ("predict central folder", "dgfnet predict: a cohort folder needs --out, the CSV file to write"),
        ("serve central --port http", "dgfnet serve: Invalid value for '--port'"),
        ("ingest folder src --out o", "dgfnet ingest folder: Missing option '--labels'"),
        ("push folder", "dgfnet push: Missing argument"),
        ("", "Commands:"),
        ("ingest", "Commands:"),
    ],
)
def test_bad_input_is_status_2_with_a_message_on_stderr_and_nothing_done(line, said, behind, capsys):
    assert run(line) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""
    assert behind.calls == []


def test_an_input_error_of_a_stage_is_one_line_and_status_2(behind, capsys):
    behind.replace("stages.cohort", run=InputError("nodules.csv row 5: bad"))
    assert run("cohort") == 2
    assert capsys.readouterr().err == "dgfnet cohort: nodules.csv row 5: bad\n"


def test_ctrl_c_is_status_130(behind, capsys):
    behind.replace("stages.cohort", run=lambda settings: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        assert run("cohort") == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "dgfnet cohort: interrupted\n"


def test_a_reproduction_that_disagrees_is_status_1(behind, capsys):
    differs = SimpleNamespace(text=lambda: "0.5 is not 0.6", agrees=False)
    behind.replace("dgfnet.reproduce.reproduction", reproduce=differs)
    assert run("reproduce central 1") == 1
    assert capsys.readouterr().out == "0.5 is not 0.6\n"


@pytest.mark.parametrize("error", [EOFError("ran out of input"), BrokenPipeError(32, "pipe"), KeyError("x")])
def test_other_errors_of_a_stage_keep_their_traceback(error, behind):
    """click's own main makes a bare `Aborted!` of the first and a silent status 1 of the second."""
    behind.replace("stages.cohort", run=error)
    with pytest.raises(type(error)) as raised:
        run("cohort")
    assert raised.value is error


@pytest.mark.parametrize("path", [(), ("ingest",), *COMMANDS], ids=" ".join)
def test_every_command_has_help_of_itself_and_of_every_option(path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    shown = []
    for flag in ("-h", "--help"):
        assert run(" ".join([*path, flag])) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert shown[0].startswith(" ".join(["Usage: dgfnet", *path]))
    if path in COMMANDS:
        assert COMMANDS[path].help
        assert [p.name for p in COMMANDS[path].params if isinstance(p, click.Option) and not p.help] == []
    else:  # a list of commands, none of them cut short
        assert "..." not in shown[0].replace("[ARGS]...", "")


def test_stages_are_listed_in_the_order_of_the_pipeline(capsys):
    assert run("--help") == 0
    listed = re.findall(r"^  ([a-z]+)  ", capsys.readouterr().out.split("Commands:")[1], re.MULTILINE)
    assert listed[: len(cli.STAGES)] == list(cli.STAGES)


def test_version(capsys):
    written = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert run("--version") == 0
    assert capsys.readouterr().out == f"dgfnet {written[1]}\n"


def test_nobody_is_phoned_unless_the_user_says_so(behind, monkeypatch):
    for name in cli.PRIVATE | cli.QUIET:
        monkeypatch.setenv(name, "mine")
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    assert run("cohort") == 0
    expected = cli.PRIVATE | cli.QUIET | {"RAY_USAGE_STATS_ENABLED": "1"}
    assert {name: os.environ[name] for name in expected} == expected


PROBE = """
import contextlib, io, os, sys
before = set(sys.modules)
from dgfnet import cli
def run(*words):
    out = io.TextIOWrapper(io.BytesIO())  # click writes completions as bytes
    try:
        with contextlib.redirect_stdout(out):
            cli.main(list(words))
    except SystemExit as end:
        assert end.code == 0, words
    out.flush()
    return out.buffer.getvalue().decode()
for words in [()] + [(name,) for name in cli.command_line.commands]:
    assert run(*words, "--help")
assert run("--version")
os.environ |= {"_DGFNET_COMPLETE": "bash_complete", "COMP_WORDS": "dgfnet cross", "COMP_CWORD": "1"}
assert run() == "plain,crossval\\n"
print(*sorted(set(sys.modules) - before))
"""


def test_help_version_and_completion_import_click_and_nothing_else():
    """Nothing outside the standard library but click, and of the package only the command line itself."""
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.split()
    assert {name.split(".")[0] for name in loaded} - sys.stdlib_module_names <= {"click", "dgfnet"}
    own = {name for name in loaded if name.startswith("dgfnet") and not name.startswith("dgfnet.commands")}
    assert own == {"dgfnet", "dgfnet.cli", "dgfnet.errors", "dgfnet.vocabulary"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("dgfnet ro", ["plain,rollback"]),
        ("dgfnet ingest dd", ["plain,ddti", "plain,ddti-lidc"]),
        ("dgfnet promote c", ["plain,central"]),
        ("dgfnet promote central 3 --d", ["plain,--dry-run"]),
        ("dgfnet phantom --out da", ["file,da"]),
    ],
)
def test_completion(words, expected, monkeypatch, capsys):
    monkeypatch.setenv("_DGFNET_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    assert run("") == 0
    assert capsys.readouterr().out.split() == expected


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_script_of_a_shell_calls_back_what_the_docs_say(shell, monkeypatch, capsys):
    monkeypatch.setenv("_DGFNET_COMPLETE", f"{shell}_source")
    assert run("") == 0
    assert f"_DGFNET_COMPLETE={shell}_complete" in capsys.readouterr().out
    assert f"_DGFNET_COMPLETE={shell}_source dgfnet" in DOCS.read_text(encoding="utf-8")


def test_the_docs_list_every_command_with_its_options():
    assert table() in DOCS.read_text(encoding="utf-8"), "python tests/test_cli.py prints the table"


def test_commands_in_the_docs_and_in_mlproject_exist_with_their_options():
    pages = [
        ROOT / "README.md",
        ROOT / "MLproject",
        ROOT / "Makefile",
        *sorted(page for page in (ROOT / "docs").rglob("*.md") if page.name != "api.md"),  # imports
    ]
    shown = 0
    for page in pages:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for code in re.findall(r"(?:^\t?|[`\" ]|: )dgfnet ([a-z][^`\"#\n]*)", text, re.MULTILINE):
            words = code.split()
            path = tuple(words[: 2 if words[0] == "ingest" else 1])
            options = set(re.findall(r"(?<!\S)--[a-z-]+", code))
            if path == ("ingest",) or path[-1] == "KIND":
                continue
            assert path in COMMANDS, (page, code)
            known = {name for parameter in COMMANDS[path].params for name in parameter.opts}
            assert options <= known | {"--help"}, (page, code)
            shown += 1
    assert shown > 60


if __name__ == "__main__":
    print(table())
