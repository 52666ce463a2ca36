#!/usr/bin/env bash
# Ray 2.60.0: a task, actor or Tune trial of 0 GPUs sees every GPU that the driver sees.
#
# Expected by most: num_gpus=0, the default, hides the GPUs (CUDA_VISIBLE_DEVICES="").
# Behaviour (CUDA_VISIBLE_DEVICES in a task of 0 GPUs, on a node of one GPU, CUDA_VISIBLE_DEVICES=0 in the driver):
#   variable not set                        0
#   RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0    0
#   RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=1    (empty)
#   (no GPU is needed to see it: Ray is told that there is one.)
#
# For a user: trials meant for CPUs, as many as there are cores, all find `torch.cuda.is_available()` and train on the first GPU
# at once, until its memory is full. Set the variable to 1 before Ray starts, or ask for a device by name.
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
cat >"$folder/sees.py" <<'PYTHON'
import os

import ray

assert ray.__version__ == "2.60.0"
ray.init(
    num_cpus=1, num_gpus=1, include_dashboard=False, object_store_memory=100 * 2**20, logging_level="ERROR"
)


@ray.remote(num_gpus=0)
def sees():
    return os.environ.get("CUDA_VISIBLE_DEVICES")


print(ray.get(sees.remote()))
PYTHON
export HOME=$folder RAY_USAGE_STATS_ENABLED=0 CUDA_VISIBLE_DEVICES=0
unset RAY_ADDRESS RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO
unset_=$("$python" "$folder/sees.py" 2>/dev/null)
zero=$(RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=0 "$python" "$folder/sees.py" 2>/dev/null)
one=$(RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=1 "$python" "$folder/sees.py" 2>/dev/null)
echo "not set: '$unset_', 0: '$zero', 1: '$one'"
[ "$unset_" = "0" ]
[ "$zero" = "0" ]
[ "$one" = "" ]
