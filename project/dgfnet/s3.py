"""Folders on S3: `dgfnet push` and `dgfnet pull`, checked by sha256, resumed file by file.

A pushed folder keeps its names below the prefix, so the bucket stays readable for other tools. `SHA256SUMS`,
which `sha256sum -c` reads too, is written last: with it a push is complete. A pull is built beside its place
and moved there when every file is right. Endpoint and credentials come from where boto3 looks for them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ResponseStreamingError,
)
from rich.console import Console
from rich.progress import track

from dgfnet.errors import InputError
from dgfnet.files import replacing

Item = TypeVar("Item")
Result = TypeVar("Result")

SUMS = "SHA256SUMS"
AT_ONCE = 8  # files under way
LARGE = 16 * 1024 * 1024  # bytes; larger files are uploaded in parts
CHUNK = 1024 * 1024
PATIENT = Config(  # a dead server is told within half a minute
    retries={"mode": "standard", "total_max_attempts": 3},
    connect_timeout=5,
    read_timeout=10,
    max_pool_connections=2 * AT_ONCE,
)
CUT = (ConnectionError, HTTPClientError, IncompleteReadError, ResponseStreamingError)
REFUSED = {"403", "AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}


@dataclass(frozen=True)
class Moved:
    """The result of a push or pull.

    Attributes:
        files: of the folder.
        moved: those that were transferred; the others were there already.
        checked: by what every file was checked: sha256, or what a bucket without SHA256SUMS offers.
    """

    files: int
    moved: int
    checked: str


@dataclass(frozen=True)
class Entry:
    """A file of a prefix: its path below it and what tells that its bytes are right, as far as known."""

    path: str
    sha256: str | None = None
    md5: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Place:
    """A prefix of a bucket."""

    bucket: str
    prefix: str

    @classmethod
    def of(cls, address: str) -> Place:
        """Reads `s3://bucket/prefix`; the prefix may be empty.

        Raises:
            InputError: for anything else.
        """
        scheme, separator, rest = address.partition("://")
        bucket, _, prefix = rest.partition("/")
        if scheme != "s3" or not separator or not re.fullmatch(r"[A-Za-z0-9._-]+", bucket):
            raise InputError(f"{address}: expected s3://bucket/prefix")
        return cls(bucket, prefix.strip("/"))

    def key(self, path: str) -> str:
        """Returns the key of a file."""
        return f"{self.prefix}/{path}" if self.prefix else path

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"


def push(folder: Path, address: str) -> Moved:
    """Uploads a folder; files that are there with the same sha256 are left, others below the prefix too.

    Raises:
        InputError: for a folder that cannot be pushed, or when the server cannot be reached, refuses or
            breaks off. Run again, it goes on where it stopped.
    """
    place = Place.of(address)
    with _as_input_error(place):
        files, client = _files(folder), _client()
        client.list_objects_v2(Bucket=place.bucket, Prefix=place.key(""), MaxKeys=1)  # it is there and ours
        sums: dict[str, str] = {}
        moved = 0
        for path, digest, sent in _all(partial(_upload, client, place, folder), files, "push"):
            sums[path] = digest
            moved += sent
        text = "".join(f"{sums[path]}  {path}\n" for path in files)
        client.put_object(Bucket=place.bucket, Key=place.key(SUMS), Body=text.encode())
    return Moved(len(files), moved, "sha256")


def pull(address: str, folder: Path) -> Moved:
    """Downloads a prefix into a folder that must not exist or be empty; it appears whole or not at all.

    Raises:
        InputError: for a folder in use, a prefix without files, a file whose bytes are not what was pushed,
            or when the server cannot be reached, refuses or breaks off. Run again, it goes on where it
            stopped.
    """
    place, folder = Place.of(address), folder.resolve()
    building = folder.with_name(f".{folder.name}.part")
    with _as_input_error(place):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder}: exists and is not empty; name a new folder or remove it first")
        client = _client()
        entries = _listed(client, place)
        building.mkdir(parents=True, exist_ok=True)
        _sweep(building, {building / entry.path for entry in entries})
        moved = sum(_all(partial(_download, client, place, building), entries, "pull"))
        os.replace(building, folder)
    plain = all(entry.sha256 is None for entry in entries)
    return Moved(len(entries), moved, "size, and MD5 where the server gives it" if plain else "sha256")


def _files(folder: Path) -> list[str]:
    """Lists the paths of all files below a folder, sorted, with forward slashes."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    root, paths = folder.resolve(), []
    for where, folders, names in os.walk(folder, onerror=_unreadable):
        links = [name for name in folders if Path(where, name).is_symlink()]  # not walked into
        for name in (*names, *links):
            path = Path(where, name)
            relative = path.relative_to(folder).as_posix()
            if relative == SUMS:
                continue
            if not path.is_file() or not path.resolve().is_relative_to(root):
                raise InputError(
                    f"{path}: expected a file inside the folder; links leading out are not pushed"
                )
            if re.search(r"[\x00-\x1f\\\ud800-\udfff]", relative):  # the last are bytes that are no UTF-8
                raise InputError(
                    f"{str(path)!r}: expected a name in UTF-8 without control characters and backslashes; "
                    f"rename the file"
                )
            paths.append(relative)
    if not paths:
        raise InputError(f"{folder}: holds no file")
    return sorted(paths)


