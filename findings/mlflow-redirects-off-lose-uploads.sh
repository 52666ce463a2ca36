#!/usr/bin/env bash
# MLflow 3.17.2, client with MLFLOW_ALLOW_HTTP_REDIRECTS=false: a file whose upload is answered by 301 is lost, and log_artifact
# returns as if it were stored.
#
# Expected by most: whoever forbids to follow gets an error where following was needed, as the API gives it: "error code 301".
# Behaviour, behind a proxy that sends uploads and downloads of files on to the server and passes everything else:
#   redirects   create_run       log_artifact   files of the run      API call that is sent on
#   true        made             returns        note.txt
#   false       made             returns        none                  MlflowException, error code 301
# The status of the answer is judged by the raise_for_status of requests, to which 301 is no error.
#
# For a user: the setting is advised for servers that must not be led elsewhere; with it, models and reports that a storage proxy
# sends on vanish, and nobody is told before they are needed. Ask for list_artifacts after an upload, or leave it true. No report
# of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill %1 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'mlflow==3.17.2'
port=$("$folder/venv/bin/python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
cd "$folder"
export MLFLOW_DISABLE_TELEMETRY=true
MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false "$folder/venv/bin/mlflow" server --workers 1 --port "$port" \
    --uvicorn-opts "--timeout-worker-healthcheck 120" --backend-store-uri "sqlite:///$folder/store.db" \
    --artifacts-destination "$folder/files" > "$folder/log" 2>&1 &
MLFLOW_HTTP_REQUEST_MAX_RETRIES=0 "$folder/venv/bin/python" - "$port" <<'PYTHON'
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

server = f"http://127.0.0.1:{sys.argv[1]}"
for _ in range(240):
    try:
        if requests.get(f"{server}/health", timeout=5).ok:
            break
    except requests.RequestException:
        time.sleep(0.5)
sent_on = ["/mlflow-artifacts/"]  # what stands in a path that is sent on


class Proxy(BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content, status, more = b"", 301, {"Location": server + self.path}
        if not any(part in self.path for part in sent_on):
            kind = {"Content-Type": self.headers.get("Content-Type", "application/json")}
            told = requests.request(self.command, server + self.path, data=body, headers=kind, timeout=60)
            content, status, more = told.content, told.status_code, {"Content-Type": told.headers["Content-Type"]}
        self.send_response(status)
        for name, value in {**more, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_GET

    def log_message(self, *_):
        pass


front = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
threading.Thread(target=front.serve_forever, daemon=True).start()
os.environ["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{front.server_port}"
Path("note.txt").write_text("ten words")
there = MlflowClient(server)
found = {}
for allowed in ("true", "false"):
    os.environ["MLFLOW_ALLOW_HTTP_REDIRECTS"] = allowed
    client = MlflowClient()
    run = client.create_run("0").info.run_id
    returned = client.log_artifact(run, "note.txt")
    os.environ["MLFLOW_ALLOW_HTTP_REDIRECTS"] = "true"
    found[allowed] = [file.path for file in there.list_artifacts(run)]
    print(f"redirects {allowed}: log_artifact returned {returned}, files of the run {found[allowed]}")
sent_on.append("/experiments/")
os.environ["MLFLOW_ALLOW_HTTP_REDIRECTS"] = "false"
try:
    said = str(MlflowClient().get_experiment_by_name("Default"))
except MlflowException as error:
    said = str(error)[:140]
print("an API call that is sent on:", said)
sys.exit(found != {"true": ["note.txt"], "false": []} or "error code 301" not in said)
PYTHON
