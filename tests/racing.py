"""Promotions that race for one alias, on any registry."""

import threading
from concurrent.futures import ThreadPoolExecutor

from mlflow import MlflowClient

from dgfnet.errors import InputError
from dgfnet.registry import promotion
from dgfnet.registry.aliases import champion_of
from dgfnet.registry.gate import Criterion, Judgement

MET = [Criterion("asked for", "yes", "yes", True)]


def race(address, rounds, racers):
    """How many of those who promote at once are told so, per round; each judges against the same champion."""
    client = MlflowClient(address)
    experiment = client.create_experiment("race")
    client.create_registered_model("m")
    run = client.create_run(experiment)
    for _ in range(racers):
        client.create_model_version("m", f"{run.info.artifact_uri}/model", run.info.run_id)
    told = []
    for _ in range(rounds):
        champion = champion_of(client, "m")
        against = None if champion is None else str(champion.version)
        others = [str(number) for number in range(1, racers + 1) if str(number) != against]
        start = threading.Barrier(len(others))

        def promote(version, against=against, start=start):
            start.wait()
            try:
                promotion.promote(MlflowClient(address), "m", version, Judgement(MET, against))
            except InputError as error:
                return str(error)
            return "promoted"

        with ThreadPoolExecutor(len(others)) as pool:
            said = dict(zip(others, pool.map(promote, others), strict=True))
        won = [name for name, words in said.items() if words == "promoted"]
        assert all(name in won or "the champion changed meanwhile" in said[name] for name in others)
        told.append(len(won))
        assert champion_of(client, "m").version in (*won, *map(int, won))
    records = promotion.history(client, "m")
    assert [record["promoted"] for record in records] == [True] * rounds
    assert [record["to"] for record in records[:-1]] == [record["from"] for record in records[1:]]
    return told
