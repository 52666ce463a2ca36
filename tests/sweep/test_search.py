from __future__ import annotations

import json
from types import SimpleNamespace

from dgfnet.sections.fits import Range
from dgfnet.sweep.search import Point, _keeper, best, read_ledger

SPACE = {
    "training.learning_rate": Range(low=1e-4, high=1e-2, log=True),
    "network.dgf.combiner": Range(choices=("sum", "product")),
}


def values(rate, combiner="sum"):
    return {"training.learning_rate": rate, "network.dgf.combiner": combiner}


def test_the_best_is_sought_among_those_trained_longest():
    early, good, bad = (
        Point(values(1e-3), 0.9, 2, True),
        Point(values(2e-3), 0.7, 10, True),
        Point(values(3e-3), 0.6, 10, True),
    )
    assert best([early, bad, good]) is good
    assert best([Point(values(1e-3), None, 3, True), Point(values(2e-3), 0.1, 3, True)]).score == 0.1


def trial(rate):
    return SimpleNamespace(config={**values(rate), "make": None})


def test_the_ledger_is_on_disk_after_every_step(tmp_path):
    path = tmp_path / "ledger.json"
    assert read_ledger(path) == []
    keeper = _keeper(path, [], SPACE)
    keeper.on_trial_start(0, [], trial(1e-3))
    assert read_ledger(path) == [Point(values(1e-3))]
    keeper.on_trial_result(1, [], trial(1e-3), {"epoch": 5, "score": 0.6})
    keeper.on_trial_start(1, [], trial(2e-3))
    assert read_ledger(path) == [Point(values(1e-3), 0.6, 5), Point(values(2e-3))]
    keeper.on_trial_result(2, [], trial(1e-3), {"done": True})  # Ray's own last word has no score
    keeper.on_trial_complete(2, [], trial(1e-3))
    assert read_ledger(path)[0] == Point(values(1e-3), 0.6, 5, done=True)


def test_a_resumed_search_keeps_what_the_ledger_holds(tmp_path):
    path = tmp_path / "ledger.json"
    points = [Point(values(1e-3), 0.6, 5, True), Point(values(2e-3), 0.5, 2)]
    keeper = _keeper(path, points, SPACE)
    keeper.on_trial_result(1, [], trial(2e-3), {"epoch": 5, "score": 0.7})
    keeper.on_trial_complete(1, [], trial(2e-3))
    assert json.loads(path.read_text())[0]["done"]
    assert read_ledger(path)[1] == Point(values(2e-3), 0.7, 5, done=True)
