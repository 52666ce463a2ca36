#!/usr/bin/env bash
# Ray 2.60.0: the token that ray.init() makes for a local cluster is written with the mode that the umask leaves, and
# the folder of the session, sockets included, with mode 777.
#
# Expected by most: 0600, as ssh and others write their secrets; a session's folder that is its user's.
# Behaviour (umask 022): ~/.ray/auth_token 644; session_latest and session_latest/sockets 777.
#
# For a user: on a shared machine the token is a secret only where the home folder is shut, and what is in the session's
# folder can be replaced by everybody. chmod 600 the token, or give it in RAY_AUTH_TOKEN; let _temp_dir lie in a folder
# of mode 700.
#
# DGFNET_FINDINGS_PYTHON may name a python that has ray 2.60.0; otherwise it is installed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${DGFNET_FINDINGS_PYTHON:-}
if [ -z "$python" ]; then
    python3 -m venv "$folder/venv"
    python=$folder/venv/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check "ray==2.60.0"
fi
export HOME=$folder RAY_USAGE_STATS_ENABLED=0
unset RAY_ADDRESS RAY_AUTH_MODE RAY_AUTH_TOKEN RAY_AUTH_TOKEN_PATH
umask 022
said=$("$python" - "$folder" <<'PYTHON' 2>/dev/null
import sys
from pathlib import Path

import ray

assert ray.__version__ == "2.60.0"
folder = Path(sys.argv[1])
ray.init(
    num_cpus=1,
    include_dashboard=False,
    object_store_memory=100 * 2**20,
    logging_level="ERROR",
    _temp_dir=str(folder / "r"),
)
for path in (".ray/auth_token", "r/session_latest", "r/session_latest/sockets"):
    print(path, oct((folder / path).stat().st_mode & 0o777)[2:])
PYTHON
)
echo "$said"
[ "$said" = ".ray/auth_token 644
r/session_latest 777
r/session_latest/sockets 777" ]
