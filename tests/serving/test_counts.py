"""Counts of a server, and what `dgfnet monitor` makes of them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import requests
from made import case
from scipy.stats import binomtest, chi2_contingency
from server_process import running

from dgfnet import monitor as monitoring
from dgfnet.bundle.model import ScoringModel
from dgfnet.bundle.watch import RISK_BOUNDS, counted
from dgfnet.errors import InputError
from dgfnet.monitor import monitor, period_of, read_counts, same_distribution
from dgfnet.serving.access import Access
from dgfnet.serving.connection import Limits
from dgfnet.serving.counts import Counts
from dgfnet.serving.server import scoring_app


def row(level="answer", risk=0.35, decision=0, us=0.5, ct=0.8):
    withheld = level == "no answer"
    return {
        "variant": "dgf",
        "level": level,
        "decision": None if withheld else decision,
        "calibrated": None if withheld else risk,
        "us_novelty": us,
        "ct_novelty": ct,
    }


def written(folder, rows, name="counts.txt", version="7"):
    counts = Counts("dgfnet-central", version)
    counts.answered(rows)
    path = folder / name
    path.write_bytes(counts.text())
    return path


def test_parts_of_a_histogram_by_hand():
    """A value on a bound belongs to it, as in Prometheus."""
    assert counted([0.0, 0.1, 0.1001, 0.95, 1.0, 1.2], RISK_BOUNDS) == [2, 1, 0, 0, 0, 0, 0, 0, 0, 2, 1]


def test_what_is_counted_is_read_again(tmp_path):
    rows = [row(), row(risk=0.91, decision=1), row("caution", us=1.2), row("no answer", us=3.5, ct=None)]
    period = period_of(read_counts(written(tmp_path, rows), "dgfnet-central", "7"), "dgf")
    assert period.answers == {"answer": 2, "caution": 1, "no answer": 1}
    assert period.risks == (0, 0, 0, 2, 0, 0, 0, 0, 0, 1, 0)
    assert period.mean_risk == pytest.approx((0.35 + 0.35 + 0.91) / 3)
    assert period.novel == {"us": (2, 4), "ct": (0, 3)}


def test_a_server_counts_answers_and_requests_and_names_nobody(bundle):
    app = scoring_app(ScoringModel.open(bundle), "dgfnet-central", "7", Limits())
    asked = {**case(), "nodule": "MUSTERMANN"}
    with running(app) as address:
        base = address.removesuffix("/invocations")

        def sent(path, body):
            return requests.post(base + path, json=body, timeout=60)

        (answered,) = sent("/invocations", {"dataframe_records": [asked]}).json()["predictions"]
        assert sent("/invocations", {"dataframe_records": [{}]}).status_code == 400
        assert requests.get(f"{base}/MUSTERMANN", timeout=60).status_code == 404
        said = requests.get(f"{base}/metrics", timeout=60)
        assert sent("/explain", {"dataframe_records": [asked]}).status_code == 200
        later = requests.get(f"{base}/metrics", timeout=60).text.splitlines()
    assert said.headers["content-type"].startswith("text/plain; version=0.0.4")
    decision = ("negative", "positive")[answered["decision"]]
    for line in (
        f'dgfnet_answers_total{{decision="{decision}",level="answer",variant="dgf"}} 1.0',
        'dgfnet_requests_total{path="/invocations",status="200"} 1.0',
        'dgfnet_requests_total{path="/invocations",status="400"} 1.0',
        'dgfnet_requests_total{path="other",status="404"} 1.0',
        'dgfnet_model_info{model="dgfnet-central",version="7"} 1.0',
        'dgfnet_novelty_count{modality="us"} 1.0',
        'dgfnet_risk_count{variant="dgf"} 1.0',
    ):
        assert line in said.text.splitlines(), line
    assert "MUSTERMANN" not in said.text
    assert 'dgfnet_risk_count{variant="dgf"} 1.0' in later


def test_counts_are_behind_the_token(bundle):
    access = Access(token="a" * 20)
    with running(scoring_app(ScoringModel.open(bundle), "m", "1", Limits(), access)) as address:
        told = address.replace("invocations", "metrics")
        assert requests.get(told, timeout=60).status_code == 401
        mine = {"Authorization": f"Bearer {'a' * 20}"}
        assert requests.get(told, headers=mine, timeout=60).status_code == 200


@pytest.fixture
def champion(monkeypatch):
    """A champion of which 5 % of the held-out nodules were unusual, their risks even."""
    metadata = {
        "variant": "dgf",
        "modalities": ["us", "ct"],
        "false_alarms": 0.05,
        "held_out_risks": {"counts": [50] * 10 + [0], "mean": 0.5},
    }
    found = SimpleNamespace(name="dgfnet-central", version="7", metadata=metadata)
    monkeypatch.setattr(monitoring, "load_champion", lambda settings, site: found)
    return found


def evenly(count, level="answer", **more):
    return [row(level, risk=0.05 + 0.1 * (number % 10), **more) for number in range(count)]


def test_a_usual_period_is_told_as_one(champion, tmp_path):
    told = monitor(None, "central", written(tmp_path, [*evenly(100), *evenly(3, "caution", us=1.1)]), None)
    assert "103 answers by dgf (100 answer, 3 caution)" in told
    assert "pictures beyond the limit of caution: us 3 of 103, ct 0 of 103; of held-out nodules 0.05" in told
    assert "nothing unusual" in told


def test_other_pictures_are_told_apart_from_other_risks(champion, tmp_path):
    told = monitor(None, "central", written(tmp_path, [*evenly(60), *evenly(40, "caution", ct=1.3)]), None)
    p = 2 * binomtest(40, 100, 0.025, alternative="greater").pvalue  # the smaller of two
    assert f"ct 40 of 100; of held-out nodules 0.05 (p {p:.2g})" in told
    assert "pictures are unlike" in told
    assert "recalibrate" not in told
    told = monitor(None, "central", written(tmp_path, [row(risk=0.15)] * 100), None)
    assert "pictures are unlike" not in told
    assert "mean risk 0.15, held out 0.50" in told
    # (1 - 0.15) / (0.15 * 0.051^2) = 2178.6
    assert "label 2179 consecutive cases (Riley 2021) and run dgfnet recalibrate central" in told


def test_a_period_is_what_came_since(champion, tmp_path):
    counts = Counts("dgfnet-central", "7")
    before, now = tmp_path / "before.txt", tmp_path / "now.txt"
    counts.answered([row(risk=0.15)] * 100)
    before.write_bytes(counts.text())
    counts.answered(evenly(50))
    now.write_bytes(counts.text())
    told = monitor(None, "central", now, before)
    assert "50 answers" in told
    assert "nothing unusual" in told


def test_a_server_that_was_started_again_is_noticed(champion, tmp_path):
    """Also where it has counted more since than before."""
    before = written(tmp_path, evenly(10), "before.txt")
    for rows in (evenly(100), evenly(5)):
        with pytest.raises(InputError, match="the server was started again in between"):
            monitor(None, "central", written(tmp_path, rows, "now.txt"), before)


def test_answers_of_other_models_have_risks_of_their_own(champion, tmp_path):
    alone = [{**row(risk=0.95, ct=None), "variant": "us_multitask"}] * 60
    told = monitor(None, "central", written(tmp_path, [*evenly(40), *alone]), None)
    assert "40 answers by dgf" in told
    assert "60 more by models of one modality" in told
    assert "mean risk 0.50, held out 0.50" in told
    assert "us 0 of 100, ct 0 of 40" in told
    assert "nothing unusual" in told


def test_few_answers_are_not_judged(champion, tmp_path):
    told = monitor(None, "central", written(tmp_path, [row("no answer", us=9.0)] * 29), None)
    assert told.endswith("too few to compare: 30 at least")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no counts of dgfnet serve"),
        ("up 1\n", "no counts of dgfnet serve"),
        ("a b c d\n", "cannot be read as counts"),
        (json.dumps({"a": 1}), "no counts of dgfnet serve|cannot be read"),
    ],
)
def test_files_that_are_no_counts(champion, tmp_path, text, words):
    path = tmp_path / "x.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        monitor(None, "central", path, None)


def test_counts_of_another_version_are_not_compared(champion, tmp_path):
    with pytest.raises(InputError, match="counts of dgfnet-central version 6; the champion is"):
        monitor(None, "central", written(tmp_path, evenly(40), version="6"), None)


def test_the_test_of_distributions_by_hand():
    first, second = [40, 60, 0], [20, 80, 0]
    expected = chi2_contingency(np.array([[40, 60], [20, 80]]), correction=False).pvalue
    assert same_distribution(first, second) == pytest.approx(expected)
    # parts with few are put together: here 3 and 5, and 2 and 4
    assert same_distribution([3, 37, 58, 2], [5, 15, 76, 4]) == pytest.approx(
        chi2_contingency(np.array([[40, 60], [20, 80]]), correction=False).pvalue
    )
    assert same_distribution([0, 0], [5, 5]) == 1.0
    assert same_distribution([7, 0], [0, 2]) == 1.0


def test_every_path_of_a_pacs_is_counted_by_its_name():
    from dgfnet.serving.counts import PATHS
    from dgfnet.serving.openapi_pacs import DESCRIBED

    assert {path for path in PATHS if path.startswith("/pacs/")} == {f"/pacs/{name}" for name in DESCRIBED}
