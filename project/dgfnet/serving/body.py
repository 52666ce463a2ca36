"""Reads bodies of requests: what really arrives is counted and timed, for one and for all together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import Headers

from dgfnet.serving.connection import JSON, Limits


class RefusedError(Exception):
    """A request that is not read on.

    Attributes:
        status: of the answer.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Held:
    """Bytes of all bodies that are in memory."""

    bytes: int = 0

    @contextmanager
    def body(self, limits: Limits) -> Iterator[Body]:
        """Gives a body to read into; its bytes are let go at the end of the block."""
        body = Body(self, limits)
        try:
            yield body
        finally:
            self.bytes -= body.size


class Body:
    """A body while it is read and worked on; made by `Held.body`."""

    def __init__(self, held: Held, limits: Limits) -> None:
        self.held, self.limits, self.size = held, limits, 0

    async def read(self, request: Request) -> bytearray:
        """Returns the whole body.

        Raises:
            RefusedError: 408 when it is too slow, 413 when it is too large, 429 when the bodies of all
                requests together are.
            ClientDisconnect: when the client hung up.
        """
        body = bytearray()  # a list of pieces would hold far more than one byte for a byte
        limits, stream = self.limits, request.stream()
        loop = asyncio.get_running_loop()
        end = loop.time() + limits.body_s
        while True:
            silent = loop.time() + limits.silence_s
            try:
                async with asyncio.timeout_at(min(end, silent)):
                    piece = await anext(stream, None)
            except TimeoutError:
                if silent < end:
                    raise RefusedError(408, f"no byte of the body in {limits.silence_s:g} s") from None
                raise RefusedError(408, f"the body was not complete in {limits.body_s:g} s") from None
            if piece is None:
                return body
            self._count(len(piece))
            body += piece

    def _count(self, more: int) -> None:
        if self.size + more > self.limits.body:
            raise RefusedError(413, f"more than {self.limits.body} bytes arrived; expected at most so many")
        if self.held.bytes + more > self.limits.held:
            raise RefusedError(429, "the server holds as many bytes as it may; try again later")
        self.size += more
        self.held.bytes += more


def check_header(headers: Headers, limits: Limits) -> None:
    """Checks what a request says of its body before that is read.

    Raises:
        RefusedError: 400, 411, 413 or 415.
    """
    kind = headers.get("content-type", "")
    media, *parameters = (part.strip().lower() for part in kind.split(";"))
    if media != JSON:
        raise RefusedError(415, f"found Content-Type {kind[:80] or 'none'}; expected {JSON}")
    if any(parameter.replace('"', "") != "charset=utf-8" for parameter in parameters):
        raise RefusedError(
            415, f"found Content-Type {kind[:80]}; expected {JSON} without parameters, in UTF-8"
        )
    length = headers.get("content-length")
    if "transfer-encoding" in headers and length is not None:
        raise RefusedError(400, "found Content-Length and Transfer-Encoding; send Content-Length alone")
    if length is None or not (length.isascii() and length.isdigit()):
        raise RefusedError(411, "the request does not say its length; send Content-Length")
    if int(length[:20]) > limits.body:
        raise RefusedError(413, f"the request has {length[:20]} bytes; expected at most {limits.body}")