def _unreadable(error: OSError) -> None:
    raise error  # os.walk would leave the folder out


def _sweep(building: Path, expected: set[Path]) -> None:
    """Removes what an interrupted pull of something else left, so that it neither stays nor is in the way."""
    for path in sorted(building.rglob("*"), reverse=True):
        if path.is_symlink() or (path.is_file() and path not in expected):
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _upload(client: Any, place: Place, folder: Path, path: str, stop: Event) -> tuple[str, str, bool]:
    """Uploads a file unless it is there; returns its path, its sha256 and True if it was sent."""
    file, key = folder / path, place.key(path)
    before = file.stat()
    digest = _digest(file, hashlib.sha256())
    try:
        stored = client.head_object(Bucket=place.bucket, Key=key)
        if stored["Metadata"].get("sha256") == digest and stored["ContentLength"] == before.st_size:
            return path, digest, False
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchKey"):
            raise
    transfer = TransferConfig(multipart_threshold=LARGE, multipart_chunksize=LARGE, use_threads=False)
    client.upload_file(
        str(file),
        place.bucket,
        key,
        ExtraArgs={"Metadata": {"sha256": digest}},
        Callback=partial(_go_on, stop),
        Config=transfer,
    )
    after = file.stat()
    if (after.st_mtime_ns, after.st_size) != (before.st_mtime_ns, before.st_size):
        raise InputError(f"{file}: changed while it was pushed; run it again")
    return path, digest, True


def _listed(client: Any, place: Place) -> list[Entry]:
    """Lists the files of a prefix: as SHA256SUMS says, or without it, as the bucket lists them."""
    try:
        text = client.get_object(Bucket=place.bucket, Key=place.key(SUMS))["Body"].read()
        entries = _parsed(place, text)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey":
            raise
        entries = [*_objects(client, place)]
    for entry in entries:
        # an empty part also stands for a path from the root, and for a slash at the end
        if {"", ".", ".."} & {*entry.path.split("/")} or re.search(r"[\x00\\]", entry.path):
            raise InputError(f"{place}: names {entry.path!r}, expected paths inside it; nothing was written")
    if not entries:
        raise InputError(f"{place}: nothing there; check bucket and prefix")
    return entries


def _parsed(place: Place, text: bytes) -> list[Entry]:
    """Parses SHA256SUMS; not by `splitlines`, which also ends lines at signs that a file name may hold."""
    try:
        lines = [line for line in text.decode().split("\n") if line]
    except UnicodeDecodeError:
        lines = ["no text"]
    matches = [re.fullmatch(r"([0-9a-f]{64})  (.*)", line, re.DOTALL) for line in lines]
    entries = [Entry(match[2], sha256=match[1]) for match in matches if match]
    if len(entries) < len(lines):
        raise InputError(f"{place}/{SUMS}: not lines of sha256 and path; push the folder again")
    return entries


def _objects(client: Any, place: Place) -> Iterator[Entry]:
    prefix = place.key("")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            tag = item["ETag"].strip('"')  # of a file in parts it holds a dash and is no MD5
            if not item["Key"].endswith("/"):
                md5 = tag if len(tag) == 32 and "-" not in tag else None
                yield Entry(item["Key"].removeprefix(prefix), md5=md5, size=item["Size"])


