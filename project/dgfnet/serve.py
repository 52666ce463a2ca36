"""`dgfnet serve`: a champion whose checksums were checked, behind the app of serving/server.py."""

from __future__ import annotations

import uvicorn
from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT

from dgfnet.errors import InputError
from dgfnet.registry.champion import load_champion
from dgfnet.serving.cases import clear_folders
from dgfnet.serving.server import PATH, listen, scoring_app
from dgfnet.settings import Settings
from dgfnet.vocabulary import Site


def serve(settings: Settings, site: Site, host: str, port: int) -> None:
    """Serves the champion of a site until it is interrupted.

    Raises:
        InputError: when the site has no champion, its files are not those that were registered, or host, port
            or time limit cannot be used.
    """
    timeout_s = _timeout()
    champion = load_champion(settings, site)
    clear_folders()
    app = scoring_app(champion.model, champion.name, champion.version, timeout_s)
    with listen(host, port) as listening:
        port = listening.getsockname()[1]
        print(f"{champion.name} version {champion.version} answers at http://{host}:{port}{PATH}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])


def _timeout() -> float:
    """Reads MLflow's limit of the work on one request, seconds."""
    try:
        return float(MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get())  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise InputError(f"{error}; expected whole seconds") from None
