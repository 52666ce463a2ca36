"""Work over processes: its order, how much of it is under way at once, and what a terminal shows."""

from __future__ import annotations

import io
import os
import time
from functools import partial
from pathlib import Path

import pytest
import rich.console

from dgfnet import parallel
from dgfnet.parallel import map_in_order, workers


def begin(folder, number):
    """Leaves a file that says that the item was worked on, and the process that did it."""
    (folder / str(number)).write_text(str(os.getpid()))
    return number * number


def fail_at_seven(number):
    if number == 7:
        raise ValueError("seven")
    return number


@pytest.mark.parametrize("count", [0, 1, 4, 5, 23])
@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_items(tmp_path, count, processes):
    found = list(map_in_order(partial(begin, tmp_path), range(count), processes, "squares", few=0))
    assert found == [number * number for number in range(count)]
    assert len(list(tmp_path.iterdir())) == count


def test_work_is_spread_only_when_there_is_much_of_it(tmp_path):
    list(map_in_order(partial(begin, tmp_path), range(3), 2, "squares", few=3))
    assert {path.read_text() for path in tmp_path.iterdir()} == {str(os.getpid())}


def test_no_more_items_are_under_way_than_are_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "IN_FLIGHT", 4)
    monkeypatch.setattr(parallel, "TOGETHER", 2)
    results = map_in_order(partial(begin, tmp_path), range(60), 2, "squares", few=0)
    for taken in range(1, 61):
        next(results)
        if taken in (1, 2, 3, 30):  # nobody takes the next result: the processes run dry
            settle(tmp_path)
        assert len(list(tmp_path.iterdir())) <= 8 + taken
    assert list(results) == []


def settle(folder: Path):
    """Waits until nothing has been begun for half a second."""
    before = -1
    while before != (before := len(list(folder.iterdir()))):
        time.sleep(0.5)


def test_an_error_of_one_item_ends_the_work(tmp_path):
    results = map_in_order(fail_at_seven, range(100), 2, "numbers", few=0)
    with pytest.raises(ValueError, match="seven"):
        list(results)


@pytest.mark.parametrize(
    ("memory", "cores", "number"),
    [(600, 16, 1), (799, 16, 1), (800, 16, 2), (1000, 16, 3), (8192, 16, 16), (8192, 64, 38), (8192, 1, 1)],
)
def test_processes_fit_into_the_memory_and_onto_the_cores(monkeypatch, memory, cores, number):
    monkeypatch.setattr(parallel, "cores", lambda: cores)
    assert workers(memory) == number  # 400 MB for the command, 200 for each


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_shows_how_far_the_work_is_and_a_log_nothing(monkeypatch, terminal):
    said = io.StringIO()
    console = rich.console.Console(file=said, force_terminal=terminal, width=80)
    monkeypatch.setattr(rich.console, "Console", lambda **_: console)
    for number in map_in_order(abs, range(3), 1, "screening"):
        if number == 2:
            time.sleep(0.3)  # the bar is drawn ten times a second
    assert ("screening" in said.getvalue()) is terminal
    assert ("2/3" in said.getvalue()) is terminal
    assert terminal or not said.getvalue()