def _download(client: Any, place: Place, folder: Path, entry: Entry, stop: Event) -> bool:
    """Downloads a file unless it is there; it takes its name when its bytes are right. True if fetched."""
    path = folder / entry.path
    if path.is_file() and _right(path, entry):
        return False
    answer = client.get_object(Bucket=place.bucket, Key=place.key(entry.path))
    if entry.sha256 is None and "sha256" in answer["Metadata"]:
        raise InputError(f"{place}: no {SUMS}, its push broke off; push the folder again")
    if answer.get("ServerSideEncryption", "AES256") != "AES256":
        entry = replace(entry, md5=None)  # with keys of KMS the ETag is no MD5
    with replacing(path) as temporary:
        with temporary.open("wb") as stream, suppress(FlexibleChecksumError):  # ours says more
            for chunk in answer["Body"].iter_chunks(CHUNK):
                _go_on(stop)
                stream.write(chunk)
        if not _right(temporary, entry):
            raise InputError(
                f"{place}/{entry.path}: its bytes are not those that were pushed; "
                f"delete it there and push the folder again"
            )
    return True


def _right(path: Path, entry: Entry) -> bool:
    if entry.size is not None and path.stat().st_size != entry.size:
        return False
    if entry.sha256 is not None:
        return _digest(path, hashlib.sha256()) == entry.sha256
    return entry.md5 is None or _digest(path, hashlib.md5(usedforsecurity=False)) == entry.md5


def _digest(path: Path, total: Any) -> str:
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            total.update(chunk)
    return str(total.hexdigest())


def _go_on(stop: Event, _bytes: int = 0) -> None:
    if stop.is_set():
        raise InputError("stopped")  # nobody reads it: what stopped the others is told


def _all(work: Callable[[Item, Event], Result], items: Sequence[Item], title: str) -> Iterator[Result]:
    """Yields results as they come; the first failure, or Ctrl-C, stops the others and is raised."""
    stop, console = Event(), Console(stderr=True)
    hidden = not console.is_terminal  # else a log gets an empty line
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            futures = [pool.submit(work, item, stop) for item in items]
            done = as_completed(futures)
            for future in track(done, title, len(futures), console=console, transient=True, disable=hidden):
                yield future.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _client() -> Any:
    try:
        return boto3.session.Session().client("s3", config=PATIENT)  # reads credentials anew
    except ValueError as error:  # "Invalid endpoint: localhost:8333"
        raise InputError(f"{error}; expected http:// or https:// in AWS_ENDPOINT_URL") from None


@contextmanager
def _as_input_error(place: Place) -> Iterator[None]:
    """Turns failures of server, network and disk into one message."""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError):
        raise InputError(
            f"{place}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        ) from None
    except (ClientError, S3UploadFailedError) as error:
        raise InputError(f"{place}: {_answer(error)}") from None
    except CUT as error:
        url = urlsplit(getattr(error, "kwargs", {}).get("endpoint_url") or "")  # unknown when a body is cut
        where = f" to {url.netloc}" if url.netloc else ""
        raise InputError(
            f"{place}: the connection{where} failed ({type(error).__name__}); what is done is kept, "
            f"run it again"
        ) from None
    except BotoCoreError as error:
        raise InputError(f"{place}: {error}") from None
    except OSError as error:
        raise InputError(
            f"{place}: {error.strerror or error} ({error.filename}); what is done is kept"
        ) from None


def _answer(error: Exception) -> str:
    """Explains a server's refusal."""
    cause = error if isinstance(error, ClientError) else error.__context__
    response: Mapping[str, Any] = cause.response if isinstance(cause, ClientError) else {}
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in REFUSED:
        return f"refused ({code}); check the credentials and what they may do"
    if code == "NoSuchBucket":
        return "no such bucket; make it first, or check its name and AWS_ENDPOINT_URL"
    if code == "NoSuchKey":
        return f"a file that {SUMS} names is missing; push the folder again"
    if status >= 500:
        return f"the server failed ({code or status}); what is done is kept, run it again"
    return str(error)
