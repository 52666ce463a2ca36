#!/usr/bin/env bash
# MLflow 3.17.2, server under a name of its own (--allowed-hosts mlflow.hospital.example): its own page is taken for a foreign
# one. What the page asks by POST is refused (403 "Cross-origin request blocked"), and that is how it lists runs; what it
# asks by GET works. Clients in Python send no Origin and notice nothing.
#
# Expected by most: a request whose Origin is the very host it was sent to is of the same origin, and passes.
# Behaviour (Host mlflow.hospital.example throughout):
#   GET  experiments/search   Origin https://mlflow.hospital.example                              200
#   POST runs/search          no Origin, as by MlflowClient                                       200
#   POST runs/search          Origin https://mlflow.hospital.example, as by the page              403
#   the same with X-Forwarded-Proto: https and X-Forwarded-Host                                   403
#   the same with --cors-allowed-origins https://mlflow.hospital.example                          200
# The name is compared with its port: mlflow.hospital.example:5000 is another host (403), and localhost is refused too then.
#
# For a user: training and the registry work, the page shows experiments without a single run. Name the address of the page,
# with https://, in --cors-allowed-origins, beside --allowed-hosts.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill %1 %2 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check 'mlflow==3.17.2'
cd "$folder"
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
start() { # PORT, further options
    local port=$1
    shift
    "$folder/venv/bin/mlflow" server --workers 1 --port "$port" --backend-store-uri "sqlite:///$folder/$port.db" \
        --artifacts-destination "$folder/files" --allowed-hosts mlflow.hospital.example "$@" > "$folder/$port.log" 2>&1 &
}
ports=$("$folder/venv/bin/python" -c 'import socket
s = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(each.getsockname()[1] for each in s))')
read -r plain named <<< "$ports"
start "$plain"
start "$named" --cors-allowed-origins https://mlflow.hospital.example
"$folder/venv/bin/python" - "$plain" "$named" <<'PYTHON'
import sys
import time

import requests

NAME = "mlflow.hospital.example"
PAGE = {"Host": NAME, "Origin": f"https://{NAME}"}
THROUGH = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": NAME}


def ask(port, method, path, headers):
    content = {"json": {"experiment_ids": ["0"], "max_results": 1}} if method == "POST" else {}
    where = f"http://127.0.0.1:{port}/ajax-api/2.0/mlflow/{path}"
    return requests.request(method, where, headers=headers, timeout=60, **content).status_code


for port in sys.argv[1:]:
    for _ in range(240):
        try:
            if requests.get(f"http://127.0.0.1:{port}/health", timeout=5).ok:
                break
        except requests.RequestException:
            time.sleep(0.5)
plain, named = sys.argv[1:]
search = "experiments/search?max_results=1"
ROWS = (
    ("GET, of the page", (plain, "GET", search, PAGE), 200),
    ("POST, no Origin", (plain, "POST", "runs/search", {"Host": NAME}), 200),
    ("POST, of the page", (plain, "POST", "runs/search", PAGE), 403),
    ("POST, of the page, forwarded", (plain, "POST", "runs/search", PAGE | THROUGH), 403),
    ("POST, of the page, origin named", (named, "POST", "runs/search", PAGE), 200),
    ("GET, host with a port", (plain, "GET", search, {"Host": f"{NAME}:5000"}), 403),
    ("GET, localhost", (plain, "GET", search, {"Host": "localhost"}), 403),
)
wrong = False
for what, asked, expected in ROWS:
    status = ask(*asked)
    print(what, status)
    wrong = wrong or status != expected
sys.exit(wrong)
PYTHON
