#!/usr/bin/env bash
# MLflow 3.17.2 with users (--app-name basic-auth): what is not there is 403 "Permission denied" for everybody but an
# administrator, where it is asked for by alias, version or run; asked for by name it is 404.
#
# Expected by most: RESOURCE_DOES_NOT_EXIST (404), as without users and as an administrator gets it; default_permission, here EDIT,
#   decides about what has no permission of its own.
# Behaviour, for a model "nothing", a run and an experiment that were never made:
#   asked for                                   administrator   user
#   GET registered-models/get                   404             404
#   GET registered-models/alias                 404             403
#   GET model-versions/get                      404             403
#   GET runs/get                                404             403
#   GET experiments/get                         404             404
#   GET experiments/get-by-name                 404             404
#
# For a user: code that asks MlflowClient.get_model_version_by_alias(name, "champion") and takes "does not exist" for "no
# champion yet" works on SQLite, on a server without users and for the administrator who sets it up, and fails for
# everybody else before the first model is registered; a run that is gone cannot be told from a forbidden one, for the
# exception has no error code of its own. Ask get_registered_model(name).aliases. No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill %1 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'mlflow[auth]==3.17.2'
port=$("$folder/venv/bin/python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat > "$folder/auth.ini" <<INI
[mlflow]
default_permission = EDIT
database_uri = sqlite:///$folder/auth.db
admin_username = admin
admin_password = a-long-password
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
INI
cd "$folder"
MLFLOW_AUTH_CONFIG_PATH=$folder/auth.ini MLFLOW_FLASK_SERVER_SECRET_KEY=only-for-this-minute MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false "$folder/venv/bin/mlflow" server --app-name basic-auth --workers 1 --port "$port" \
    --backend-store-uri "sqlite:///$folder/store.db" --artifacts-destination "$folder/files" > "$folder/log" 2>&1 &
"$folder/venv/bin/python" - "$port" <<'PYTHON'
import sys
import time

import requests

address = f"http://127.0.0.1:{sys.argv[1]}"
for _ in range(240):
    try:
        if requests.get(f"{address}/health", timeout=5).ok:
            break
    except requests.ConnectionError:
        time.sleep(0.5)
admin, user = ("admin", "a-long-password"), ("ann", "another-password")
made = requests.post(
    f"{address}/api/2.0/mlflow/users/create",
    json=dict(zip(("username", "password"), user, strict=True)),
    auth=admin,
    timeout=60,
)
assert made.ok, made.text
EXPECTED = {
    "registered-models/get?name=nothing": (404, 404),
    "registered-models/alias?name=nothing&alias=champion": (404, 403),
    "model-versions/get?name=nothing&version=1": (404, 403),
    f"runs/get?run_id={'0' * 32}": (404, 403),
    "experiments/get?experiment_id=99": (404, 404),
    "experiments/get-by-name?experiment_name=nothing": (404, 404),
}
wrong = False
for path, expected in EXPECTED.items():
    found = tuple(
        requests.get(f"{address}/api/2.0/mlflow/{path}", auth=who, timeout=60).status_code
        for who in (admin, user)
    )
    print(path.partition("?")[0], "administrator", found[0], "user", found[1])
    wrong = wrong or found != expected
sys.exit(wrong)
PYTHON
