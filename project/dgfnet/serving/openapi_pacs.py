"""Schemas of the paths below /pacs in /openapi.json."""

from __future__ import annotations

import copy
from dataclasses import fields
from typing import Any

from dgfnet.pacs.client import InstanceEntry, SeriesEntry, StudyEntry
from dgfnet.serving.connection import JSON
from dgfnet.serving.openapi import ANSWERS, ERROR, EXPLANATIONS, PICTURE, PREVIEWS, REQUEST, STATUSES, Schema
from dgfnet.vocabulary import MODALITIES

UID: Schema = {"type": "string", "maxLength": 64, "pattern": r"^[0-9]+(\.[0-9]+)*$"}
REFERENCE: Schema = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("study", "series", "instance"), UID),
        "frame": {"type": ["integer", "null"], "minimum": 0, "description": "Of a clip, from 0."},
    },
    "required": ["study", "series", "instance"],
    "additionalProperties": False,
    "description": "A picture of the PACS.",
}
WINDOW: Schema = {
    "type": ["array", "null"],
    "items": {"type": "number"},
    "minItems": 2,
    "maxItems": 2,
    "description": "Centre and width in HU by which CT is shown; scored is by the model's own.",
}
FAULTS: dict[int | str, Schema] = {
    status: {"description": text, "content": {JSON: {"schema": ERROR}}}
    for status, text in {
        **STATUSES,
        404: "The PACS does not have it.",
        502: "The PACS cannot be used: message says why.",
    }.items()
}


def _described(request: Schema, answer: Schema | None, told: str) -> dict[str, Any]:
    good = {"description": told, "content": {JSON: {"schema": answer or {}}}}
    return {
        "openapi_extra": {"requestBody": {"required": True, "content": {JSON: {"schema": request}}}},
        "responses": {200: good, **FAULTS},
    }


def _object(properties: Schema, required: list[str], more: bool = False) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": more,
    }


def _list(name: str, entry: type) -> Schema:
    """Returns the schema of a list of entries, made of the fields of their class."""
    kinds: dict[str, Schema] = {
        "str": {"type": "string"},
        "int": {"type": "integer"},
        "tuple[str, ...]": {"type": "array", "items": {"type": "string"}},
    }
    properties = {own.name: kinds[str(own.type)] for own in fields(entry)}
    row = _object(properties, list(properties))
    return _object({name: {"type": "array", "items": row}}, [name])


def _with_references(request: Schema) -> Schema:
    """Returns the schema of a request whose images may be references, too."""
    own = copy.deepcopy(request["requestBody"]["content"][JSON]["schema"])
    for form in own["oneOf"]:
        for cases in form["properties"].values():
            if "items" in cases:
                for modality in MODALITIES:
                    cases["items"]["properties"][modality] = _or_reference(
                        cases["items"]["properties"][modality]
                    )
    return dict(own)


def _or_reference(image: Schema) -> Schema:
    several = {"type": "array", "items": REFERENCE}
    return {"anyOf": [*image["anyOf"], REFERENCE, several]}


def _picture() -> Schema:
    own = copy.deepcopy(PICTURE["requestBody"]["content"][JSON]["schema"])
    own["properties"]["image"] = _or_reference(own["properties"]["image"])
    own["properties"]["window"] = WINDOW
    return dict(own)


_TEXT: Schema = {"type": "string"}
_SCORED = _with_references(REQUEST)
_STORED = _object(
    {
        "answer": {"type": "object"},
        "stored": {
            "type": "array",
            "items": _object(
                {**dict.fromkeys(("study", "series", "instance"), UID), "kind": _TEXT},
                ["study", "series", "instance", "kind"],
            ),
        },
    },
    ["answer", "stored"],
)
DESCRIBED: dict[str, dict[str, Any]] = {
    "studies": _described(
        _object(dict.fromkeys(("patient_id", "accession", "date"), _TEXT), []),
        _list("studies", StudyEntry),
        "Studies that match, the newest first.",
    ),
    "series": _described(
        _object({"study": UID}, ["study"]), _list("series", SeriesEntry), "Series of US and CT."
    ),
    "instances": _described(
        _object({"study": UID, "series": UID}, ["study", "series"]),
        _list("instances", InstanceEntry),
        "Pictures of a series.",
    ),
    "preview": {**_described(_picture(), None, ""), "responses": {**FAULTS, 200: PREVIEWS[200]}},
    "invocations": {**_described(_SCORED, None, ""), "responses": {**FAULTS, 200: ANSWERS[200]}},
    "explain": {**_described(_SCORED, None, ""), "responses": {**FAULTS, 200: EXPLANATIONS[200]}},
    "send": _described(_SCORED, _STORED, "The answer, and the objects that were stored."),
}
