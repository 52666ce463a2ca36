"""Requests to a PACS: bounded in bytes and time, sent nowhere else, told in one sentence when they fail."""

from __future__ import annotations

import io
import logging
import os
import re
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from ipaddress import ip_address
from pathlib import Path
from threading import Timer
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from dgfnet.errors import InputError

TOKEN, USER, PASSWORD = "DGFNET_PACS_TOKEN", "DGFNET_PACS_USER", "DGFNET_PACS_PASSWORD"
CONNECT_S, SILENCE_S, WHOLE_S = 5.0, 15.0, 45.0  # to connect, between two pieces, of a whole answer
LARGEST = 512 * 2**20  # bytes of an answer
PIECE = 2**20
END: ContextVar[float] = ContextVar("END")  # of the request in a thread, on the monotonic clock
LOGGERS = ("dicomweb_client", "urllib3", "pydicom", "highdicom")  # they log addresses and values
EXPECTED = "expected one as http://host:8042/dicom-web"
NOWHERE = "a plain-text address would show the credentials to the network; expected https://"
SENTENCES = {
    401: f"does not know these credentials (401); set {TOKEN}, or {USER} and {PASSWORD}",
    403: "does not allow this (403); ask who administers it",
    404: "does not have this (404): the study may be gone, or the address is not that of DICOMweb, as in "
    "http://host:8042/dicom-web",
    413: "takes no objects of this size (413)",
}


class PacsError(InputError):
    """A PACS that cannot be used as asked; the message holds nothing of a patient.

    Attributes:
        status: of an HTTP answer that says so.
    """

    def __init__(self, message: str, status: int = 502) -> None:
        super().__init__(message)
        self.status = status


class Bearer(AuthBase):
    """A token in the header Authorization; requests takes it away when a server sends elsewhere."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Adds the token."""
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


class _Ending:
    """A connection whose answer begins before END: a limit of silence alone lets headers drip for ever."""

    def getresponse(self) -> Any:
        """Waits for status and headers; shuts the connection at the end."""
        end = Timer(max(0.0, END.get() - time.monotonic()), self._shut)
        end.daemon = True
        end.start()
        try:
            return super().getresponse()  # type: ignore[misc]
        finally:
            end.cancel()

    def _shut(self) -> None:
        with suppress(OSError, AttributeError):  # closed meanwhile
            # that of TLS would wait for the other side, and is not for two threads
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)  # type: ignore[attr-defined]


class _EndingConnection(_Ending, HTTPConnection):
    pass


