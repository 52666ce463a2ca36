#!/usr/bin/env bash
# MLflow 3.17.2: a webhook's receiver with a certificate of an authority of one's own is never told. REQUESTS_CA_BUNDLE,
# SSL_CERT_FILE and CURL_CA_BUNDLE are not looked at; only the authorities that the package certifi brings are trusted.
#
# Expected by most: what requests and curl honour everywhere else, MLflow's own client among it, holds for webhooks too.
# Behaviour (one receiver on https://localhost, its certificate named in all three variables of the server):
#   requests.post from the same environment: 200
#   client.test_webhook: success False, CERTIFICATE_VERIFY_FAILED
#   model_version_alias.created: nothing arrives; the call that set the alias succeeds, the server's log alone says why
#
# For a user: hospitals sign internal servers themselves, and https is the only scheme allowed by default. Ask test_webhook once
# after creating one; let a relay on the server's own machine take messages by http (MLFLOW_WEBHOOK_ALLOWED_SCHEMES).
# No report of it found.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check mlflow==3.17.2
cd "$folder"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
    -out certificate.pem -keyout key.pem 2>/dev/null
export REQUESTS_CA_BUNDLE="$folder/certificate.pem" SSL_CERT_FILE="$folder/certificate.pem" \
    CURL_CA_BUNDLE="$folder/certificate.pem" MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true MLFLOW_DISABLE_TELEMETRY=true
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
venv/bin/mlflow server --backend-store-uri "sqlite:///$folder/m.db" --artifacts-destination "$folder/files" --port "$port" \
    --workers 1 >server.log 2>&1 &
for _ in $(seq 120); do
    python3 -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:$port/health')" 2>/dev/null && break
    sleep 0.5
done
venv/bin/python - "http://127.0.0.1:$port" 2>/dev/null <<'PYTHON'
import http.server
import ssl
import sys
import threading
import time

import requests
from mlflow import MlflowClient
from mlflow.entities.webhook import WebhookEvent

told = []


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        told.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("localhost", 0), Receiver)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("certificate.pem", "key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"https://localhost:{server.server_port}/"
answer = requests.post(address, data=b"{}", timeout=10).status_code
told.clear()
client = MlflowClient(sys.argv[1])
webhook = client.create_webhook("told", address, [WebhookEvent.from_str("model_version_alias.created")])
tested = client.test_webhook(webhook.webhook_id)
client.create_registered_model("model")
client.create_model_version("model", "s3://nowhere/model")
client.set_registered_model_alias("model", "champion", "1")
time.sleep(10)
refused = "CERTIFICATE_VERIFY_FAILED" in str(tested.error_message)
print("requests.post:", answer)
print("test_webhook: success", tested.success, "CERTIFICATE_VERIFY_FAILED" if refused else tested.error_message)
print("alias is set:", client.get_registered_model("model").aliases, "messages:", len(told))
sys.exit(not (answer == 200 and tested.success is False and refused and not told))
PYTHON
