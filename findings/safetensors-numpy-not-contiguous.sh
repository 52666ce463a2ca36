#!/usr/bin/env bash
# safetensors 0.8.0 (numpy 2.4.6): safetensors.numpy writes an array that is not C-contiguous with its values in another order.
#
# Expected by most: a transposed, sliced or Fortran-ordered array comes back as it was, or is refused, as
#   safetensors.torch does ("You are trying to save a non contiguous tensor"). 0.7.0 wrote it as it was.
# Behaviour: no error and no warning; shape and type are right, the values are the raw memory read in C order.
#   contiguous  saved and loaded equal: True
#   transposed  saved and loaded equal: False  [[0, 3], [1, 4], [2, 5]] became [[0, 1], [2, 3], [4, 5]]
#   columns     saved and loaded equal: False  [[0, 2], [3, 5]] became [[0, 1], [2, 3]]
#   fortran     saved and loaded equal: False  [[0, 1, 2], [3, 4, 5]] became [[0, 3, 1], [4, 2, 5]]
# Reported upstream: github.com/safetensors/safetensors/issues/825
#
# For a user: means, projections (scikit-learn's PCA gives Fortran order) or `weights.T` in a model's file are garbage
# after loading, while checksums of the file agree. Pass every array through np.ascontiguousarray before saving.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
from safetensors.numpy import load, save

matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
arrays = {"contiguous": matrix, "transposed": matrix.T, "columns": matrix[:, ::2], "fortran": np.asfortranarray(matrix)}
changed = []
for name, array in arrays.items():
    loaded = load(save({"array": array}))["array"]
    same = np.array_equal(loaded, array)
    words = "" if same else f"  {array.astype(int).tolist()} became {loaded.astype(int).tolist()}"
    print(f"{name:11s} saved and loaded equal: {same}{words}")
    if not same:
        changed.append(name)
sys.exit(changed != ["transposed", "columns", "fortran"])
PYTHON
