"""The corridor: every room imports only from rooms to its left (docs: one sentence of the design)."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "project" / "dgfnet"
# one row a group; the order inside a row counts too
CORRIDOR = [
    *("errors", "vocabulary", "params", "sections", "settings", "formulas", "files", "digests", "extent"),
    *("provenance", "results", "parallel", "moved", "pseudonyms", "tracking", "graphs"),
    "imaging",
    "pacs",
    "cohort",
    *("ingest", "phantom", "s3"),
    "measured",
    "preprocess",
    "dataset",
    "metrics",
    "tabular",
    "audit",
    *("adam", "outline"),
    "network",
    "training",
    *("unseen", "sweep"),
    *("pretrain", "tune", "crossval"),
    "compare",
    "bundle",
    "serving",
    "registry",
    "register",
    *("reproduce", "predict", "recalibrate", "monitor", "serve", "external", "validate", "holdout"),
    "attribution",
    "applicability",
    "report",
    *("summary", "commands", "cli"),
]
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__init__.py"
}
TRACKERS = {"mlflow", "ray", "optuna"}
NETWORKS = {"torch", "torchvision", "captum", "albumentations", "onnxruntime"}
LIGHT = ("registry", "results", "tracking", "files", "settings")  # rooms and modules that need no network
# modules imported in one process, in this order, and the libraries that must not be loaded afterwards;
# MLflow itself loads numpy, pandas and scipy
HEAVY = {
    ("cli",): ("numpy", "pydantic", "pandas", "torch", "mlflow", "ray"),
    ("registry.commands",): (
        *("torch", "torchvision", "ray", "onnxruntime", "cv2", "sklearn", "matplotlib", "albumentations"),
    ),
    ("crossval",): (
        *("torch", "torchvision", "cv2", "albumentations", "captum", "matplotlib", "sklearn", "ray"),
    ),
    ("pretrain",): ("torch", "torchvision", "cv2", "albumentations", "captum", "matplotlib", "ray"),
    ("tune",): ("torch", "torchvision", "cv2", "albumentations", "captum", "matplotlib", "ray", "optuna"),
    ("sweep.trial",): ("numpy", "pandas", "torch", "mlflow", "ray"),
    ("sweep.trial", "training.fit"): ("torchvision", "mlflow", "ray", "captum", "matplotlib", "onnxruntime"),
    ("predict",): ("torch", "torchvision", "ray", "captum", "albumentations", "sklearn"),
}
BANNED = {"util", "utils", "common", "helper", "helpers", "misc", "tools"}


def imports(name):
    """What a module imports anywhere in its syntax tree, functions and TYPE_CHECKING included."""
    package = name.split(".")[:-1]
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            argument = node.args[0]
            yield (
                argument.value if isinstance(argument, ast.Constant) else "something that only a run can tell"
            )


def called(node):
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def neighbours(name):
    """Modules of the package that a module imports."""
    return {module for module in imports(name) if module in MODULES}


def room(name):
    return name.split(".")[1]


def allowed_tracker(name):
    return room(name) in ("tracking", "sweep", "registry", "register", "serve") or name.startswith(
        "dgfnet.serving."
    )


def test_the_walk_sees_imports_of_every_kind(tmp_path, monkeypatch):
    path = tmp_path / "probe.py"
    path.write_text(
        "import a.b as c\n"
        "from dgfnet.cohort import folds\n"
        "from . import near\n"
        "from ..network.dgf import combine\n"
        "def later():\n    from deep import er\n    importlib.import_module('named')\n    __import__(name)\n"
    )
    monkeypatch.setitem(MODULES, "dgfnet.training.probe", path)
    found = set(imports("dgfnet.training.probe"))
    assert found >= {
        "a.b",
        "dgfnet.cohort.folds",
        "dgfnet.training.near",
        "dgfnet.network.dgf",
        "deep.er",
        "named",
    }
    assert "something that only a run can tell" in found


def test_every_module_has_its_place_in_the_corridor():
    assert {room(name) for name in MODULES} <= set(CORRIDOR)
    assert len(MODULES) > 30


@pytest.mark.parametrize("name", MODULES)
def test_no_module_imports_to_its_right(name):
    right = CORRIDOR[CORRIDOR.index(room(name)) + 1 :]
    assert [module for module in sorted(neighbours(name)) if room(module) in right] == []
    assert "something that only a run can tell" not in imports(name) or room(name) == "cli"


def test_no_module_imports_itself_in_a_circle():
    done, path = set(), []

    def walk(name):
        if name in path:
            pytest.fail(" -> ".join([*path[path.index(name) :], name]))
        if name in done:
            return
        path.append(name)
        for other in sorted(neighbours(name)):
            walk(other)
        path.pop()
        done.add(name)

    for name in MODULES:
        walk(name)
    assert done == set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_only_tracking_registry_and_sweep_know_mlflow_and_ray(name):
    found = {module.split(".")[0] for module in imports(name)} & TRACKERS
    assert not found or allowed_tracker(name)


def imports_at_the_top(name):
    """Libraries that a module imports when it is imported, `if TYPE_CHECKING` left out."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    for node in tree.body:
        parts = [node] if not isinstance(node, ast.Try) else node.body
        for part in parts:
            if isinstance(part, ast.Import):
                yield from (alias.name.split(".")[0] for alias in part.names)
            elif isinstance(part, ast.ImportFrom) and not part.level:
                yield (part.module or "").split(".")[0]


def reach(name):
    """Modules of the package that a module imports, now or later, itself or through others."""
    reached, waiting = set(), [name]
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += neighbours(module)
    return reached


@pytest.mark.parametrize("name", [name for name in MODULES if room(name) in LIGHT])
def test_the_registry_reaches_no_network(name):
    reached = {library for module in reach(name) for library in imports_at_the_top(module)} & NETWORKS
    assert reached <= ({"onnxruntime"} if name == "dgfnet.registry.champion" else set())


def test_the_reach_of_a_module_that_trains_holds_torch():
    assert "torch" in {
        library for module in reach("dgfnet.crossval") for library in imports_at_the_top(module)
    }


@pytest.mark.parametrize("modules", HEAVY, ids="+".join)
def test_heavy_imports_do_not_belong(modules):
    code = "import importlib, json, sys\n" + "".join(
        f"importlib.import_module('dgfnet.{module}')\n" for module in modules
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert f"dgfnet.{modules[-1]}" in loaded
    assert sorted(loaded & set(HEAVY[modules])) == []


def test_packages_are_empty_at_the_door():
    """But for the front door, which lists the public names and imports none of them."""
    doors = [door for door in PACKAGE.rglob("__init__.py") if door.parent != PACKAGE]
    assert doors
    assert [str(door) for door in doors if door.read_text()] == []
    folders = {path.parent for path in MODULES.values()} - {PACKAGE}
    assert folders == {door.parent for door in doors}


def test_no_module_is_a_drawer():
    parts = {part for name in MODULES for part in name.split(".")}
    assert not parts & BANNED


def test_basenames_of_tests_are_unique():
    """Without packages pytest imports test files by their basename."""
    files = [path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py"]
    assert sorted(files) == sorted(set(files))


def test_no_two_classes_have_one_name():
    names = [
        node.name
        for path in MODULES.values()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    assert sorted(names) == sorted(set(names))


def test_docstrings_say_what_a_thing_does():
    """A docstring is a sentence in the usual form, and no question left open."""
    questions = ("What ", "How ", "Whether ", "Where ", "Which ", "Who ", "Why ")
    found = [
        f"{name}: {text.splitlines()[0]}"
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and (text := ast.get_docstring(node) or "").startswith(questions)
    ]
    assert found == []
