"""Changed copies of valid requests, sent to a server process: an answer or a 4xx in one form, in time."""

import base64
import copy
import http.client
import json
import os
import random
import time

import pytest
from made import case, disc, picture
from server_process import server

from mutation import mutate

FORBIDDEN = ("Traceback", "/tmp", "dgfnet-case", 'File "', ".py", "site-packages", "Error:", "<class")
SECONDS = 20  # for one request, on a machine that does other things as well
VALUES = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        255,
        0.5,
        1e308,
        10**400,
        "",
        " ",
        "x",
        "\ud800",
        "\u0000",
        "*",
        "Kn\u00f6tchen",
    ),
    *(
        [],
        [[]],
        [[[]]],
        {},
        {"a": 1},
        [None],
        [0],
        [[0]],
        [[0, 1], [1, 0]],
        [[[1]]],
        "A" * 10_000,
        float("nan"),
    ),
)
TYPES = (
    *(
        "application/json",
        "APPLICATION/JSON",
        "application/json; charset=utf-8",
        "application/json; charset=utf-16",
    ),
    *(
        "text/plain",
        "",
        "application/json;;",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
    ),
)
PATHS = (
    "/invocations",
    "/invocations/",
    "/invocations?a=1",
    "//invocations",
    "/ping",
    "/version",
    "/nothing/%00",
)
METHODS = ("POST", "GET", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE")


def valid(draw):
    """A request of one of the forms that are read."""
    matrix = case(0) | {"us": picture(0).tolist(), "us_mask": disc(14).tolist()}
    several = {name: value if name == "nodule" else [value] * 2 for name, value in case(1).items()}
    cases = [draw.choice((case(draw.randrange(3)), matrix, several)) for _ in range(draw.choice((1, 1, 2)))]
    first = cases[0] | {"us_segment": "1"} if draw.random() < 0.2 else cases[0]
    return copy.deepcopy(
        draw.choice(
            (
                {"dataframe_records": cases},
                {"inputs": cases},
                {"dataframe_split": {"columns": list(first), "data": [list(first.values())]}},
            )
        )
    )


def spots(value, above=()):
    """The places in a document, but for single grey values: as (container, key)."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys)[:8]:
        yield value, key
        yield from spots(value[key])


def change(document, draw):
    """Replaces, drops, doubles or renames a value, or changes a file in it."""
    container, key = draw.choice(list(spots(document)))
    kind = draw.randrange(6)
    if kind == 0 and isinstance(container, dict):
        container[draw.choice(("us", "ct", "us_mask", "ct_mask", "nodule", "inputs", "x"))] = container.pop(
            key
        )
    elif kind == 1:
        del container[key]
    elif kind == 2:
        container[key] = [container[key]] * draw.choice((2, 3, 70))
    elif kind in (3, 4) and isinstance(container[key], str) and len(container[key]) > 100:
        changed = mutate(base64.b64decode(container[key]), "us.png", draw)
        container[key] = base64.b64encode(changed).decode()
    else:
        container[key] = copy.deepcopy(draw.choice(VALUES))


def request(seed):
    """Method, path, header and body of a changed request."""
    draw = random.Random(seed)
    document = valid(draw)
    for _ in range(draw.choice((1, 1, 2, 3))):
        if not list(spots(document)):
            break
        change(document, draw)
    body = json.dumps(document).encode()
    if draw.random() < 0.15:
        body = mutate(body, "body.json", draw)
    fields = {"Content-Type": draw.choice(TYPES) if draw.random() < 0.1 else TYPES[0]}
    method, path = (draw.choice(METHODS), draw.choice(PATHS)) if draw.random() < 0.1 else ("POST", PATHS[0])
    return method, path, fields, body


def fault(seed, port):
    """Sends a changed request; says what is wrong with the answer, None when nothing is."""
    method, path, fields, body = request(seed)
    begun = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3 * SECONDS)
    try:
        connection.request(method, path, body, fields)
        response = connection.getresponse()
        status, text = response.status, response.read().decode()
    except OSError as error:
        return 0, f"{error!r}"
    finally:
        connection.close()
    if time.monotonic() - begun > SECONDS:
        return status, f"{time.monotonic() - begun:.0f} s"
    if status >= 500 or any(word in text for word in FORBIDDEN):
        return status, text[:500]
    if method == "HEAD" or path in ("/ping", "/version"):
        return status, None
    answer = json.loads(text)
    expected = {"predictions"} if status == 200 else {"error_code", "message"}
    return status, None if answer.keys() == expected else text[:500]


def send(first, count, bundle):
    with server(bundle, {}) as (process, port):
        found = {seed: fault(seed, port) for seed in range(first, first + count)}
        assert process.poll() is None
    assert {seed: what for seed, what in found.items() if what[1]} == {}
    statuses = [status for status, _ in found.values()]
    assert {200, 400} <= set(statuses)
    assert statuses.count(200) > count / 100  # else little would be tried behind the checks


def test_two_hundred_changed_requests(bundle):
    send(0, 200, bundle)


@pytest.mark.slow
def test_thousands_of_changed_requests(bundle):
    send(1000, int(os.environ.get("DGFNET_MUTATIONS", "2000")), bundle)
