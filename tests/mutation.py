"""Changes valid files and texts at random, as a broken copy or a careless tool would."""

from __future__ import annotations

import gzip
import random
import re
import struct
import zlib

NUMBERS = (b"0", b"1", b"-1", b"2", b"255", b"65536", b"1e999", b"nan", b"99999999999999999999", b"0.5", b"")
WORDS = (
    b"null",
    b"true",
    b"[]",
    b"{}",
    b'""',
    b"\xff\xfe",
    b"\x00",
    b"\n",
    b",",
    b'"',
    b"\xe2\x80\x8b",
    b"=1+1",
)
EDGES = (b"\x00", b"\xff", b"\x7f\xff", b"\x80\x00", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x01\x00")
HEAD = 1024  # bytes in which most formats say what follows


def mutate(raw: bytes, name: str, draw: random.Random) -> bytes:
    """Returns the bytes of a file with one to three changes, mostly with right checksums of PNG and gzip."""
    inner = name.endswith(".gz") and draw.random() < 0.8
    if inner:
        raw = gzip.decompress(raw)
    for _ in range(draw.choice((1, 1, 2, 3))):
        is_text = name.endswith((".json", ".xml", ".csv")) or (
            name.endswith((".nrrd", ".mha")) and draw.random() < 0.6
        )
        raw = draw.choice(TEXTS if is_text else BYTES)(raw, draw)
    if inner:
        return gzip.compress(raw, 1)
    return checksummed(raw) if name.endswith(".png") and draw.random() < 0.8 else raw


def place(raw: bytes, draw: random.Random) -> int:
    return draw.randrange(max(1, min(len(raw), HEAD) if draw.random() < 0.7 else len(raw)))


def flip(raw: bytes, draw: random.Random) -> bytes:
    at = place(raw, draw)
    return raw[:at] + bytes([raw[at] ^ (1 << draw.randrange(8))]) + raw[at + 1 :] if raw else raw


def cut(raw: bytes, draw: random.Random) -> bytes:
    return raw[: place(raw, draw)]


def drop(raw: bytes, draw: random.Random) -> bytes:
    at = place(raw, draw)
    return raw[:at] + raw[at + draw.choice((1, 2, 4, 16, 100)) :]


def repeat(raw: bytes, draw: random.Random) -> bytes:
    at = place(raw, draw)
    return raw[:at] + raw[at : at + draw.choice((1, 2, 4, 16, 100))] * 2 + raw[at:]


def edge(raw: bytes, draw: random.Random) -> bytes:
    at, value = place(raw, draw), draw.choice(EDGES)
    return raw[:at] + value + raw[at + len(value) :]


def number(raw: bytes, draw: random.Random) -> bytes:
    found = list(re.finditer(rb"-?\d+(\.\d+)?", raw[: 4 * HEAD]))
    if not found:
        return raw
    where = draw.choice(found)
    return raw[: where.start()] + draw.choice(NUMBERS) + raw[where.end() :]


def word(raw: bytes, draw: random.Random) -> bytes:
    at = place(raw, draw)
    return raw[:at] + draw.choice(WORDS) + raw[at:]


def line(raw: bytes, draw: random.Random) -> bytes:
    """Drops, repeats or moves a line."""
    lines = raw.split(b"\n")
    at = draw.randrange(min(len(lines), 40))
    lines[at : at + 1] = draw.choice(([], [lines[at]] * 2, [draw.choice(lines), lines[at]]))
    return b"\n".join(lines)


BYTES = (flip, flip, flip, cut, drop, repeat, edge, edge)
TEXTS = (number, number, word, line, drop, repeat, flip, cut)


def checksummed(raw: bytes) -> bytes:
    """Writes the right checksum behind each chunk of a PNG, as far as chunks can be told apart."""
    made, at = bytearray(raw[:8]), 8
    while at + 12 <= len(raw):
        (length,) = struct.unpack(">I", raw[at : at + 4])
        if at + 12 + length > len(raw):
            break
        content = raw[at + 4 : at + 8 + length]
        made += raw[at : at + 4] + content + struct.pack(">I", zlib.crc32(content))
        at += 12 + length
    return bytes(made) + raw[at:]
