"""`dgfnet serve`: a champion whose checksums were checked, behind the server of serving/server.py."""

from __future__ import annotations

import mlflow
import uvicorn
import yaml
from mlflow.pyfunc import scoring_server

from dgfnet.registry.champion import champion_version
from dgfnet.registry.seal import LATER, unsealed
from dgfnet.serving.server import PATH, bound, guarded
from dgfnet.settings import Settings
from dgfnet.vocabulary import Site


def serve(settings: Settings, site: Site, host: str, port: int) -> None:
    """Serves the champion of a site until it is interrupted.

    Raises:
        InputError: when the site has no champion, or its files are not those that were registered.
    """
    client, name, version = champion_version(settings, site)
    with unsealed(client, name, version) as folder:
        told = {"model_name": name, "model_version": version}
        (folder / LATER).write_text(yaml.safe_dump(told), encoding="utf-8")
        app = guarded(scoring_server.init(mlflow.pyfunc.load_model(str(folder))))
    with bound(host, port) as listening:
        port = listening.getsockname()[1]
        print(f"{name} version {version} answers at http://{host}:{port}{PATH}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
