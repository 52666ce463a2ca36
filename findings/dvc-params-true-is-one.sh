#!/usr/bin/env bash
# DVC 3.67.1: a parameter that changes from 1 to true, from 0 to false, or from 1 to 1.0 is "up to date".
#
# Expected by most: another value in params.yaml, of another YAML type, is a change: `dvc status` names it and
#   `dvc repro` runs the stage. (From 1 to '1' it does.)
# Behaviour: values are compared with Python's ==, at any depth, and there True == 1 == 1.0. The stage is skipped and
#   its output, and dvc.lock, keep the old value:
#   cache: 1     -> stage output 1
#   cache: true  -> Stage 'show' didn't change, skipping; stage output still 1
#   cache: 1.0   -> Stage 'show' didn't change, skipping; stage output still 1
#   cache: '1'   -> Running stage 'show'; stage output '1'
#
# For a user: a setting such as `layers: 1`, `early_stopping: true`, `workers: 0`, `pretrained: false` whose type carries
# meaning (a count or a switch; a number of samples or a share, as `max_samples: 1` and `1.0` in scikit-learn) can be
# changed without the pipeline running again, and `dvc status` vouches for results of the old setting. Run
# `dvc repro -f STAGE` after such a change, or have the code refuse all but one type for a setting.
#
# DGFNET_FINDINGS_PYTHON may name a python that has dvc 3.67.1; otherwise it is installed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${DGFNET_FINDINGS_PYTHON:-}
if [ -z "$python" ]; then
    python3 -m venv "$folder/venv"
    python=$folder/venv/bin/python
    "$python" -m pip install --quiet --disable-pip-version-check dvc==3.67.1
fi
export DVC_NO_ANALYTICS=true DVC_SITE_CACHE_DIR=$folder/site HOME=$folder
mkdir "$folder/project"
cd "$folder/project"
git init --quiet
"$python" -m dvc init --quiet
cat >show.sh <<'SHOW'
sed -n 's/^cache: //p' params.yaml >value.txt
SHOW
cat >dvc.yaml <<'YAML'
stages:
  show:
    cmd: sh show.sh
    deps: [show.sh]
    params: [cache]
    outs: [value.txt]
YAML
wrong=0
check() { # value in params.yaml, expected output of the stage
    echo "cache: $1" >params.yaml
    said=$("$python" -m dvc repro 2>&1)
    echo "cache: $1 -> ${said%%$'\n'*} Stage output: $(cat value.txt)"
    [ "$(cat value.txt)" = "$2" ] || wrong=1
}
check 1 1
check true 1
check 1.0 1
check "'1'" "'1'"
check 0 0
check false 0
exit $wrong
