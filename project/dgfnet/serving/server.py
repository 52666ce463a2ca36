"""The HTTP server of `dgfnet serve`: a FastAPI app around a scoring model.

It answers the requests that `mlflow models serve` answers, with the same bodies (docs/how-to/serve.md), from
the bundle alone: no code of the registered version is executed. Size and type of a request are checked before
its body is read.
"""

from __future__ import annotations

import asyncio
import json
import socket
from importlib.metadata import version as installed
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect

from dgfnet.bundle.model import ScoringModel
from dgfnet.errors import InputError
from dgfnet.parallel import cores
from dgfnet.serving.records import answer_records

PATH = "/invocations"
JSON = "application/json"
FORMS = ("dataframe_records", "dataframe_split", "inputs")
MOST_BYTES = 64 * 2**20  # of a request
MOST_PENDING = 64  # requests that are read, wait or are worked on


def scoring_app(model: ScoringModel, name: str, version: str, timeout_s: float) -> FastAPI:
    """Builds the server's app.

    `POST /invocations` scores, on as many requests at once as there are cores; `GET /ping`, `/health` and
    `/version` answer as those of MLflow's scoring server.

    Args:
        model: scores the cases.
        name: of the model in the registry.
        version: of the model in the registry.
        timeout_s: seconds that the work on one request may take, without its reading and its waiting.
    """
    app = FastAPI(title="DGFNet")
    working = asyncio.Semaphore(cores())
    pending = 0

    @app.get("/ping")
    @app.get("/health")
    async def ping() -> Response:
        return Response("\n", media_type=JSON)

    @app.get("/version")
    async def mlflow_version() -> Response:
        return Response(installed("mlflow"), media_type=JSON)

    @app.post(PATH)
    async def invocations(request: Request) -> Response:
        nonlocal pending
        if pending >= MOST_PENDING:
            return _error(429, f"{pending} requests are waiting; try again later")
        pending += 1
        try:
            refusal = _refusal(request.headers)
            if refusal is not None:
                return refusal
            body = await request.body()
            async with working:
                work = asyncio.to_thread(answer_body, body, model, {"model": name, "version": version})
                return Response(await asyncio.wait_for(work, timeout_s), media_type=JSON)
        except InputError as error:
            return _error(400, str(error))
        except TimeoutError:
            return _error(504, "Request processing time exceeded limit")
        except ClientDisconnect:
            return _error(400, "the connection was closed before the request was complete")
        finally:
            pending -= 1

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> Response:
        return _error(500, "the server failed on this request; its log has the reason", "INTERNAL_ERROR")

    return app


def listen(host: str, port: int) -> socket.socket:
    """Opens the server's socket, before its address is printed.

    Raises:
        InputError: when host or port cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot answer at {host}, port {port} ({error}); name others") from None


def _refusal(headers: Headers) -> Response | None:
    """Returns the answer to a request that its headers condemn, None for any other."""
    kind = headers.get("content-type", "")
    media, *parameters = (part.strip() for part in kind.split(";"))
    if media != JSON:
        return _error(415, f"found Content-Type {kind[:80] or 'none'}; expected {JSON}")
    if any(parameter.lower() != "charset=utf-8" for parameter in parameters):
        return _error(415, f"found Content-Type {kind[:80]}; expected {JSON} without parameters, in UTF-8")
    length = headers.get("content-length")
    if length is None or not length.isdigit():
        return _error(411, "the request does not say its length; send Content-Length")
    if int(length) > MOST_BYTES:
        return _error(413, f"the request has {length} bytes; expected at most {MOST_BYTES}")
    return None


def answer_body(body: bytes, model: ScoringModel, origin: dict[str, str]) -> str:
    """Scores the cases of a request's body and returns the answer's body.

    Raises:
        InputError: when the body is not JSON of a form that is read, or a case cannot be scored.
    """
    try:
        content = json.loads(body)
    except RecursionError:
        raise InputError("the request is nested too deeply; expected a list of cases") from None
    except ValueError as error:  # of the text, and of its encoding
        raise InputError(f"the request is no JSON ({error})") from None
    return json.dumps({"predictions": answer_records(model, _records(content), origin)})


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


def _error(status: int, message: str, code: str = "BAD_REQUEST") -> Response:
    sentence = message.split("\n", 1)[0][:500]
    return JSONResponse({"error_code": code, "message": sentence}, status_code=status)
