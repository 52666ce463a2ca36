"""The HTTP server of `dgfnet serve`: a FastAPI app around a scoring model.

It answers the requests that `mlflow models serve` answers, with the same bodies (docs/how-to/serve.md), from
the bundle alone: no code of the registered version is executed. Size and type of a request are checked before
its body is read (serving/body.py), and a connection that stands still is closed (serving/connection.py).
"""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version as installed
from math import inf
from typing import Any

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
from dgfnet.serving.openapi import ANSWERS, BLANK, COUNTS, EXPLANATIONS, PICTURE, PREVIEWS, REQUEST
from dgfnet.serving.page import headers, page_of
from dgfnet.serving.preview import preview_body
from dgfnet.serving.records import answer_records, explain_records

PATH = "/invocations"
PREVIEW, EXPLAIN = "/preview", "/explain"
FORMS = ("dataframe_records", "dataframe_split", "inputs")
Work = Callable[[bytearray, float], str]  # of a body, until when on the monotonic clock: the answer's body


def scoring_app(
    model: ScoringModel, name: str, version: str, limits: Limits, access: Access | None = None
) -> FastAPI:
    """Builds the server's app.

    `POST /invocations` scores, on as many requests at once as there are cores; `GET /ping`, `/health` and
    `/version` answer as those of MLflow's scoring server, `/ready` whether one more request would be taken,
    `/metrics` counts, `/openapi.json` describes them all. `GET /` is a page for people, which asks `POST
    /preview` what the networks see.

    Args:
        model: scores the cases.
        name: of the model in the registry.
        version: of the model in the registry.
        limits: of a request and of all together; those of a connection are kept by serving/connection.py.
        access: who may ask; None lets everybody.
    """
    # no pages of documentation: they fetch scripts from elsewhere
    app = FastAPI(title=name, version=version, docs_url=None, redoc_url=None, redirect_slashes=False)
    working, held, pending = asyncio.Semaphore(cores()), Held(), 0
    origin, counts = {"model": name, "version": version}, Counts(name, version)
    shown = page_of(model, name, version)

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

    async def answered(request: Request, work: Work) -> Response:
        check_header(request.headers, limits)
        _check_pending(pending, limits)
        try:
            with held.body(limits) as body:
                return await score(request, await body.read(request), work)
        except asyncio.CancelledError:  # uvicorn's way to say that the time to stop is over
            raise RefusedError(503, "the server was stopped; send the request again") from None

    async def score(request: Request, body: bytearray, work: Work) -> Response:
        """Waits for a core, works. A request takes a place only when it is complete."""
        nonlocal pending
        _check_pending(pending, limits)
        pending += 1
        try:
            async with working:
                if await request.is_disconnected():
                    raise ClientDisconnect
                end = time.monotonic() + limits.work_s
                done = asyncio.to_thread(work, body, end)
                return Response(await asyncio.wait_for(done, limits.work_s), media_type=JSON)
        finally:
            pending -= 1

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
        return _error(error.status, str(error))

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


def answer_body(
    body: bytes | bytearray,
    model: ScoringModel,
    origin: dict[str, str],
    end: float = inf,
    counts: Counts | None = None,
) -> str:
    """Scores the cases of a request's body and returns the answer's body.

    Args:
        body: JSON.
        model: scores them.
        origin: name and version of the model.
        end: until when on the monotonic clock; nobody waits for the answer any longer.
        counts: of the answers; None counts nothing.

    Raises:
        InputError: when the body is not JSON of a form that is read, or a case cannot be scored.
        TimeoutError: when the end came first.
    """
    answers = answer_records(model, _records(_content(body)), origin, end)
    if counts is not None:
        counts.answered(answers)
    return json.dumps({"predictions": answers})


def explain_body(
    body: bytes | bytearray, model: ScoringModel, origin: dict[str, str], end: float = inf
) -> str:
    """Explains the cases of a request's body and returns the answer's body.

    Arguments and errors are those of `answer_body`; nothing is counted.
    """
    return json.dumps({"explanations": explain_records(model, _records(_content(body)), origin, end)})


def _content(body: bytes | bytearray) -> Any:
    try:
        return json.loads(body)
    except RecursionError:
        raise InputError("the request is nested too deeply; expected a list of cases") from None
    except ValueError as error:  # of the text, and of its encoding
        raise InputError(f"the request is no JSON ({error})") from None


def _records(content: Any) -> Any:
    """Returns the cases of a request as a list of dictionaries, or as what stands in their place.

    MLflow's form `instances`, and `inputs` by columns, are not read: they are lists per field, in which the
    images of two patients could meet.
    """
    forms = [name for name in (*FORMS, "instances") if isinstance(content, dict) and name in content]
    if len(forms) != 1 or forms == ["instances"]:
        raise InputError(f"expected a JSON dictionary with exactly one of {', '.join(FORMS)}")
    (form,) = forms
    if form == "dataframe_split":
        return _rows(content[form])
    if not isinstance(content[form], list):
        raise InputError(f"{form}: expected a list of cases, each a dictionary")
    return content[form]


def _rows(table: Any) -> list[dict[str, Any]]:
    """Returns the rows of a table as pandas writes it with `orient="split"`; its index is ignored."""
    if not isinstance(table, dict) or table.keys() | {"index"} != {"columns", "data", "index"}:
        raise InputError("dataframe_split: expected a dictionary of columns and data")
    columns, rows = table["columns"], table["data"]
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise InputError("dataframe_split: columns: expected a list of texts")
    if len(set(columns)) < len(columns):
        raise InputError("dataframe_split: columns: a name stands there twice; expected each once")
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise InputError("dataframe_split: data: expected a list of rows, each a list")
    for place, row in enumerate(rows):
        if len(row) != len(columns):
            raise InputError(
                f"dataframe_split: row {place} has {len(row)} values; expected {len(columns)}, one per column"
            )
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _error(
    status: int, message: str, code: str = "BAD_REQUEST", headers: Mapping[str, str] | None = None
) -> Response:
    return JSONResponse(error_body(message, code), status_code=status, headers=headers)
