#!/usr/bin/env bash
# Ray 2.60.0: ray.init(_node_ip_address="127.0.0.1") is taken for the machine's outer address, and the cluster listens
# on every interface; so does a plain ray.init().
#
# Expected by most: a local cluster keeps to the machine, at the latest when it is given 127.0.0.1 as the node's address.
# Behaviour (addresses on which processes of the cluster listen):
#   ray.init(): all interfaces
#   ray.init(_node_ip_address="127.0.0.1"): all interfaces
#   with RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0, on Linux: loopback
#   (ray._private.services.resolve_ip_for_localhost replaces a loopback address by the one that others see; the variable
#   makes that the loopback address too, and every server binds to the node's address when it is a loopback one.)
#
# For a user: who is in the same network reaches the cluster of a laptop or a workstation, which runs what it is sent;
# a token or a firewall is all there is in between. Set the variable before Ray is imported, and look at what listens.
#
# DGFNET_FINDINGS_PYTHON may name a python that has ray 2.60.0 and psutil; otherwise they are installed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${DGFNET_FINDINGS_PYTHON:-}
if [ -z "$python" ]; then
    python3 -m venv "$folder/venv"
    python=$folder/venv/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check "ray==2.60.0" "psutil==7.2.2"
fi
cat >"$folder/listen.py" <<'PYTHON'
import json
import sys
from ipaddress import ip_address

import psutil
import ray

ray.init(
    num_cpus=1,
    include_dashboard=False,
    object_store_memory=100 * 2**20,
    logging_level="ERROR",
    **json.loads(sys.argv[1]),
)
assert ray.__version__ == "2.60.0"
me = psutil.Process()
found = {
    ip_address(socket.laddr.ip)
    for process in [me, *me.children(recursive=True)]
    for socket in process.net_connections("inet")
    if socket.status == "LISTEN"
}
found = {getattr(address, "ipv4_mapped", None) or address for address in found}
if any(address.is_unspecified for address in found):
    print("all interfaces")
else:
    print("loopback" if all(address.is_loopback for address in found) else "some interfaces")
PYTHON
export HOME=$folder RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token
unset RAY_ADDRESS RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER
plain=$("$python" "$folder/listen.py" '{}' 2>/dev/null)
echo "ray.init(): $plain"
given=$("$python" "$folder/listen.py" '{"_node_ip_address": "127.0.0.1"}' 2>/dev/null)
echo "ray.init(_node_ip_address=\"127.0.0.1\"): $given"
switched=$(RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 "$python" "$folder/listen.py" '{}' 2>/dev/null)
echo "with RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0: $switched"
[ "$plain" = "all interfaces" ]
[ "$given" = "all interfaces" ]
[ "$switched" = "loopback" ]
