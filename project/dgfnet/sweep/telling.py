"""Tells the store what happens in a fit, from a thread of its own: training never waits for a server.

What a server did not take is told again a little later. What it has not taken when the fit ends lies in the
fit's own record: the driver logs it when all are done, or the next start of the same command.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from dgfnet.tracking import ALIVE, STOPPED, Run

PAUSE = 30.0  # seconds between two messages of a fit
LAST = 30.0  # seconds that a fit waits for its last message


class Teller:
    """The messages of one fit: epochs as they come, and at the end what it is remembered by."""

    def __init__(self, open_run: Callable[[], Run]) -> None:
        self._open = open_run
        self._run: Run | None = None
        self._epochs: dict[int, tuple[int, int, Mapping[str, float]]] = {}
        self._params: dict[str, Any] = {}
        self._metrics: dict[str, float] = {}
        self._tags: dict[str, Any] = {}
        self._status = ""
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._work, name="telling", daemon=True)
        self._thread.start()

    def epoch(self, step: int, record: Mapping[str, float]) -> None:
        """Takes note of the metrics of an epoch; the first time counts."""
        with self._lock:
            self._epochs.setdefault(step, (step, int(time.time() * 1000), dict(record)))

    def conclude(self, metrics: Mapping[str, float], params: Mapping[str, Any]) -> None:
        """Takes note of what the fit is remembered by."""
        with self._lock:
            self._metrics, self._params = dict(metrics), dict(params)

    def end(self, status: str, tags: Mapping[str, Any]) -> None:
        """Tells the rest, and waits for that at most LAST seconds."""
        self._status, self._tags = status, dict(tags)
        self._over.set()
        self._thread.join(LAST)

    def _work(self) -> None:
        while True:
            over = self._over.is_set()
            with suppress(Exception):  # of MLflow, requests, urllib3: told again, or by the driver
                self._send(over)
            if over:
                return
            self._over.wait(PAUSE)

    def _send(self, over: bool) -> None:
        run = self._run = self._run or self._open()
        with self._lock:
            epochs = list(self._epochs.values())
        run.epochs(epochs, self._tags if over else {ALIVE: f"{time.time():.0f}"})
        if over:
            if self._metrics:
                run.metrics(self._metrics)
            if self._params:
                run.params(self._params)
            run.client.set_terminated(run.run_id, self._status)


@contextmanager
def telling(open_run: Callable[[], Run]) -> Iterator[Teller]:
    """Yields the teller of a fit; its run ends FINISHED, or FAILED when the block raises."""
    teller = Teller(open_run)
    try:
        yield teller
    except SystemExit:  # a scheduler stops a trial this way
        teller.end("FINISHED", {STOPPED: "by the scheduler"})
        raise
    except BaseException as error:
        teller.end("FAILED", {"error": f"{type(error).__name__}, see the terminal"})  # it may name a file
        raise
    teller.end("FINISHED", {})


@contextmanager
def kept_alive(run: Run) -> Iterator[None]:
    """Says of a run, every minute of a block, that its process lives."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(2 * PAUSE):
            with suppress(Exception):
                run.tags({ALIVE: f"{time.time():.0f}"})

    thread = threading.Thread(target=work, name="alive", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
