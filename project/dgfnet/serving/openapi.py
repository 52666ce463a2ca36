"""Schemas of requests and answers in /openapi.json, from which clients can be made and tests drawn."""

from __future__ import annotations

from typing import Any

from dgfnet.imaging.boxes import FORMS
from dgfnet.imaging.limits import SPACING_MM
from dgfnet.serving.answers import COLUMNS, NOVELTIES, NUMBERS
from dgfnet.serving.connection import JSON
from dgfnet.serving.decode import FIELDS, LARGEST_FILE, MOST_IMAGES, NAME, SEGMENTS, SPACING_FIELDS
from dgfnet.serving.records import MOST_CASES
from dgfnet.tabular.design import RECORD
from dgfnet.vocabulary import MODALITIES

Schema = dict[str, Any]
STATUSES = {
    400: "A case cannot be scored, or this is no request: message names case, field and place.",
    408: "The body came too slowly.",
    401: "No valid token, where the server asks for one.",
    411: "No Content-Length.",
    413: "The body is too large.",
    415: "The body is not application/json in UTF-8.",
    429: "The server is busy; try again later.",
    500: "An error of ours; the server's log has the reason.",
    503: "The server was stopped before the answer was there.",
    504: "The work took too long.",
}


def _object(properties: dict[str, Schema], required: tuple[str, ...], more: bool = True) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": more,
    }


def _case() -> Schema:
    """Returns the schema of a case: a name, images and masks, the regions that masks mean, the record."""
    file = {
        "type": "string",
        "contentEncoding": "base64",
        "description": "A PNG, JPEG, TIFF, BMP or DICOM file.",
        "maxLength": LARGEST_FILE * 4 // 3 + 4,
    }
    row = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}, "minItems": 1}
    matrix = {"type": "array", "items": row, "minItems": 1, "description": "Grey values, rows of one length."}
    images = {"type": "array", "items": {"anyOf": [file, matrix]}, "maxItems": MOST_IMAGES}
    image = {"anyOf": [file, matrix, images, {"type": "null"}]}
    name = {"type": "string", "minLength": 1, "description": "Comes back with the answer."}
    region = {
        "type": ["string", "null"],
        "pattern": "\\S",
        "description": "Number, name or code.",
    }
    side = {
        "type": ["number", "null"],
        "minimum": SPACING_MM[0],
        "maximum": SPACING_MM[1],
        "description": "Side of a pixel in mm, where the files do not say.",
    }
    record = {
        "type": ["object", "string", "null"],
        "additionalProperties": {"type": ["number", "string", "null"]},
        "description": "Columns of the record that the model reads, as age; an object or its JSON text.",
    }
    more = dict.fromkeys(SEGMENTS, region) | dict.fromkeys(SPACING_FIELDS, side) | {RECORD: record}
    for form in FORMS:
        more |= {f"{modality}_{form}": _mark(form) for modality in MODALITIES}
    return _object({NAME: name} | dict.fromkeys(FIELDS, image) | more, (NAME,))


def _mark(form: str) -> Schema:
    """Returns the schema of boxes or calipers: one list of numbers, or a list of these."""
    length = {"minItems": 4, "maxItems": 4 if form == "box" else 8}
    numbers = {"type": "array", "items": {"type": "number"}, **length}
    several = {"type": "array", "items": numbers, "minItems": 1, "maxItems": MOST_IMAGES}
    described = f"In place of masks: {FORMS[form]}; for several images a list of these."
    return {"anyOf": [numbers, several, {"type": "null"}], "description": described}


def _request() -> Schema:
    """Returns the schema of a request: exactly one of the three forms."""
    cases = {"type": "array", "items": _case(), "minItems": 1, "maxItems": MOST_CASES}
    table = _object(
        {
            "columns": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
            "data": {"type": "array", "items": {"type": "array"}, "maxItems": MOST_CASES},
            "index": {},
        },
        ("columns", "data"),
        more=False,
    )
    forms = {"dataframe_records": cases, "inputs": cases, "dataframe_split": table}
    return {"oneOf": [_object({name: form}, (name,)) for name, form in forms.items()]}


