"""/openapi.json says the truth: what schemathesis draws from it is answered as it says."""

import re
import subprocess
import sys

import pytest
import requests
from made import case
from server_process import server

from dgfnet.serving.answers import COLUMNS

# That valid requests are accepted cannot be held: no schema says that two files are pictures of one size.
COMMAND = ("run", "--no-color", "--exclude-checks", "positive_data_acceptance", "--seed", "1")


@pytest.fixture(scope="module")
def address(bundle):
    with server(bundle, {}) as (_, port):
        yield f"http://127.0.0.1:{port}"


def schemathesis(address, folder, *options):
    command = [sys.executable, "-m", "schemathesis.cli", *COMMAND, *options, f"{address}/openapi.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, cwd=folder)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert re.search(r"\d+ generated, \d+ passed", done.stdout)


def test_what_is_drawn_from_it_is_answered_as_it_says(address, tmp_path):
    schemathesis(address, tmp_path, "--phases", "fuzzing", "--max-examples", "20")


@pytest.mark.slow
def test_all_that_is_drawn_from_it_is_answered_as_it_says(address, tmp_path):
    schemathesis(address, tmp_path, "--max-examples", "300")


def test_it_names_every_field_and_status(address):
    described = requests.get(f"{address}/openapi.json", timeout=60).json()
    post = described["paths"]["/invocations"]["post"]
    assert sorted(map(int, post["responses"])) == [200, 400, 401, 408, 411, 413, 415, 429, 500, 503, 504]
    row = post["responses"]["200"]["content"]["application/json"]["schema"]["properties"]["predictions"][
        "items"
    ]
    answered = requests.post(f"{address}/invocations", json={"inputs": [case()]}, timeout=60).json()
    assert (
        list(row["properties"])
        == ["nodule", *COLUMNS, "model", "version"]
        == list(answered["predictions"][0])
    )
    forms = post["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert [form["required"] for form in forms] == [["dataframe_records"], ["inputs"], ["dataframe_split"]]
    assert set(case()) <= set(forms[0]["properties"]["dataframe_records"]["items"]["properties"])
