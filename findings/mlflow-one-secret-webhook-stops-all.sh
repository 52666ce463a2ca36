#!/usr/bin/env bash
# MLflow 3.17.2: after a restart of the server, one webhook that has a secret stops every webhook, those without a secret too,
# unless MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY was set; and the API can neither list nor delete them any more.
#
# Expected by most: what is in the database works after a restart; at worst the one webhook with a secret fails.
# Behaviour (SQLite, one worker; registered_model.created, a webhook without a secret and one with):
#   before the restart: both are told. After it: no message arrives, create_registered_model succeeds
#   list_webhooks and delete_webhook: 500 (cryptography.fernet.InvalidToken in the server's log)
#   A server with several workers fails without a restart: each makes a key of its own.
#
# For a user: "nobody was told" looks like "nothing happened". Set the variable to one Fernet key, the same for all workers and
# restarts, before the first webhook with a secret is made; without the old key its row has to be deleted in the database.
# No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mlflow==3.17.2
cd "$folder"
venv/bin/python - 2>/dev/null <<'PYTHON'
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

os.environ |= {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
from mlflow import MlflowClient
from mlflow.entities.webhook import WebhookEvent
from mlflow.exceptions import MlflowException

told = []


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        told.append(self.path)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=receiver.serve_forever, daemon=True).start()
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
allowed = {"MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true"}


def server():
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", "sqlite:///m.db", "--workers", "1"]
    process = subprocess.Popen(
        [*command, "--artifacts-destination", "files", "--port", str(port)], env=os.environ | allowed,
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    for _ in range(240):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health")
            return process
        except OSError:
            time.sleep(0.5)
    raise SystemExit("no server")


def arrived(name):
    before = len(told)
    client.create_registered_model(name)
    time.sleep(8)
    return sorted(told[before:])


client = MlflowClient(f"http://127.0.0.1:{port}")
running = server()
event = [WebhookEvent.from_str("registered_model.created")]
for name, secret in (("plain", None), ("signed", "between us")):
    webhook = client.create_webhook(name, f"http://127.0.0.1:{receiver.server_port}/{name}", event, secret=secret)
first = arrived("before")
os.killpg(running.pid, signal.SIGTERM)
running.wait()
running = server()
second, faults = arrived("after"), []
for call in (client.list_webhooks, lambda: client.delete_webhook(webhook.webhook_id)):
    try:
        call()
    except MlflowException as error:
        faults.append("500" in str(error))
there = {model.name for model in client.search_registered_models()}
os.killpg(running.pid, signal.SIGTERM)
print("before the restart told:", first, "after it:", second, "models:", sorted(there))
print("list_webhooks, delete_webhook: 500", faults)
sys.exit(not (first == ["/plain", "/signed"] and not second and faults == [True, True] and len(there) == 2))
PYTHON
