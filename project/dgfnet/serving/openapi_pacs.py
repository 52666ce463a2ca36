"""Schemas of the paths below /pacs in /openapi.json."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from dgfnet.pacs.client import InstanceEntry, SeriesEntry, StudyEntry
from dgfnet.serving import openapi
from dgfnet.serving.openapi import (
    ANSWERS,
    ERROR,
    EXPLANATIONS,
    PREVIEWS,
    Schema,
    json_answer,
    object_schema,
    request_body,
)

UID: Schema = {"type": "string", "maxLength": 64, "pattern": r"^[0-9]+(\.[0-9]+)*$"}
REFERENCE: Schema = {
    **object_schema(
        {
            **dict.fromkeys(("study", "series", "instance"), UID),
            "frame": {"type": ["integer", "null"], "minimum": 0, "description": "Of a clip, from 0."},
        },
        ("study", "series", "instance"),
    ),
    "description": "A picture of the PACS.",
}
REFERENCES: tuple[Schema, ...] = (REFERENCE, {"type": "array", "items": REFERENCE})
WINDOW: Schema = {
    "type": ["array", "null"],
    "items": {"type": "number"},
    "minItems": 2,
    "maxItems": 2,
    "description": "Centre and width in HU by which CT is shown; scored is by the model's own.",
}
FAULTS: dict[int | str, Schema] = {
    **openapi.FAULTS,
    404: json_answer("The PACS does not have it.", ERROR),
    502: json_answer("The PACS cannot be used: message says why.", ERROR),
}


def _described(request: Schema, answer: Schema) -> dict[str, Any]:
    return {"openapi_extra": request_body(request), "responses": {200: answer, **FAULTS}}


def _list(name: str, entry: type) -> Schema:
    """Returns the schema of a list of entries, made of the fields of their class."""
    kinds: dict[str, Schema] = {
        "str": {"type": "string"},
        "int": {"type": "integer"},
        "tuple[str, ...]": {"type": "array", "items": {"type": "string"}},
    }
    properties = {own.name: kinds[str(own.type)] for own in fields(entry)}
    rows = {"type": "array", "items": object_schema(properties, properties)}
    return object_schema({name: rows}, (name,))


_TEXT: Schema = {"type": "string"}
_SCORED = openapi.request_schema(REFERENCES)
_OBJECT = {**dict.fromkeys(("study", "series", "instance"), UID), "kind": _TEXT}
_STORED = object_schema(
    {"answer": {"type": "object"}, "stored": {"type": "array", "items": object_schema(_OBJECT, _OBJECT)}},
    ("answer", "stored"),
)
DESCRIBED: dict[str, dict[str, Any]] = {
    "studies": _described(
        object_schema(dict.fromkeys(("patient_id", "accession", "date"), _TEXT), ()),
        json_answer("Studies that match, the newest first.", _list("studies", StudyEntry)),
    ),
    "series": _described(
        object_schema({"study": UID}, ("study",)),
        json_answer("Series of US and CT.", _list("series", SeriesEntry)),
    ),
    "instances": _described(
        object_schema({"study": UID, "series": UID}, ("study", "series")),
        json_answer("Pictures of a series.", _list("instances", InstanceEntry)),
    ),
    "preview": _described(openapi.picture_schema(REFERENCES, WINDOW), PREVIEWS[200]),
    "invocations": _described(_SCORED, ANSWERS[200]),
    "explain": _described(_SCORED, EXPLANATIONS[200]),
    "send": _described(_SCORED, json_answer("The answer, and the objects that were stored.", _STORED)),
}
