"""Signatures of what travels between hospitals: Ed25519 (RFC 8032), keys in PEM files."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dgfnet.errors import InputError

NEW_KEY = "openssl genpkey -algorithm ed25519 -out KEY; openssl pkey -in KEY -pubout -out KEY.pub"


def sign(key: Ed25519PrivateKey, content: bytes) -> dict[str, str]:
    """Returns the signature of a content and the public key, as JSON keeps them."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return {
        "public_key": key.public_key().public_bytes(serialization.Encoding.PEM, form).decode(),
        "signature": base64.b64encode(key.sign(content)).decode(),
    }


def check(source: Path, content: bytes, given: Any, keys: Sequence[Ed25519PublicKey]) -> str:
    """Checks what `sign` returned; returns the fingerprint of the signer's key.

    Args:
        source: the file, for messages.
        content: that was signed.
        given: what stands for the signature in the file.
        keys: of those who are trusted.

    Raises:
        InputError: when it is no signature, not of one of the keys, or of another content.
    """
    try:
        signer = serialization.load_pem_public_key(given["public_key"].encode())
        words = base64.b64decode(given["signature"], validate=True)
    except (ValueError, KeyError, TypeError, AttributeError, UnsupportedAlgorithm):
        raise InputError(f"{source}: holds no signature of dgfnet") from None
    if not isinstance(signer, Ed25519PublicKey):
        raise InputError(f"{source}: its signature is not of an Ed25519 key")
    shown = fingerprint_of(signer)
    if shown not in map(fingerprint_of, keys):
        raise InputError(
            f"{source}: signed with the key {shown}, which is none of those you trust "
            f"({', '.join(map(fingerprint_of, keys)) or 'none was named'}); compare it with the sender by "
            "another way, and name the public key with --trust"
        )
    try:
        signer.verify(words, content)
    except InvalidSignature:
        raise InputError(f"{source}: is not what was signed; not imported") from None
    return shown


def fingerprint_of(key: Ed25519PublicKey) -> str:
    """Returns the first 16 hex digits of the sha256 of a public key, by which people compare keys."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


def private_key(path: Path) -> Ed25519PrivateKey:
    """Reads a private key from a PEM file without a password.

    Raises:
        InputError: when it holds none.
    """
    what = "private Ed25519 key in PEM without a password"
    key = _key(path, lambda pem: serialization.load_pem_private_key(pem, None), what, NEW_KEY)
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path}: is no {what}; make one: {NEW_KEY}")
    return key


def public_key(path: Path) -> Ed25519PublicKey:
    """Reads a public key from a PEM file.

    Raises:
        InputError: when it holds none.
    """
    what, made = "public Ed25519 key in PEM", "openssl pkey -in KEY -pubout, by its owner"
    key = _key(path, serialization.load_pem_public_key, what, made)
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{path}: is no {what}; make one: {made}")
    return key


def _key(path: Path, load: Callable[[bytes], object], what: str, made: str) -> object:
    """Reads a key from PEM, of whatever kind; the message says how one is made."""
    try:
        return load(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); make a key: {made}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):  # no PEM, one with a password, of an unknown kind
        raise InputError(f"{path}: is no {what}; make one: {made}") from None
