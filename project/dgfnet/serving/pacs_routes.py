"""The paths of a server with a PACS: pictures are looked up there, and cases name them instead of files."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from dgfnet.bundle.model import ScoringModel
from dgfnet.errors import InputError
from dgfnet.pacs.client import MAYBE, Pacs
from dgfnet.pacs.session import PacsError
from dgfnet.serving.body import RefusedError
from dgfnet.serving.connection import error_body
from dgfnet.serving.counts import Counts
from dgfnet.serving.decode import Fetch
from dgfnet.serving.forms import answer_body, explain_body
from dgfnet.serving.openapi_pacs import DESCRIBED
from dgfnet.serving.preview import preview_body
from dgfnet.serving.remote import RemotePictures, instances_body, series_body, studies_body
from dgfnet.serving.sending import send_body

Work = Callable[[bytearray, float], str]  # of a body, until when on the monotonic clock: the answer's body
Answered = Callable[[Request, Work], Awaitable[Response]]
ROOT = "/pacs"
LOG = logging.getLogger("uvicorn.error")  # where faults of the other paths go


@dataclass(frozen=True)
class PacsLink:
    """A PACS beside a server.

    Attributes:
        pacs: that is asked.
        sends: results may be stored in it.
        proxied: a proxy in front of the server answers by https, so that itself it may use http.
    """

    pacs: Pacs
    sends: bool = False
    proxied: bool = False


def add_routes(
    app: FastAPI,
    remote: PacsLink,
    model: ScoringModel,
    origin: dict[str, str],
    counts: Counts,
    answered: Answered,
) -> None:
    """Adds the paths to an app.

    Args:
        app: of the server.
        remote: PACS.
        model: scores the cases.
        origin: name and version of the model.
        counts: of the answers.
        answered: reads a request within the limits and waits for the work on it.
    """
    pictures, pacs = RemotePictures(remote.pacs), remote.pacs

    def until(end: float) -> Callable[[], Fetch]:
        return partial(pictures.fetching, end)

    works: dict[str, Work] = {
        "studies": lambda body, end: studies_body(body, pacs),
        "series": lambda body, end: series_body(body, pacs),
        "instances": lambda body, end: instances_body(body, pacs),
        "preview": lambda body, end: preview_body(body, model, pictures.fetching(end)),
        "invocations": lambda body, end: answer_body(body, model, origin, end, counts, until(end)),
        "explain": lambda body, end: explain_body(body, model, origin, end, until(end)),
    }

    @app.exception_handler(PacsError)
    async def failed(request: Request, error: PacsError) -> Response:
        return JSONResponse(error_body(str(error)), error.status)

    for name, work in works.items():
        _add(app, name, _working(private(work), answered))

    async def send(request: Request) -> Response:
        begun = Event()

        def work(body: bytearray, end: float) -> str:
            return send_body(body, model, origin, pacs, pictures.fetching(end), end, begun.set)

        try:
            return await answered(request, private(work))
        except (TimeoutError, RefusedError) as error:
            if not begun.is_set():
                raise
            status = error.status if isinstance(error, RefusedError) else 504
            raise RefusedError(status, f"the server did not see the end of it; {MAYBE}") from None

    if remote.sends:
        _add(app, "send", send)


def _working(work: Work, answered: Answered) -> Callable[[Request], Awaitable[Response]]:
    return lambda request: answered(request, work)


def _add(app: FastAPI, name: str, answer: Callable[[Request], Awaitable[Response]]) -> None:
    async def route(request: Request) -> Response:
        response = await answer(request)
        response.headers["Cache-Control"] = "no-store"
        return response

    app.add_api_route(f"{ROOT}/{name}", route, methods=["POST"], response_class=Response, **DESCRIBED[name])


def private(work: Work) -> Work:
    """Returns a work whose unforeseen faults tell, and log, where they happened and nothing of a file."""

    def guarded(body: bytearray, end: float) -> str:
        try:
            return work(body, end)
        except (InputError, TimeoutError, RefusedError):
            raise
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(last.filename).name}:{last.lineno}"
            told = f"the server failed on this request ({type(error).__name__}, {where})"
            LOG.error("below %s %s", ROOT, told)
            raise RefusedError(500, told) from None

    return guarded
