"""Deciders about one model take turns: no two in the block, the dead do not stop the living."""

import random
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from dgfnet.errors import InputError
from dgfnet.registry import turn
from racing import race


class Tags:
    """A registry that has tags of models alone; each request takes a while before and after it counts."""

    def __init__(self, seed):
        self.tags, self.lock, self.random = {}, threading.Lock(), random.Random(seed)

    def wait(self):
        with self.lock:
            seconds = self.random.random() * 0.003
        time.sleep(seconds)

    def set_registered_model_tag(self, model, key, value):
        self.wait()
        with self.lock:
            self.tags[key] = value
        self.wait()

    def delete_registered_model_tag(self, model, key):
        self.wait()
        with self.lock:
            self.tags.pop(key, None)
        self.wait()

    def get_registered_model(self, model):
        self.wait()
        with self.lock:
            copy = dict(self.tags)
        self.wait()
        return SimpleNamespace(tags=copy)


@pytest.mark.parametrize("seed", range(4))
def test_no_two_are_in_the_block_and_all_get_there(seed, monkeypatch):
    monkeypatch.setattr(turn, "PAUSE", 0.002)
    tags, inside, most, done = Tags(seed), [], [], []

    def decide(number):
        for _ in range(4):
            with turn.turn(tags, "m"):
                inside.append(number)
                most.append(len(inside))
                time.sleep(0.001)
                inside.remove(number)
            done.append(number)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(decide, range(6)))
    assert (max(most), len(done), tags.tags) == (1, 24, {})


def test_a_block_that_raises_ends_the_turn():
    tags = Tags(0)
    with pytest.raises(KeyError), turn.turn(tags, "m"):
        {}["nothing"]
    assert tags.tags == {}


def test_somebody_who_decides_is_waited_for_and_a_dead_one_is_not(monkeypatch):
    monkeypatch.setattr(turn, "PATIENCE", 0.3)
    tags = Tags(0)
    for number in (0, 1):  # one who chooses, and one who is first
        tags.tags = {f"{turn.TURN}.other": f"{number} {time.time():.0f}", "dgfnet": "a person's"}
        told = "m: somebody else has been deciding about it"
        with pytest.raises(InputError, match=told), turn.turn(tags, "m"):
            raise AssertionError
        tags.tags[f"{turn.TURN}.other"] = f"{number} {time.time() - turn.LEASE - 1:.0f}"
        with turn.turn(tags, "m"):
            pass
        assert tags.tags == {"dgfnet": "a person's"}


def test_of_racing_promotions_one_is_told(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    assert race(f"sqlite:///{tmp_path / 'mlflow.db'}", rounds=6, racers=4) == [1] * 6


@pytest.mark.slow
def test_of_two_hundred_racing_promotions_one_of_each_round_is_told(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    assert race(f"sqlite:///{tmp_path / 'mlflow.db'}", rounds=50, racers=5) == [1] * 50