class _EndingTlsConnection(_Ending, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _EndingConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _EndingTlsConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


class BoundedSession(requests.Session):
    """A session whose answers are in memory when they come back, up to a size and a time.

    It reads neither netrc nor proxies of the environment, and follows no redirection: requests name patients.
    """

    def __init__(self, largest: int = LARGEST, whole_s: float = WHOLE_S) -> None:
        super().__init__()
        self.trust_env = False
        self.largest, self.whole_s = largest, whole_s
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter())

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Sends a request and reads its answer.

        Raises:
            PacsError: for an answer that is too large or too slow, or sends elsewhere.
        """
        # dicomweb-client 0.61 names the host without its port, and a server answers with addresses without it
        request.headers.pop("Host", None)
        # Orthanc 1.10 does not decode a question; ? need not be coded in it (RFC 3986, 3.4)
        request.url = str(request.url).replace("%3F", "?")
        end = time.monotonic() + self.whole_s
        END.set(end)
        slow = PacsError(f"did not send all within {self.whole_s:g} s; try again later", 504)
        try:
            response = super().send(request, **kwargs | {"stream": True, "allow_redirects": False})
        except requests.Timeout:
            raise
        except requests.ConnectionError:
            if time.monotonic() > end:
                raise slow from None
            raise
        with response:
            if time.monotonic() > end:  # its header may be torn off
                raise slow
            if 300 <= response.status_code < 400:
                raise PacsError(f"sends elsewhere ({response.status_code}); name that address itself")
            body = bytearray()
            for piece in _pieces(response):
                body += piece
                if len(body) > self.largest:
                    raise PacsError(f"sent more than {self.largest // 2**20} MB at once; choose less")
                if time.monotonic() > end:
                    raise slow
        response.raw = io.BytesIO(body)
        return response


def _pieces(response: requests.Response) -> Iterator[bytes]:
    """Yields what has arrived, as it arrives: a server may send a byte now and then for ever."""
    while piece := response.raw.read1(PIECE, decode_content=True):
        yield piece


def open_session(url: str, authority: Path | None = None, **limits: Any) -> tuple[str, BoundedSession]:
    """Returns the address of a PACS without a slash at its end, and a session with credentials.

    These come from the environment (TOKEN, or USER and PASSWORD), which no list of processes shows.

    Args:
        url: of DICOMweb, http or https.
        authority: PEM file of certificates that are trusted instead of the public ones.
        limits: of `BoundedSession`.

    Raises:
        InputError: for an address that is none, has a password in it, or would show it to the network.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # told without the address, which may hold a password
        raise InputError(f"the address of the PACS has no sound host and port; {EXPECTED}") from None
    if parts.username is not None or parts.password is not None:
        raise InputError(
            f"the address of the PACS holds a user or password; set {USER} and {PASSWORD} instead"
        )
    sound = parts.scheme in ("http", "https") and host and port != 0
    if not sound or parts.query or parts.fragment:
        raise InputError(f"{url}: no address of a PACS; {EXPECTED}")
    session = BoundedSession(**limits)
    token, user, password = (os.environ.get(name, "") for name in (TOKEN, USER, PASSWORD))
    if token and (user or password):
        raise InputError(f"{TOKEN} and {USER} are both set; expected one of them")
    if bool(user) != bool(password):
        raise InputError(f"one of {USER} and {PASSWORD} is set; expected both")
    if token or user:
        if parts.scheme == "http" and not is_own(host):
            raise InputError(f"{url}: {NOWHERE}")
        session.auth = Bearer(token) if token else HTTPBasicAuth(user, password)
    if authority is not None:
        if not authority.is_file():
            raise InputError(f"{authority}: no file; expected certificates, PEM")
        session.verify = str(authority)
    return url.rstrip("/"), session


def is_own(host: str) -> bool:
    """Says that an address is this machine's."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def hush() -> None:
    """Silences libraries that would write a patient's number, or values of a file, to stderr."""
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=rf"({'|'.join(LOGGERS)})(\.|$)")


@contextmanager
def told(url: str) -> Iterator[None]:
    """Turns whatever a PACS, the network or a library does into one sentence without values of a file.

    Raises:
        PacsError: instead of everything but an InputError.
    """
    parts = urlsplit(url)
    who = f"the PACS at {parts.scheme}://{parts.netloc}"
    try:
        yield
    except PacsError as error:
        raise PacsError(f"{who} {error}", error.status) from None
    except InputError:
        raise
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        sentence = SENTENCES.get(status, f"failed ({status}); look at its log")
        raise PacsError(f"{who} {sentence}", 404 if status == 404 else 502) from None
    except requests.exceptions.SSLError:
        raise PacsError(
            f"{who} has a certificate that is not trusted, or speaks no TLS; name its authority: --pacs-ca"
        ) from None
    except (requests.Timeout, urllib3.exceptions.TimeoutError):
        raise PacsError(f"{who} does not answer in time; try again later", 504) from None
    except (requests.ConnectionError, urllib3.exceptions.HTTPError):
        raise PacsError(
            f"{who} cannot be reached, or hung up; is it running, and is the address right?"
        ) from None
    except Exception as error:
        kind = re.sub(r"\W", "", type(error).__name__)
        raise PacsError(f"{who} sent something that is not what DICOMweb says ({kind})") from None
