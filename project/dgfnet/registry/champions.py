"""champions.json: who is champion, in a file, for a registry is nothing that DVC can look into.

The aliases of the registry decide. Whatever changes them here writes the file, and the stage external, which
depends on it, is out of date then. It is no output: a stage's outputs are nobody else's to write.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from dgfnet import tracking
from dgfnet.errors import InputError
from dgfnet.files import read_json, write_json
from dgfnet.provenance import CHAMPIONS
from dgfnet.registry.aliases import champion_of
from dgfnet.registry.facts import facts
from dgfnet.results import load_champions
from dgfnet.settings import Settings
from dgfnet.vocabulary import SITES, Site


def note_champions(client: MlflowClient, settings: Settings) -> dict[str, dict[str, str]]:
    """Writes champions.json beside params.yaml when the registry has others than it says.

    In the temporary copy of a project in which DVC runs an experiment, also in the project itself.

    Returns:
        Its content: per registered model that has a champion its `version`, and `fits`, a digest of what it
        is made of, which is the same in every registry.

    Raises:
        InputError: when the registry cannot be asked.
    """
    champions = {name: champion_of(client, name) for name in (f"dgfnet-{site}" for site in SITES)}
    content = {
        name: {"version": str(champion.version), "fits": facts(champion).get("fits", "unknown")}
        for name, champion in champions.items()
        if champion is not None
    }
    for path in {settings.root / CHAMPIONS, settings.home / CHAMPIONS}:
        if not path.is_file() or _content(path) != content:
            write_json(path, content)
    return content


def _content(path: Path) -> Any:
    try:
        return read_json(path)
    except InputError:  # a merge left both sides in it, and the registry knows
        return None


def check_noted(settings: Settings, site: Site, version: str) -> None:
    """Refuses a champion that champions.json does not name: what is made of it would not be known as old.

    Raises:
        InputError: naming both versions.
    """
    name = f"dgfnet-{site}"
    noted = (load_champions(settings) or {}).get(name, {}).get("version", "none")
    if noted != version:
        raise InputError(
            f"{settings.root / CHAMPIONS} says that the champion of {name} is {noted}, and in the registry "
            f"it is {version}: somebody promoted it elsewhere; run dgfnet champions, which takes note of it"
        )


def told(settings: Settings) -> str:
    """Takes note of the champions of the registry, and returns them as text.

    Raises:
        InputError: where there is no registry, or it knows none of the models: then it is not the one that
            champions.json speaks of.
    """
    client = tracking.existing_registry(settings)
    if not any(client.search_registered_models(f"name = 'dgfnet-{site}'") for site in SITES):
        raise InputError(
            f"the registry has no model of this project; if it was registered in another store: "
            f"{tracking.ELSEWHERE}"
        )
    champions = note_champions(client, settings)
    lines = [f"{name}: version {champion['version']}" for name, champion in champions.items()]
    return "\n".join(lines) or "no champion yet"
