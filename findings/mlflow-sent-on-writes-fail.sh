#!/usr/bin/env bash
# MLflow 3.17.2, client behind a proxy that sends callers on (301, as most do from http:// to https://): what is read by
# GET works, and every change fails with a message that names another cause.
#
# Expected by most: either all works, as in a browser, or the client says that it was sent elsewhere.
# Behaviour, with an address that is sent on to the server:
#   get_experiment_by_name     works
#   search_experiments         INVALID_PARAMETER_VALUE: Invalid value 0 for parameter 'max_results'
#   create_experiment          403 "Permission denied" for a user who may; 405 for an administrator
#   create_run                 the same
#   search_runs                405
# POST is repeated as GET without its body, and a user who asks to change something by GET has no permission. The server's
# log has a GET of .../create. (The password is kept from port 80 to 443, and from any port to another here; elsewhere
# requests drops it.)
#
# For a user: the first look, an experiment found by name, works, and the refusal sends people to their administrator for
# permissions that they have. Name the address that answers, mostly https://, in MLFLOW_TRACKING_URI.
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
MLFLOW_DISABLE_TELEMETRY=true MLFLOW_HTTP_REQUEST_MAX_RETRIES=0 "$folder/venv/bin/python" - "$port" <<'PYTHON'
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from requests.sessions import Session

server = f"http://127.0.0.1:{sys.argv[1]}"
for _ in range(240):
    try:
        if requests.get(f"{server}/health", timeout=5).ok:
            break
    except requests.RequestException:
        time.sleep(0.5)


class SentOn(BaseHTTPRequestHandler):
    def do_GET(self):
        if length := int(self.headers.get("Content-Length", 0)):
            self.rfile.read(length)
        self.send_response(301)
        self.send_header("Location", server + self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_):
        pass


front = ThreadingHTTPServer(("127.0.0.1", 0), SentOn)
threading.Thread(target=front.serve_forever, daemon=True).start()
# as from port 80 to 443, where requests keeps the password; elsewhere it drops it
Session.should_strip_auth = lambda *_: False
user = {"username": "ann", "password": "another-password"}
made = requests.post(
    f"{server}/api/2.0/mlflow/users/create", json=user, auth=("admin", "a-long-password"), timeout=60
)
assert made.ok, made.text
os.environ |= {f"MLFLOW_TRACKING_{name.upper()}": value for name, value in user.items()}
CALLS = {
    "get_experiment_by_name": lambda client: client.get_experiment_by_name("Default").name,
    "search_experiments": lambda client: len(client.search_experiments()),
    "create_experiment": lambda client: client.create_experiment("mine"),
    "create_run": lambda client: client.create_run("0").info.status,
    "search_runs": lambda client: len(client.search_runs(["0"])),
}
EXPECTED = {  # straight, and sent on
    "get_experiment_by_name": ("Default", "Default"),
    "search_experiments": ("1", "Invalid value 0 for parameter 'max_results'"),
    "create_experiment": ("1", "error code 403 != 200. Response body: 'Permission denied'"),
    "create_run": ("RUNNING", "error code 403 != 200. Response body: 'Permission denied'"),
    "search_runs": ("1", "error code 405"),
}
wrong = False
for name, call in CALLS.items():
    said = []
    for address in (server, f"http://127.0.0.1:{front.server_port}"):
        try:
            said.append(str(call(MlflowClient(address))))
        except MlflowException as error:
            said.append(" ".join(str(error).split())[:160])
    print(f"{name}\n  straight: {said[0]}\n  sent on:  {said[1]}")
    wrong = wrong or said[0] != EXPECTED[name][0] or EXPECTED[name][1] not in said[1]
sys.exit(wrong)
PYTHON
