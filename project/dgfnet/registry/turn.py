"""One decision about a model at a time: the registry cannot look and set in one step, so deciders take turns.

Lamport's bakery algorithm (Communications of the ACM 17(8), 1974) on tags of the registered model, one of
each decider: it needs nothing of a server but that a tag which was set is there for who asks afterwards.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from dgfnet.errors import InputError

TURN = "dgfnet.turn"  # tag: a number, 0 while it is being chosen, and when it was set, in seconds since 1970
LEASE = 120.0  # seconds after which a decider counts as dead; a decision takes a few
PATIENCE = 60.0  # seconds; clocks of deciders may differ by the rest of a lease
PAUSE = 0.1


@contextmanager
def turn(client: MlflowClient, model: str) -> Iterator[Any]:
    """Runs the block when nobody else decides about a registered model; yields it as it is then.

    Raises:
        InputError: when others did not end within PATIENCE.
    """
    own, end = uuid.uuid4().hex, time.monotonic() + PATIENCE
    try:
        _say(client, model, own, 0)
        others, _ = _others(client, model, own)
        number = 1 + max(others.values(), default=0)
        _say(client, model, own, number)
        while True:
            others, registered = _others(client, model, own)
            if all(other and (number, own) < (other, name) for name, other in others.items()):
                break
            if time.monotonic() > end:
                raise InputError(
                    f"{model}: somebody else has been deciding about it for {PATIENCE:.0f} s; look at "
                    f"dgfnet history, and run it again in {LEASE:.0f} s"
                )
            time.sleep(PAUSE)
        yield registered
    finally:
        with suppress(MlflowException):
            client.delete_registered_model_tag(model, f"{TURN}.{own}")


def _say(client: MlflowClient, model: str, own: str, number: int) -> None:
    client.set_registered_model_tag(model, f"{TURN}.{own}", f"{number} {time.time():.0f}")


def _others(client: MlflowClient, model: str, own: str) -> tuple[dict[str, int], Any]:
    """Returns the numbers of the others, and the model; tags of dead ones are removed."""
    numbers, registered = {}, client.get_registered_model(model)
    for tag, value in registered.tags.items():
        name = tag.removeprefix(f"{TURN}.")
        if name in (tag, own):
            continue
        number, since = value.split()
        if time.time() - float(since) < LEASE:
            numbers[name] = int(number)
        else:
            with suppress(MlflowException):
                client.delete_registered_model_tag(model, tag)
    return numbers, registered
