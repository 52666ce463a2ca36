#!/usr/bin/env bash
# MLflow 3.17.2: a request in columns, {"inputs": {"a": [..], "b": [..]}}, is several rows or one row, depending on the
# signature: with columns of AnyType the lists arrive whole, as one row.
#
# Expected by most: two names with two values each are two rows, as for columns of type string, and as for the same data
#   sent as `dataframe_records` or `dataframe_split`.
# Behaviour: status 200, no warning, and one answer for two cases:
#   string   columns: 2 rows   records: 2 rows   split: 2 rows
#   AnyType  columns: 1 rows   records: 2 rows   split: 2 rows
#
# For a user: loosening a column to AnyType (to allow both text and arrays, say) changes how many rows a client's request
# has; a client that sends columns gets one answer, for a row of lists. Refuse rows whose values are not of the kind
# expected, or ask for `dataframe_records`, which means rows whatever the signature.
#
# DGFNET_FINDINGS_PYTHON may name a python that has mlflow 3.17.2; otherwise it is installed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${DGFNET_FINDINGS_PYTHON:-}
if [ -z "$python" ]; then
    python3 -m venv "$folder/venv"
    python=$folder/venv/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check mlflow==3.17.2
fi
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_TRACKING_URI=sqlite:///$folder/mlflow.db
cd "$folder"
cat >rows.py <<'PYTHON'
import mlflow


class Rows(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [len(model_input)]


mlflow.models.set_model(Rows())
PYTHON
cat >check.py <<'PYTHON'
import json
import sys

import mlflow
from mlflow.models import ModelSignature
from mlflow.pyfunc.scoring_server import invocations
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import AnyType

bodies = {
    "columns": {"inputs": {"name": ["n1", "n2"], "text": ["a", "b"]}},
    "records": {"dataframe_records": [{"name": "n1", "text": "a"}, {"name": "n2", "text": "b"}]},
    "split": {"dataframe_split": {"columns": ["name", "text"], "data": [["n1", "a"], ["n2", "b"]]}},
}
counts = {}
for label, kind in (("string", DataType.string), ("AnyType", AnyType())):
    signature = ModelSignature(inputs=Schema([ColSpec(kind, "name"), ColSpec(kind, "text")]))
    mlflow.pyfunc.save_model(label, python_model="rows.py", signature=signature, pip_requirements=["mlflow==3.17.2"])
    model = mlflow.pyfunc.load_model(label)
    for form, body in bodies.items():
        answer = invocations(json.dumps(body), "application/json", model, model.metadata.get_input_schema())
        counts[label, form] = answer.status, json.loads(answer.response)["predictions"][0]
    print(f"{label:8s}", "   ".join(f"{form}: {counts[label, form][1]} rows" for form in bodies))
expected = {(label, form): (200, 2) for label in ("string", "AnyType") for form in bodies}
expected["AnyType", "columns"] = 200, 1
sys.exit(counts != expected)
PYTHON
"$python" -W ignore check.py 2>errors.txt || { cat errors.txt; exit 1; }
