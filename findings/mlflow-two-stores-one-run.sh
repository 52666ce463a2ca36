#!/usr/bin/env bash
# MLflow 3.17.2: a copied store that is opened in the process that had the original open writes its artifacts into the
# original; metrics and tags go where they belong.
#
# Expected by most: a client of a tracking URI writes what belongs to a run of that store to the artifact location that
#   this store has for it.
# Behaviour (SQLite store "one" with a run that has an artifact; "two" is its copy with the location changed to the copy's
#   folder; log_text to the same run by a client of each, in one process):
#   client of    text lies in "one"   text lies in "two"   client of "two" can read it
#   one          yes                  no
#   two          yes                  no                   no: download_artifacts fails
#   the same, client of "two" first and alone in its process:
#   two          no                   yes                  yes
#   Artifact repositories are kept in one dictionary per process, by the id of the run alone; a repository of one store
#   serves another one. download_artifacts looks the location up, and does not find what was written.
#
# For a user: a notebook that compares a restored backup, or a copy made for an experiment, with the original puts reports
# and checksums of the copy into the original without a word. Open each store in a process of its own. No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mlflow==3.17.2
cat >"$folder/make.py" <<'PY'
import shutil, sqlite3, sys
from pathlib import Path
from mlflow import MlflowClient

folder = Path(sys.argv[1])
one, two = folder / "one", folder / "two"
one.mkdir()
client = MlflowClient(f"sqlite:///{one}/mlflow.db")
experiment = client.create_experiment("e", artifact_location=(one / "artifacts").as_uri())
run = client.create_run(experiment).info.run_id
client.log_text(run, "made", "made.txt")
shutil.copytree(one, two)
with sqlite3.connect(two / "mlflow.db") as store:
    for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
        store.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (f"{one}/", f"{two}/"))
(folder / "run").write_text(run)
PY
cat >"$folder/use.py" <<'PY'
import sys
from pathlib import Path
from mlflow import MlflowClient

folder, name = Path(sys.argv[1]), sys.argv[2]
run = (folder / "run").read_text()
for store in sys.argv[3:]:
    MlflowClient(f"sqlite:///{folder}/{store}/mlflow.db").log_text(run, store, f"{name}-{store}.txt")
found = {
    store: [kept for kept in ("one", "two") if list((folder / kept).rglob(f"{name}-{store}.txt"))]
    for store in sys.argv[3:]
}
last = sys.argv[-1]
try:
    MlflowClient(f"sqlite:///{folder}/{last}/mlflow.db").download_artifacts(run, f"{name}-{last}.txt", folder)
    read = "read"
except Exception as error:
    read = "not found"
print(name, found, read)
expected = {
    "together": ({"one": ["one"], "two": ["one"]}, "not found"),
    "alone": ({"two": ["two"]}, "read"),
}
assert (found, read) == expected[name], (found, read)
PY
export MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true
"$folder/venv/bin/python" "$folder/make.py" "$folder" 2>/dev/null
"$folder/venv/bin/python" "$folder/use.py" "$folder" together one two 2>/dev/null
"$folder/venv/bin/python" "$folder/use.py" "$folder" alone two 2>/dev/null
