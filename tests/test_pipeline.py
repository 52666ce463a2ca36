"""dvc.yaml, MLproject and the command line agree with the code."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

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


@pytest.mark.parametrize("stage", STAGES)
def test_every_file_a_stage_reaches_is_among_its_deps(stage):
    listed = [ROOT / dep for dep in DVC[stage]["deps"] if dep.startswith("project/")]
    reached = reach(STAGES[stage][0]) | {PACKAGE / "cli.py", PACKAGE / "errors.py"}
    reached = {path for path in reached if path.read_text().strip()}  # empty __init__.py
    missing = {p for p in reached if not any(p == dep or p.is_relative_to(dep) for dep in listed)}
    assert not missing


def test_reach_follows_deferred_imports(tmp_path):
    module = tmp_path / "module.py"
    module.write_text("def f():\n    from dgfnet.cohort import folds\n    import dgfnet.tune\n")
    assert {"dgfnet.cohort.folds", "dgfnet.tune"} <= imports(module)


@pytest.mark.parametrize("stage", STAGES)
def test_code_among_the_deps_exists_and_is_reached(stage):
    listed = [ROOT / dep for dep in DVC[stage]["deps"] if dep.startswith("project/")]
    reached = reach(STAGES[stage][0]) | {PACKAGE / "cli.py", PACKAGE / "errors.py"}
    idle = {dep for dep in listed if not any(p == dep or p.is_relative_to(dep) for p in reached)}
    assert not idle


def test_stages_are_the_same_everywhere_and_in_one_order():
    entries = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
    assert list(DVC) == list(STAGES)
    assert [name for name in entries if name in STAGES] == list(STAGES)
    assert all(DVC[name]["cmd"] == f"dgfnet {name}" for name in STAGES)
    assert all(
        name in {field.alias or key for key, field in Settings.model_fields.items()} for name in STAGES
    )


def test_settings_sections_listed_in_dvc_exist():
    known = {field.alias or name for name, field in Settings.model_fields.items()} | {"profiles"}
    for stage in DVC.values():
        assert set(stage["params"]) <= known
        assert {"base", "profiles"} <= set(stage["params"])
        assert "sweep" not in stage["params"]


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
