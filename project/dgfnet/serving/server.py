"""The HTTP server of `dgfnet serve`: a FastAPI app around a scoring model.

It answers the requests that `mlflow models serve` answers, with the same bodies (docs/how-to/serve.md), from
the bundle alone: no code of the registered version is executed. Size and type of a request are checked before
its body is read (serving/body.py), and a connection that stands still is closed (serving/connection.py).
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version as installed
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from dgfnet.bundle.model import ScoringModel
from dgfnet.errors import InputError
from dgfnet.parallel import cores
from dgfnet.serving.access import Access, Guard
from dgfnet.serving.body import Held, RefusedError, check_header
from dgfnet.serving.connection import JSON, Limits, error_body
from dgfnet.serving.counts import Counts
from dgfnet.serving.forms import answer_body, explain_body
from dgfnet.serving.openapi import ANSWERS, BLANK, COUNTS, EXPLANATIONS, PICTURE, PREVIEWS, REQUEST
from dgfnet.serving.page import headers, page_of
from dgfnet.serving.preview import preview_body

if TYPE_CHECKING:
    from dgfnet.serving.pacs_routes import PacsLink

PATH = "/invocations"
PREVIEW, EXPLAIN = "/preview", "/explain"
Work = Callable[[bytearray, float], str]  # of a body, until when on the monotonic clock: the answer's body


def scoring_app(
    model: ScoringModel,
    name: str,
    version: str,
    limits: Limits,
    access: Access | None = None,
    remote: PacsLink | None = None,
) -> FastAPI:
    """Builds the server's app.

    `POST /invocations` scores, on as many requests at once as there are cores, and below /pacs as many again,
    most of whose time is waiting for the PACS; `GET /ping`, `/health` and
    `/version` answer as those of MLflow's scoring server, `/ready` whether one more request would be taken,
    `/metrics` counts, `/openapi.json` describes them all. `GET /` is a page for people, which asks `POST
    /preview` what the networks see.

    Args:
        model: scores the cases.
        name: of the model in the registry.
        version: of the model in the registry.
        limits: of a request and of all together; those of a connection are kept by serving/connection.py.
        access: who may ask; None lets everybody.
        remote: PACS that cases may name pictures of, below /pacs; None has none.
    """
    # no pages of documentation: they fetch scripts from elsewhere
    app = FastAPI(title=name, version=version, docs_url=None, redoc_url=None, redirect_slashes=False)
    working, held, pending = asyncio.Semaphore(cores()), Held(), 0
    origin, counts = {"model": name, "version": version}, Counts(name, version)
    shown = page_of(model, name, version, remote is not None, remote is not None and remote.sends)

    @app.get("/metrics", responses=COUNTS, response_class=Response)
    async def metrics() -> Response:
        return Response(counts.text(), media_type=counts.kind)

    async def ping() -> Response:
        return Response("\n", media_type=JSON)

    async def ready() -> Response:
        _check_pending(pending, limits, 503)
        return Response("\n", media_type=JSON)

    async def mlflow_version() -> Response:
        return Response(installed("mlflow"), media_type=JSON)

    for path, tell in (
        *(("/ping", ping), ("/health", ping), ("/ready", ready)),
        ("/version", mlflow_version),
    ):
        app.add_api_route(path, tell, responses=BLANK, response_class=Response)
        app.add_api_route(path, tell, methods=["HEAD"], include_in_schema=False)

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page() -> Response:
        return Response(shown, media_type="text/html", headers=headers())

    @app.post(PATH, responses=ANSWERS, openapi_extra=REQUEST, response_class=Response)
    async def invocations(request: Request) -> Response:
        return await answered(request, lambda body, end: answer_body(body, model, origin, end, counts))

    @app.post(EXPLAIN, responses=EXPLANATIONS, openapi_extra=REQUEST, response_class=Response)
    async def explanations(request: Request) -> Response:
        return await answered(request, lambda body, end: explain_body(body, model, origin, end))

    @app.post(PREVIEW, responses=PREVIEWS, openapi_extra=PICTURE, response_class=Response)
    async def preview(request: Request) -> Response:
        return await answered(request, lambda body, end: preview_body(body, model))

    async def answered(
        request: Request,
        work: Work,
        gate: asyncio.Semaphore = working,
        threads: ThreadPoolExecutor | None = None,
    ) -> Response:
        check_header(request.headers, limits)
        _check_pending(pending, limits)
        try:
            with held.body(limits) as body:
                return await score(request, await body.read(request), work, gate, threads)
        except asyncio.CancelledError:  # uvicorn's way to say that the time to stop is over
            raise RefusedError(503, "the server was stopped; send the request again") from None

    async def score(
        request: Request,
        body: bytearray,
        work: Work,
        gate: asyncio.Semaphore,
        threads: ThreadPoolExecutor | None,
    ) -> Response:
        """Waits at a gate, works. A request takes a place only when it is complete.

        Threads are those of the event loop where none are named.
        """
        nonlocal pending
        _check_pending(pending, limits)
        pending += 1
        try:
            async with gate:
                if await request.is_disconnected():
                    raise ClientDisconnect
                end = time.monotonic() + limits.work_s
                done = asyncio.get_running_loop().run_in_executor(threads, work, body, end)
                return Response(await asyncio.wait_for(done, limits.work_s), media_type=JSON)
        finally:
            pending -= 1

    if remote is not None:
        from dgfnet.serving.pacs_routes import add_routes

        # of their own: a PACS that hangs holds up nobody with files
        fetching = asyncio.Semaphore(cores())
        threads = ThreadPoolExecutor(cores(), thread_name_prefix="pacs")

        async def asked(request: Request, work: Work) -> Response:
            return await answered(request, work, fetching, threads)

        add_routes(app, remote, model, origin, counts, asked)
    _answer_errors(app)
    app.add_middleware(Guard, access=access or Access(), counts=counts)
    return app


def _check_pending(pending: int, limits: Limits, status: int = 429) -> None:
    if pending >= limits.pending:
        raise RefusedError(status, f"{pending} requests are waiting; try again later")


def _answer_errors(app: FastAPI) -> None:
    """Gives every error the same form: a code and one sentence."""

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> Response:
        return _error(error.status, str(error), "INTERNAL_ERROR" if error.status == 500 else "BAD_REQUEST")

    @app.exception_handler(InputError)
    async def bad_case(request: Request, error: InputError) -> Response:
        return _error(400, str(error))

    @app.exception_handler(TimeoutError)
    async def too_long(request: Request, error: TimeoutError) -> Response:
        return _error(504, "Request processing time exceeded limit")

    @app.exception_handler(ClientDisconnect)
    async def hung_up(request: Request, error: ClientDisconnect) -> Response:
        return _error(400, "the connection was closed before the request was complete")

    @app.exception_handler(HTTPException)
    async def not_here(request: Request, error: HTTPException) -> Response:
        told = "/, /ping, /health, /ready, /version, /metrics, /openapi.json"
        paths = f"POST {PATH}, {EXPLAIN} or {PREVIEW}, or GET {told}"
        message = f"{error.detail}; expected {paths}"
        return _error(error.status_code, message, headers=error.headers)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        return _error(500, "the server failed on this request; its log has the reason", "INTERNAL_ERROR")


def listen(host: str, port: int) -> socket.socket:
    """Opens the server's socket, before its address is printed.

    Raises:
        InputError: when host or port cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise InputError(
                f"port {port} of {host} is in use by another program; name another with --port"
            ) from None
        raise InputError(f"cannot answer at {host}, port {port} ({error}); name others") from None


def _error(
    status: int, message: str, code: str = "BAD_REQUEST", headers: Mapping[str, str] | None = None
) -> Response:
    return JSONResponse(error_body(message, code), status_code=status, headers=headers)
