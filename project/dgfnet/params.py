"""params.yaml before it is validated: YAML, profile and `--set` merged; and its faults in words.

A profile is a partial copy of the file under `profiles.<name>`, merged over it when `base.profile` names it.
`--set section.key=value` is merged last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dgfnet.errors import InputError, meant
from dgfnet.vocabulary import PICTURED, TABULAR


class _Loader(yaml.SafeLoader):
    """YAML 1.1 takes 1e-4 for a text and `off` for false; this loader takes them for what everybody means."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if not tag.endswith(":bool") or first in "tTfF"]
    for first, forms in _Loader.yaml_implicit_resolvers.items()
}


def read(path: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Reads the sections as plain values.

    Args:
        path: params.yaml.
        overrides: `section.key=value` strings; the value is read as YAML.

    Raises:
        InputError: for a missing file, no YAML, an unknown profile or no override.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such settings file; run in the project folder or pass --params FILE")
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: expected a mapping of sections, found {type(raw).__name__}")
    profiles = raw.pop("profiles", None) or {}
    changes = [_parse_override(text) for text in overrides]
    for keys, value in changes:
        assign(raw, keys, value)
    base = raw.get("base")
    profile = base.get("profile") if isinstance(base, dict) else None
    if not isinstance(profile, str) or profile not in profiles:
        raise InputError(
            f"{path.name}: base.profile is {profile!r}, expected one of {sorted(profiles)}"
            f"{meant(profile, profiles)}"
        )
    merged = _merge(raw, profiles[profile] or {})
    for keys, value in changes:  # an override also wins over the profile
        assign(merged, keys, value)
    return merged


def _parse_override(text: str) -> tuple[list[str], Any]:
    key, sign, value = text.partition("=")
    keys = key.strip().split(".")
    if not sign or len(keys) < 2 or not all(keys):
        raise InputError(f"--set {text}: expected section.key=value, for example training.batch=16")
    try:
        return keys, yaml.load(value, _Loader)
    except yaml.YAMLError:
        raise InputError(
            f"--set {text}: the value is not valid YAML; quote it, for example \"{key}='...'\""
        ) from None


def assign(tree: dict[str, Any], keys: list[str], value: Any) -> None:
    """Puts a value at a path of keys; sections that are absent are made.

    Raises:
        InputError: when the path leads through a value.
    """
    for key in keys[:-1]:
        branch = tree.setdefault(key, {})
        if not isinstance(branch, dict):
            raise InputError(f"--set {'.'.join(keys)}: {key} is a value, not a section")
        tree = branch
    tree[keys[-1]] = value


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def advice(setting: str, known: Sequence[str]) -> str:
    """Returns what to do about an unknown setting: the nearest of its section, or where all are listed."""
    section, _, key = setting.rpartition(".")
    beside = {one.rpartition(".")[2]: one for one in known if one.rpartition(".")[0] == section}
    near = get_close_matches(key, beside, 1)
    first = f"did you mean {beside[near[0]]}? See" if near else "see"
    return f"{first} docs/reference/settings.md for the known ones"


def explain(name: str, error: ValidationError, known: Sequence[str]) -> str:
    """Returns the faults that pydantic reports, a line each.

    Args:
        name: of the file.
        error: pydantic's.
        known: all settings, `section.key`; the nearest is named where one is unknown.
    """
    problems = error.errors(include_url=False)
    broken = {problem["loc"][:-1] for problem in problems}
    lines = []
    for problem in problems:
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "too_short" and problem["loc"] in broken:
            continue  # of a list whose items are at fault, and are named
        place = f"{name}: {where}" if where else name  # several sections together have no place
        if problem["type"] == "extra_forbidden":
            lines.append(f"{name}: unknown setting {where}; {advice(where, known)}")
        elif problem["type"] == "missing":
            lines.append(f"{name}: setting {where} is missing")
        elif problem["input"] in TABULAR and PICTURED[-1] in problem.get("ctx", {}).get("expected", ""):
            lines.append(
                f"{place}: {problem['input']} is a baseline, which crossval.baselines names, and no network; "
                f"expected {problem['ctx']['expected']}"
            )
        elif problem["type"] == "value_error":  # ours, and complete
            lines.append(f"{place}: {problem['msg'].removeprefix('Value error, ')}")
        else:
            names = re.findall("'([^']+)'", problem.get("ctx", {}).get("expected", ""))
            near = meant(problem["input"], names)
            lines.append(f"{name}: {where}: {problem['msg']}; found {problem['input']!r}{near}")
    return "\n".join(lines)
