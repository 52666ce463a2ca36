"""`dgfnet serve`: a champion whose checksums were checked, behind the app of serving/server.py."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI
from mlflow.environment_variables import MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT

from dgfnet.errors import InputError
from dgfnet.registry.champion import load_champion
from dgfnet.serving.access import Access, check_tls
from dgfnet.serving.connection import MOST_HEAD, Limits, limited
from dgfnet.serving.decode import clear_folders
from dgfnet.serving.server import PATH, listen, scoring_app
from dgfnet.settings import Settings
from dgfnet.vocabulary import Site

if TYPE_CHECKING:
    from dgfnet.serving.pacs_routes import PacsLink


def serve(
    settings: Settings,
    site: Site,
    host: str,
    port: int,
    limits: Limits,
    access: Access,
    remote: PacsLink | None = None,
) -> None:
    """Serves the champion of a site until it is interrupted or ended, and answers what it has by then.

    Raises:
        InputError: when the site has no champion, its files are not those that were registered, host, port,
            certificate or time limit cannot be used, or a PACS is open to whoever asks or
            listens.
    """
    if remote is not None and access.token is None:
        raise InputError("--pacs shows patients to whoever may ask; expected a token: --token FILE")
    if remote is not None and access.tls is None and not remote.proxied:
        from dgfnet.pacs.session import is_own

        if not is_own(host):
            raise InputError(
                f"--pacs with --host {host} would send names of patients and the token by http; expected "
                "--tls CERT KEY, or --behind-proxy where a proxy in front answers by https"
            )
    if access.tls is not None:
        check_tls(*access.tls)
    limits = replace(limits, work_s=_timeout())
    with listen(host, port) as listening:  # first: a port in use is told before a model is loaded
        champion = load_champion(settings, site)
        clear_folders()
        if remote is not None:
            from dgfnet.pacs.session import hush

            hush()
        app = scoring_app(champion.model, champion.name, champion.version, limits, access, remote)
        port = listening.getsockname()[1]
        address = f"{'http' if access.tls is None else 'https'}://{host}:{port}"
        print(f"{champion.name} version {champion.version} answers at {address}{PATH}")
        if remote is not None:
            sends = "answers are stored there when asked to" if remote.sends else "nothing is stored there"
            print(f"pictures come from the PACS at {remote.pacs.url}; {sends}")
        print(f"a page for people is at {address}/", flush=True)
        uvicorn.Server(configuration(app, limits, tls=access.tls)).run(sockets=[listening])


def configuration(
    app: FastAPI, limits: Limits, log_level: str = "warning", tls: tuple[Path, Path] | None = None
) -> uvicorn.Config:
    """Returns uvicorn's settings: HTTP/1.1 with limits, no WebSockets, no header that names the server."""
    certificate, key = tls or (None, None)
    return uvicorn.Config(
        app,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        http=limited(limits),
        ws="none",
        log_level=log_level,
        server_header=False,
        h11_max_incomplete_event_size=MOST_HEAD,
        timeout_graceful_shutdown=ceil(limits.stop_s),
    )


def _timeout() -> float:
    """Reads MLflow's limit of the work on one request, seconds."""
    try:
        return float(MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT.get())  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise InputError(f"{error}; expected whole seconds") from None
