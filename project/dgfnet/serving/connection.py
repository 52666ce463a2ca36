"""Time limits of connections that uvicorn lacks: for a header that never ends, an answer that nobody reads.

uvicorn 0.54 closes a connection that idles between two requests, and waits for ever for everything else.
Bodies are read, and limited, by the app (serving/body.py).
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

JSON = "application/json"
MOST_HEAD = 16 * 2**10  # bytes of a request's first line and header


@dataclass(frozen=True)
class Limits:
    """The server's limits; sizes in bytes, times in seconds.

    Attributes:
        head_s: from the opening of a connection, or the end of an answer, to the end of a request's header.
        silence_s: between two pieces of a body.
        body_s: of a whole body.
        work_s: of the work on a request, without its reading and its waiting.
        rest_s: that the rest of a refused request is read, or an answer waits to be fetched.
        stop_s: that requests have to come to an end when the server is stopped.
        body: of a request.
        held: of all bodies that are read, wait or are worked on.
        pending: requests that wait or are worked on.
        connections: open at once.
    """

    head_s: float = 10
    silence_s: float = 10
    body_s: float = 60
    work_s: float = 60
    rest_s: float = 30
    stop_s: float = 30
    body: int = 64 * 2**20
    held: int = 2**30
    pending: int = 64
    connections: int = 512


def error_body(message: str, code: str = "BAD_REQUEST") -> dict[str, str]:
    """Returns the body of an error: its code, and the first line of what is wrong."""
    return {"error_code": code, "message": message.split("\n", 1)[0][:500]}


def limited(limits: Limits) -> type[H11Protocol]:
    """Makes uvicorn's protocol with limits, to be given to it as `http`."""

    class Limited(H11Protocol):
        """A connection that is looked at once in a while, and closed when it is in one state for too long."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._state: Any = None
            self._since = self.loop.time()
            if len(self.connections) > limits.connections:
                self._refuse(429, f"{limits.connections} connections are open; try again later")
            self._look()

        def _look(self) -> None:
            """Closes what is over its time; runs till the connection is lost."""
            if self not in self.connections:
                return
            state, seconds = self._stands()
            if state != self._state:
                self._state, self._since = state, self.loop.time()
            elif self.loop.time() - self._since >= seconds:
                self._expire(state[0])
            self.loop.call_later(min(1.0, limits.head_s / 4, limits.rest_s / 4), self._look)

        def _stands(self) -> tuple[Any, float]:
            """Returns what the connection waits for, with the request it is about, and how long it may."""
            if self.transport.is_closing() or self.transport.get_write_buffer_size():
                return ("fetch", id(self.cycle)), limits.rest_s
            if self.conn.our_state is h11.IDLE:
                return ("head", id(self.cycle)), limits.head_s
            if self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY:
                return ("rest", id(self.cycle)), limits.rest_s
            return ("app", id(self.cycle)), float("inf")

        def _expire(self, state: str) -> None:
            begun = bool(self.conn.trailing_data[0])
            if state == "fetch":
                self.transport.abort()
            elif state == "head" and begun:
                self._refuse(408, f"no complete header within {limits.head_s:g} s")
            else:
                self.transport.close()

        def send_400_response(self, msg: str) -> None:
            """Answers what is no HTTP; uvicorn's own words are plain text."""
            self._refuse(400, f"this is no HTTP/1.1 request, or its header has more than {MOST_HEAD} bytes")

        def _refuse(self, status: int, message: str) -> None:
            """Answers without the app and closes; only closes when an answer has begun."""
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                body = json.dumps(error_body(message)).encode()
                fields = [("content-type", JSON), ("content-length", str(len(body))), ("connection", "close")]
                for event in (
                    h11.Response(status_code=status, headers=fields),
                    h11.Data(data=body),
                    h11.EndOfMessage(),
                ):
                    self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

    return Limited