def _answer() -> Schema:
    number = {"type": ["number", "null"]}
    types: dict[str, Schema] = dict.fromkeys((*NUMBERS, *NOVELTIES), number)
    types["warnings"] = {"type": "array", "items": {"type": "string"}}
    types["level"] = {"type": "string", "enum": ["answer", "caution", "no answer"]}
    types["prediction_set"] = {"type": "string", "enum": ["", "negative", "positive", "either", "neither"]}
    names = (NAME, *COLUMNS, "model", "version")
    row = _object({name: types.get(name, {"type": "string"}) for name in names}, names, more=False)
    return _object({"predictions": {"type": "array", "items": row}}, ("predictions",), more=False)


def _explanation() -> Schema:
    numbers: Schema = {"type": "array", "items": {"type": "number"}}
    shown = _object(
        {"picture": {"type": "integer"}, "log_odds": {"type": "array", "items": numbers}},
        ("picture", "log_odds"),
        more=False,
    )
    properties: dict[str, Schema] = {name: {"anyOf": [shown, {"type": "null"}]} for name in MODALITIES}
    properties |= {name: {"type": "string"} for name in (NAME, "model", "version")}
    row = _object(properties, tuple(properties), more=False)
    return _object({"explanations": {"type": "array", "items": row}}, ("explanations",), more=False)


def _picture() -> Schema:
    """Returns the schema of a picture to be looked at."""
    case = _case()["properties"]
    properties: dict[str, Schema] = {"modality": {"type": "string", "enum": list(MODALITIES)}}
    properties |= {"image": case["us"], **{form: _mark(form) for form in FORMS}}
    return _object(properties, ("modality", "image"))


def _seen() -> Schema:
    number, whole = {"type": "number"}, {"type": "integer"}
    numbers = {"type": "array", "items": number}
    properties: dict[str, Schema] = {
        "picture": {"type": "string", "contentEncoding": "base64"},
        "width": whole,
        "height": whole,
        "spacing_mm": {"type": ["number", "null"]},
        "box": numbers,
        "outline": {"type": "array", "items": numbers},
        "square": {"type": "array", "items": whole},
    }
    return _object(properties, ("picture", "width", "height", "spacing_mm"), more=False)


def _described(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {JSON: {"schema": schema}}}


ERROR = _object(
    {
        "error_code": {"type": "string", "enum": ["BAD_REQUEST", "INTERNAL_ERROR"]},
        "message": {"type": "string", "maxLength": 500},
    },
    ("error_code", "message"),
    more=False,
)
ANSWERS: dict[int | str, Schema] = {
    200: _described("An answer per case, in order.", _answer()),
    **{status: _described(text, ERROR) for status, text in STATUSES.items()},
}
REQUEST: Schema = {"requestBody": {"required": True, "content": {JSON: {"schema": _request()}}}}
PICTURE: Schema = {"requestBody": {"required": True, "content": {JSON: {"schema": _picture()}}}}
EXPLANATIONS: dict[int | str, Schema] = {
    200: _described("Per case what the parts of its largest pictures say, log odds.", _explanation()),
    **{status: _described(text, ERROR) for status, text in STATUSES.items()},
}
PREVIEWS: dict[int | str, Schema] = {
    200: _described(
        "The picture as the networks see it; the outline in the box and the square around it.", _seen()
    ),
    **{status: _described(text, ERROR) for status, text in STATUSES.items()},
}
BLANK: dict[int | str, Schema] = {200: {"description": "As MLflow's scoring server.", "content": {JSON: {}}}}
COUNTS: dict[int | str, Schema] = {
    200: {"description": "Counts for Prometheus.", "content": {"text/plain": {}}},
    401: _described(STATUSES[401], ERROR),
}
