"""Writes docs/reference/settings.md: the lists between its markers are made from dgfnet/sections.

The text under a field is its description. It is read from the syntax tree and not by pydantic's
`use_attribute_docstrings`, which reads the source once per section and costs every start 0.2 s.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeGuard, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from dgfnet.sections.fits import Range
from dgfnet.sections.section import Section
from dgfnet.settings import Settings
from dgfnet.vocabulary import PICTURED, RECORD_FUSIONS

PAGE = Path(__file__).parent / "reference" / "settings.md"
START, END = "<!-- lists: make docs -->", "<!-- end of lists -->"
WIDTH = 120
WORDS: dict[Any, str] = {
    int: "whole number",
    float: "number",
    str: "text",
    bool: "`true` or `false`",
    tuple[str, ...]: "list of texts",
    tuple[float, float]: "two numbers",
    dict[str, Range]: "table of ranges",
    dict[str, dict[str, Any]]: "table of tables",
}
SIGNS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def page(text: str) -> str:
    """Returns the page with the lists between its markers made anew."""
    before, rest = text.split(START)
    after = rest.split(END)[1]
    parts = [variants(), *(part(name, section) for name, section in sections())]
    return f"{before}{START}\n" + "\n".join(parts) + f"\n{END}{after}"


def variants() -> str:
    """Returns the sentence that names the variants, for the many settings that take them."""
    plain, record = (", ".join(f"`{name}`" for name in names) for names in (PICTURED, RECORD_FUSIONS))
    return wrapped(f"Variants are {plain}; those with the record are {record}.", "") + "\n"


def sections() -> Iterator[tuple[str, type[Section]]]:
    """Yields name and class of every section of params.yaml, in the order of `Settings`."""
    for name, field in Settings.model_fields.items():
        if is_section(field.annotation):
            yield field.alias or name, field.annotation


def is_section(kind: Any) -> TypeGuard[type[Section]]:
    """Says that a field holds a section; `tuple[str, ...]` passes for a type, too, but not for a class."""
    return inspect.isclass(kind) and get_origin(kind) is None and issubclass(kind, Section)


def part(name: str, section: type[Section]) -> str:
    """Returns the heading of a section, its docstring and an item per key."""
    items = [f"- `{key}` ({values(field)}): {text}" for key, field, text in keys(name, section)]
    lines = [wrapped(linked(item), "  ") for item in items]
    return "\n".join([f"## {name}", "", wrapped(linked(inspect.getdoc(section) or ""), ""), "", *lines, ""])


def wrapped(text: str, indent: str) -> str:
    """Returns a text in lines of the docs' width."""
    return textwrap.fill(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def keys(name: str, section: type[Section]) -> Iterator[tuple[str, FieldInfo, str]]:
    """Yields full key, field and description of every setting of a section and of the sections inside it."""
    texts = descriptions(section)
    for key, field in section.model_fields.items():
        if is_section(field.annotation):
            yield from keys(f"{name}.{key}", field.annotation)
        else:
            yield f"{name}.{key}", field, texts.get(key, "")


def descriptions(section: type[Section]) -> dict[str, str]:
    """Returns the text that stands under each field of a section."""
    tree = ast.parse(inspect.getsource(section)).body[0]
    assert isinstance(tree, ast.ClassDef)
    texts = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            texts[field.target.id] = " ".join(str(below.value.value).split())
    return texts


def values(field: FieldInfo) -> str:
    """Returns the values that a setting takes, in words, with its limits."""
    kind = field.annotation
    if type(None) in get_args(kind):
        (some,) = (one for one in get_args(kind) if one is not type(None))
        return f"{choice('one of', get_args(some)) if get_args(some) else WORDS[some]}, or `null`"
    if get_origin(kind) is Literal:
        return choice("one of", get_args(kind))
    if get_origin(kind) is tuple and get_origin(get_args(kind)[0]) is Literal:
        return choice("any of", get_args(get_args(kind)[0]))
    if get_origin(kind) is Union:  # words that stand for a number, or the number
        words, number = get_args(kind)
        plain, limited = get_args(number)
        named = " or ".join(f"`{word}`" for word in get_args(words))
        return f"{named}, or a {within(plain, limited.metadata)}"
    return within(kind, field.metadata)


def within(kind: Any, metadata: Sequence[Any]) -> str:
    """Returns a kind of value with its limits, in words."""
    limits = [
        f"{sign} {getattr(limit, name):g}"
        for limit in metadata
        for name, sign in SIGNS.items()
        if hasattr(limit, name)
    ]
    return " ".join([WORDS[kind], " and ".join(limits)]).strip()


def choice(start: str, names: Sequence[str]) -> str:
    """Returns a choice of names; that of all variants in a few words."""
    if not set(PICTURED) <= set(names):
        return f"{start} " + ", ".join(f"`{name}`" for name in names)
    with_record = ["those with the record"] if set(RECORD_FUSIONS) <= set(names) else []
    more = [f"`{name}`" for name in names if name not in (*PICTURED, *RECORD_FUSIONS)]
    return f"{start} {' or '.join(['the variants', *with_record, *more])}"


def linked(text: str) -> str:
    """Returns a text with links in place of paths of the docs."""
    return re.sub(r"docs/(\S+\.md)", r"[docs/\1](../\1)", text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
