"""Schemas of requests and answers in /openapi.json, from which clients can be made and tests drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dgfnet.imaging.boxes import FORMS
from dgfnet.imaging.limits import SPACING_MM
from dgfnet.serving.answers import COLUMNS, NOVELTIES, NUMBERS
from dgfnet.serving.connection import JSON
from dgfnet.serving.decode import FIELDS, LARGEST_FILE, MOST_IMAGES, NAME, SEGMENTS, SPACING_FIELDS
from dgfnet.serving.records import MOST_CASES
from dgfnet.vocabulary import MODALITIES, RECORD

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


def object_schema(properties: Mapping[str, Schema], required: Iterable[str], more: bool = False) -> Schema:
    """Returns the schema of an object; `more` allows other properties than these."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": more,
    }


def json_answer(description: str, schema: Schema) -> Schema:
    """Returns what OpenAPI says of an answer in JSON."""
    return {"description": description, "content": {JSON: {"schema": schema}}}


def request_body(schema: Schema) -> Schema:
    """Returns what OpenAPI says of a request in JSON."""
    return {"requestBody": {"required": True, "content": {JSON: {"schema": schema}}}}


def image_schemas() -> list[Schema]:
    """Returns the schemas of what may stand for an image or mask: a file, a matrix, several of these."""
    file = {
        "type": "string",
        "contentEncoding": "base64",
        "description": "A PNG, JPEG, TIFF, BMP or DICOM file.",
        "maxLength": LARGEST_FILE * 4 // 3 + 4,
    }
    row = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 255}, "minItems": 1}
    matrix = {"type": "array", "items": row, "minItems": 1, "description": "Grey values, rows of one length."}
    images = {"type": "array", "items": {"anyOf": [file, matrix]}, "maxItems": MOST_IMAGES}
    return [file, matrix, images, {"type": "null"}]


def _case(references: Sequence[Schema]) -> Schema:
    """Returns the schema of a case: a name, images and masks, the regions that masks mean, the record."""
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
    image = {"anyOf": image_schemas()}
    pictures = dict.fromkeys(FIELDS, image) | dict.fromkeys(MODALITIES, _or(references))
    return object_schema({NAME: name} | pictures | more, (NAME,), more=True)


def _or(references: Sequence[Schema]) -> Schema:
    return {"anyOf": [*image_schemas(), *references]}


def _mark(form: str) -> Schema:
    """Returns the schema of boxes or calipers: one list of numbers, or a list of these."""
    length = {"minItems": 4, "maxItems": 4 if form == "box" else 8}
    numbers = {"type": "array", "items": {"type": "number"}, **length}
    several = {"type": "array", "items": numbers, "minItems": 1, "maxItems": MOST_IMAGES}
    described = f"In place of masks: {FORMS[form]}; for several images a list of these."
    return {"anyOf": [numbers, several, {"type": "null"}], "description": described}


def request_schema(references: Sequence[Schema] = ()) -> Schema:
    """Returns the schema of a request: exactly one of the three forms.

    Args:
        references: schemas of what else may stand for an image.
    """
    cases = {"type": "array", "items": _case(references), "minItems": 1, "maxItems": MOST_CASES}
    table = object_schema(
        {
            "columns": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
            "data": {"type": "array", "items": {"type": "array"}, "maxItems": MOST_CASES},
            "index": {},
        },
        ("columns", "data"),
    )
    forms = {"dataframe_records": cases, "inputs": cases, "dataframe_split": table}
    return {"oneOf": [object_schema({name: form}, (name,), more=True) for name, form in forms.items()]}


def _answer() -> Schema:
    number = {"type": ["number", "null"]}
    types: dict[str, Schema] = dict.fromkeys((*NUMBERS, *NOVELTIES), number)
    types["warnings"] = {"type": "array", "items": {"type": "string"}}
    types["level"] = {"type": "string", "enum": ["answer", "caution", "no answer"]}
    types["prediction_set"] = {"type": "string", "enum": ["", "negative", "positive", "either", "neither"]}
    names = (NAME, *COLUMNS, "model", "version")
    row = object_schema({name: types.get(name, {"type": "string"}) for name in names}, names)
    return object_schema({"predictions": {"type": "array", "items": row}}, ("predictions",))


def _explanation() -> Schema:
    numbers: Schema = {"type": "array", "items": {"type": "number"}}
    shown = object_schema(
        {"picture": {"type": "integer"}, "log_odds": {"type": "array", "items": numbers}},
        ("picture", "log_odds"),
    )
    properties: dict[str, Schema] = {name: {"anyOf": [shown, {"type": "null"}]} for name in MODALITIES}
    properties |= {name: {"type": "string"} for name in (NAME, "model", "version")}
    row = object_schema(properties, properties)
    return object_schema({"explanations": {"type": "array", "items": row}}, ("explanations",))


def picture_schema(references: Sequence[Schema] = (), window: Schema | None = None) -> Schema:
    """Returns the schema of a picture to be looked at.

    Args:
        references: schemas of what else may stand for an image.
        window: schema of the window by which CT is shown, where it can be chosen.
    """
    properties: dict[str, Schema] = {"modality": {"type": "string", "enum": list(MODALITIES)}}
    properties |= {"image": _or(references), **{form: _mark(form) for form in FORMS}}
    properties |= {} if window is None else {"window": window}
    return object_schema(properties, ("modality", "image"), more=True)


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
    return object_schema(properties, ("picture", "width", "height", "spacing_mm"))


ERROR = object_schema(
    {
        "error_code": {"type": "string", "enum": ["BAD_REQUEST", "INTERNAL_ERROR"]},
        "message": {"type": "string", "maxLength": 500},
    },
    ("error_code", "message"),
)
FAULTS: dict[int | str, Schema] = {status: json_answer(text, ERROR) for status, text in STATUSES.items()}
ANSWERS: dict[int | str, Schema] = {
    200: json_answer("An answer per case, in order.", _answer()),
    **FAULTS,
}
REQUEST, PICTURE = request_body(request_schema()), request_body(picture_schema())
EXPLANATIONS: dict[int | str, Schema] = {
    200: json_answer("Per case what the parts of its largest pictures say, log odds.", _explanation()),
    **FAULTS,
}
PREVIEWS: dict[int | str, Schema] = {
    200: json_answer(
        "The picture as the networks see it; the outline in the box and the square around it.", _seen()
    ),
    **FAULTS,
}
BLANK: dict[int | str, Schema] = {200: {"description": "As MLflow's scoring server.", "content": {JSON: {}}}}
COUNTS: dict[int | str, Schema] = {
    200: {"description": "Counts for Prometheus.", "content": {"text/plain": {}}},
    401: FAULTS[401],
}
