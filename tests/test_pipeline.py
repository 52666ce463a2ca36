"""dvc.yaml, MLproject and the command line agree with the code."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml
from _ruamel_yaml import CParser
from ruamel.yaml import YAML

from dgfnet.cli import STAGES
from dgfnet.settings import Settings

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "project" / "dgfnet"
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def source_of(module: str) -> Path | None:
    """The file of a module of the package, if it is one."""
    path = ROOT / "project" / Path(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def imports(path: Path) -> set[str]:
    """Modules a file imports anywhere, deferred imports included; `from a import b` may mean module a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def reach(module: str) -> set[Path]:
    """Files that running a module can touch."""
    seen: set[Path] = set()
    waiting = [module]
    while waiting:
        path = source_of(waiting.pop())
        if path is None or path in seen:
            continue
        seen.add(path)
        waiting += [name for name in imports(path) if name.startswith("dgfnet")]
    return seen


def cover(files: set[Path]) -> list[str]:
    """The shortest list of paths that stands for exactly these files: folders where it has all their code."""
    listed = []

    def walk(folder: Path) -> None:
        code = {path for path in folder.rglob("*.py") if path.read_text().strip()}
        if folder != PACKAGE and code and code <= files:
            listed.append(folder)
            return
        for path in folder.iterdir():
            if path.is_dir() and path.name != "__pycache__":
                walk(path)
            elif path in files:
                listed.append(path)

    walk(PACKAGE)
    return [path.relative_to(ROOT).as_posix() for path in sorted(listed)]


def code_of(stage: str) -> set[Path]:
    """The files with code that a stage reaches, but for the list of public names, which no stage uses."""
    files = reach(STAGES[stage][0]) - {PACKAGE / "__init__.py"}
    return {path for path in files if path.read_text().strip()}


def listed(stage: str) -> list[str]:
    return [dep for dep in DVC[stage]["deps"] if dep.startswith("project/")]


def reruns(path: str) -> set[str]:
    """Stages whose own code an edit of a file changes (what they pass on is DVC's business)."""
    assert (PACKAGE / path).is_file()
    file = f"project/dgfnet/{path}"
    return {stage for stage in STAGES if any(f"{file}/".startswith(f"{dep}/") for dep in listed(stage))}


@pytest.mark.parametrize("stage", STAGES)
def test_the_code_among_the_deps_is_what_the_stage_reaches(stage):
    wanted = cover(code_of(stage))
    assert sorted(listed(stage)) == wanted, "\n".join(["deps of code should be", *wanted])


@pytest.mark.parametrize(
    ("path", "stages"),
    [
        ("cli.py", set()),  # a help text
        ("summary.py", set()),
        ("ingest/tree.py", set()),  # an importer
        ("phantom/ultrasound.py", set()),
        ("s3.py", set()),
        ("predict.py", set()),
        ("serving/server.py", set()),
        ("reproduce/reproduction.py", set()),
        ("compare/figures.py", {"compare"}),  # a figure
        ("report/figures.py", {"report"}),
        ("cohort/screening/flowchart.py", {"cohort"}),
        ("preprocess/contact.py", {"preprocess", "pretrain"}),  # both write sheets
        ("attribution/figures.py", {"attribute"}),
        ("registry/gate.py", {"register"}),
        ("training/losses.py", {"pretrain", "tune", "crossval", "holdout", "attribute"}),
    ],
)
def test_an_edit_reruns_no_stage_that_does_not_need_it(path, stages):
    assert reruns(path) == stages


def test_reach_follows_deferred_imports(tmp_path):
    module = tmp_path / "module.py"
    module.write_text("def f():\n    from dgfnet.cohort import folds\n    import dgfnet.tune\n")
    assert {"dgfnet.cohort.folds", "dgfnet.tune"} <= imports(module)


def test_stages_are_the_same_everywhere_and_in_one_order():
    entries = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
    assert list(DVC) == list(STAGES)
    assert [name for name in entries if name in STAGES] == list(STAGES)
    assert all(DVC[name]["cmd"] == f"dgfnet {name}" for name in STAGES)
    assert all(
        name in {field.alias or key for key, field in Settings.model_fields.items()} for name in STAGES
    )


def test_the_parameters_of_mlflow_run_are_typed_and_listed():
    entries = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \| (.*?) \|", (ROOT / "docs/how-to/mlflow.md").read_text(), re.MULTILINE
    )
    listed = {name: (kind, default.strip("`").replace("nothing", "")) for name, kind, default in rows}
    used = {}
    for name, entry in entries.items():
        for parameter, described in entry["parameters"].items():
            assert f"{{{parameter}}}" in entry["command"]
            assert used.setdefault(parameter, described) == described
        command = "all" if name == "main" else name
        assert f"python -m dgfnet.cli {command} --params {{project}}/params.yaml" in entry["command"]
    assert {name: (described["type"], described["default"]) for name, described in used.items()} == listed
    page = (ROOT / "docs/how-to/mlflow.md").read_text().replace("\n", " ")
    assert f"Entry points are `main` (`dgfnet all`) and the commands `{' '.join(list(entries)[1:])}`." in page


def test_the_tutorial_names_the_stages_in_their_order():
    page = (ROOT / "docs/tutorial/first-run.md").read_text().replace("\n", " ")
    assert f"in their order: {', '.join(f'`{name}`' for name in STAGES)}." in page


def test_settings_sections_listed_in_dvc_exist():
    known = {field.alias or name for name, field in Settings.model_fields.items()} | {"profiles"}
    for stage in DVC.values():
        assert {name.split(".")[0] for name in stage["params"]} <= known
        assert {"base", "profiles"} <= set(stage["params"])
        assert not {"sweep", "resources"} & set(stage["params"])


def test_conda_pins_equal_the_lock():
    lock = dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    pip = yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"][-1]["pip"]
    pins = dict(line.split("==") for line in pip if "==" in line)
    assert pins
    for name, version in pins.items():
        assert lock[name.split("[")[0]] == version


def test_cohort_pointer_names_the_phantom_of_the_settings():
    pointer = yaml.safe_load((ROOT / "data.dvc").read_text())["outs"][0]
    assert pointer["path"] == "data"
    assert re.fullmatch(r"[0-9a-f]{32}\.dir", pointer["md5"])
    assert json.dumps(pointer)  # plain data


def test_dvc_reads_its_files_with_the_parser_in_c_and_reads_in_them_what_we_do():
    """Of 5,000 lines of dvc.lock the parser in Python makes a second at every `dvc repro`."""
    reader = YAML(typ="safe")
    assert reader.Parser is CParser
    for name in ("params.yaml", "dvc.yaml"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert reader.load(text) == yaml.safe_load(text)
