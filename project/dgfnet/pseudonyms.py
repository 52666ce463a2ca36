"""Pseudonyms of patients and nodules: keyed hashes, wherever the identifiers themselves must not go."""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from dgfnet.errors import InputError
from dgfnet.settings import Settings

IDENTIFIERS = ("patient_id", "nodule_id")  # columns whose values name somebody
KEY, KEY_FILE = "DGFNET_ID_KEY", "id.key"
SHORTEST_KEY = 16  # characters


def hidden(path: Path, key: bytes) -> bytes:
    """Returns a CSV file as it goes to the store: keyed hashes stand for patients and nodules."""
    text = io.StringIO(newline="")
    with path.open(encoding="utf-8", newline="") as source:
        rows = csv.DictReader(source)
        writer = csv.DictWriter(text, rows.fieldnames or [], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(row | {name: pseudonym(key, row[name]) for name in IDENTIFIERS if name in row})
    return text.getvalue().encode()


def identity_key(settings: Settings) -> bytes:
    """Returns the secret behind pseudonyms: DGFNET_ID_KEY, or id.key beside params.yaml, made if missing.

    Machines that log to one store need the same key, or the same patient gets two pseudonyms. Of several
    first users at once all get the key of the first: it is written elsewhere, and its name is given once.

    Raises:
        InputError: when the key is so short that somebody could try all there are.
    """
    if given := os.environ.get(KEY):
        return _long_enough(given.encode(), KEY)
    path = settings.home / KEY_FILE
    if not path.exists():
        with tempfile.NamedTemporaryFile(dir=settings.home, prefix=f".{KEY_FILE}.") as stream:
            stream.write(secrets.token_hex(32).encode())
            stream.flush()
            os.fsync(stream.fileno())
            try:
                os.link(stream.name, path)
            except FileExistsError:
                pass  # somebody else was first
            except OSError:  # no hard links here: nearly as good, and a short key is refused below
                with suppress(FileExistsError), open(path, "xb", opener=_private) as whole:
                    whole.write(Path(stream.name).read_bytes())
    return _long_enough(path.read_bytes(), str(path))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _long_enough(key: bytes, origin: str) -> bytes:
    if len(key.strip()) < SHORTEST_KEY:
        raise InputError(
            f"{origin}: {len(key.strip())} characters are no secret, expected at least {SHORTEST_KEY}; bring "
            f"the key back from a backup, or remove it and a new one is made: then nothing logged before is "
            f"comparable any more (docs/how-to/own-data.md)"
        )
    return key


def pseudonym(key: bytes, identifier: str) -> str:
    """Returns 16 hex digits for an identifier: HMAC-SHA256, so nobody without the key can try names."""
    return hmac.new(key, identifier.encode(), hashlib.sha256).hexdigest()[:16]
