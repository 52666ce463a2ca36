#!/usr/bin/env bash
# Ray 2.60.0: an interrupted Tuner.fit() returns as if all had gone well, and every fit leaves a handler behind that
# swallows one later Ctrl-C.
#
# Expected by most: Ctrl-C raises KeyboardInterrupt in fit(), or fit() reports unfinished trials as such; and after fit()
#   and ray.shutdown() Ctrl-C does what it did before.
# Behaviour (three trials, one at a time, SIGINT during the first; then two short fits):
#   fit() raised: nothing; trials 3, errors 0, terminated 3, with a result: 1
#   SIGINTs until KeyboardInterrupt after 3 fits and ray.shutdown(): 3
#   with TUNE_DISABLE_SIGINT_HANDLER=1: fit() raised: KeyboardInterrupt (the trial's worker stays busy until ray.shutdown())
#   (3, not 4: the handler of a fit that was interrupted has put back the one before it.) Each fit keeps the handler of
#   the fit before it as "the original one", so n fits swallow n interrupts.
#
# For a user: results of an interrupted sweep look complete (num_errors == 0; the best of what little was tried is
# chosen, and a pipeline records the stage as done), and a program that fits in several sweeps and then does something
# else cannot be stopped by Ctrl-C but after many. Set TUNE_DISABLE_SIGINT_HANDLER=1, or save the handlers of SIGINT and
# SIGUSR1 before fit() and put them back, and hold the number of finished trials against the number asked for.
# See also github.com/ray-project/ray/issues/37737 and 50358.
#
# DGFNET_FINDINGS_PYTHON may name a python that has ray[tune] 2.60.0; otherwise it is installed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${DGFNET_FINDINGS_PYTHON:-}
if [ -z "$python" ]; then
    python3 -m venv "$folder/venv"
    python=$folder/venv/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check "ray[tune]==2.60.0"
fi
cat >"$folder/interrupt.py" <<'PYTHON'
import os
import signal
import sys
import threading
import time
from pathlib import Path

import ray
from ray import tune

folder = Path(sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)  # also when started in the background


def trial(config):
    tune.report({"score": 1})
    if config["slow"]:
        (folder / "running").touch()
        time.sleep(20)


def fit(name, count, slow):
    return tune.Tuner(
        trial,
        param_space={"number": tune.grid_search(list(range(count))), "slow": slow},
        run_config=tune.RunConfig(name=name, storage_path=str(folder / "storage"), verbose=0),
    ).fit()


def interrupt():
    while not (folder / "running").exists():
        time.sleep(0.2)
    time.sleep(2)
    os.kill(os.getpid(), signal.SIGINT)


ray.init(
    num_cpus=1,
    include_dashboard=False,
    object_store_memory=100 * 2**20,
    logging_level="ERROR",
    log_to_driver=False,
)
threading.Thread(target=interrupt, daemon=True).start()
try:
    results = fit("long", 3, True)
    scored = sum(bool(result.metrics) and "score" in result.metrics for result in results)
    print(
        f"fit() raised: nothing; trials {len(results)}, errors {results.num_errors}, "
        f"terminated {results.num_terminated}, with a result: {scored}"
    )
except KeyboardInterrupt:
    print("fit() raised: KeyboardInterrupt")
    ray.shutdown()  # the trial's worker is still busy
    sys.exit()
for name in ("second", "third"):
    fit(name, 1, False)
ray.shutdown()
sent = 0
while True:
    try:
        sent += 1
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
    except KeyboardInterrupt:
        break
print(f"SIGINTs until KeyboardInterrupt: {sent}")
PYTHON
export HOME=$folder RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=token RAY_AIR_NEW_OUTPUT=0 TUNE_DISABLE_AUTO_CALLBACK_LOGGERS=1
unset RAY_ADDRESS TUNE_DISABLE_SIGINT_HANDLER
said=$("$python" "$folder/interrupt.py" "$folder" 2>/dev/null | grep -E '^(fit|SIGINT)')
echo "$said"
[ "$said" = "fit() raised: nothing; trials 3, errors 0, terminated 3, with a result: 1
SIGINTs until KeyboardInterrupt: 3" ]
rm "$folder/running"
echo "with TUNE_DISABLE_SIGINT_HANDLER=1"
said=$(TUNE_DISABLE_SIGINT_HANDLER=1 "$python" "$folder/interrupt.py" "$folder" 2>/dev/null | grep -E '^(fit|SIGINT)')
echo "$said"
[ "$said" = "fit() raised: KeyboardInterrupt" ]
