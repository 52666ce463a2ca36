#!/usr/bin/env bash
# MLflow 3.17.2: a model saved with `code_paths` leaves its folder of code in front of sys.path, also when loading it
# fails; processes started later import the package from there, and a second model in the same process gets the code of
# the first.
#
# Expected by most: a load that raises changes nothing, and each model runs the code it was saved with.
# Behaviour:
#   ImportError; on sys.path: True; a process started afterwards says: this release has gone
#   one,two: [1, 1]      (the second was saved with code that answers 2)
#   two: [2]
#
# For a user: a server or a comparison that loads two versions in one process scores both with the first one's code, and
# nothing says so; a pool of processes started after a failed load dies of an error that names no model. Load each
# version in a process of its own, or put sys.path and sys.modules back.
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
cat >model.py <<'PYTHON'
import mlflow


class Answer(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        from rules import answer

        self.answer = answer

    def predict(self, context, model_input, params=None):
        return [self.answer()]


mlflow.models.set_model(Answer())
PYTHON
for name in one two broken; do
    mkdir -p "$name/rules"
done
echo 'def answer(): return 1' >one/rules/__init__.py
echo 'def answer(): return 2' >two/rules/__init__.py
echo 'raise ImportError("this release has gone")' >broken/rules/__init__.py
cat >save.py <<'PYTHON'
import mlflow

for name in ("one", "two", "broken"):
    mlflow.pyfunc.save_model(
        f"saved-{name}", python_model="model.py", code_paths=[f"{name}/rules"], pip_requirements=["mlflow==3.17.2"],
        signature=mlflow.models.infer_signature(["x"], [1]),
    )
PYTHON
cat >check.py <<'PYTHON'
import multiprocessing
import sys

import mlflow


def child(queue):
    try:
        import rules

        queue.put(rules.__file__)
    except ImportError as error:
        queue.put(str(error))


def answers(*names):
    return [mlflow.pyfunc.load_model(f"saved-{name}").predict(["x"])[0] for name in names]


if __name__ == "__main__":
    which = sys.argv[1]
    if which == "broken":
        try:
            mlflow.pyfunc.load_model("saved-broken")
            raised = "nothing"
        except Exception as error:
            raised = type(error).__name__
        left = any("saved-broken" in place for place in sys.path)
        context = multiprocessing.get_context("spawn")
        queue = context.Queue()
        process = context.Process(target=child, args=(queue,))
        process.start()
        said = queue.get(timeout=60)
        process.join()
        print(f"{raised}; on sys.path: {left}; a process started afterwards says: {said}")
        sys.exit(not (raised != "nothing" and left and said == "this release has gone"))
    found = answers(*which.split(","))
    print(f"{which}: {found}")
    sys.exit(found != ([1, 1] if which == "one,two" else [2]))
PYTHON
"$python" -W ignore save.py 2>errors.txt || { cat errors.txt; exit 1; }
for which in broken one,two two; do
    "$python" -W ignore check.py "$which" 2>errors.txt || { cat errors.txt; exit 1; }
done
