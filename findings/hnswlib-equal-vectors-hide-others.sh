#!/usr/bin/env bash
# hnswlib 0.8.0: when many vectors of an index are equal, other vectors of it can no longer be found, not even with
# themselves as the query; knn_query() answers with something else, and raises no error.
#
# Expected by most: an approximate search misses a few per cent; equal vectors at worst come in one another's place.
# Behaviour (2000 different random vectors of 32 numbers and copies of the first; M=16, ef_construction=200; share of
# the 1999 others that are their own nearest item at ef=10, which is the default, at 200 and at 1000):
#   copies   space    added first    ef=10   ef=200   ef=1000
#   0        cosine                  1.00    1.00     1.00
#   200      cosine   copies         0.90    0.99     1.00
#   1000     cosine   copies         0.84    0.98     0.98
#   5000     cosine   copies         0.00    0.00     0.06
#   5000     l2       copies         0.00    0.00     0.06
#   5000     cosine   copies; M=48   0.00    0.00     0.02
#   5000     cosine   shuffled       0.67    0.89     0.92
#   5000     cosine   the others     0.50    0.50     0.50
#   5000 copies in a BFIndex, which searches exactly: 1.00.
#   In the fourth row all ten items of a query with k=10 are copies, whatever the query is. The links of a copy are
#   filled with other copies, at distance 0, so that few or no paths lead out of them.
#
# For a user: slices of air, blank patches of a slide and padding all give one embedding; where they are a tenth or half
# of an archive, a search for similar cases, or for copies of training cases in the test data, misses real ones. Add
# each vector once and keep a table of the items that share it, then query some items with themselves; or take BFIndex.
# Known upstream, where removing duplicates is the advice: github.com/nmslib/hnswlib/issues/263, 341 and 373 (all open).
#
# Needs a C++ compiler: this release is compiled when it is installed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check hnswlib==0.8.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import hnswlib
import numpy as np

VECTORS = np.random.RandomState(0).randn(2000, 32).astype(np.float32)


def order(copies, first):
    """Returns which rows of the vectors are added, one after the other: all of them, and copies of row 0."""
    rows = np.concatenate([np.zeros(copies, int), np.arange(len(VECTORS))])
    if first == "shuffled":
        return np.random.RandomState(1).permutation(rows)
    return rows[::-1] if first == "others" else rows


def found(rows, items):
    """Returns the share of the vectors other than row 0 whose nearest item is the vector itself."""
    return float(np.mean(rows[items[:, 0]] == np.arange(1, len(VECTORS))))


def shares(copies, space="cosine", first="copies", links=16):
    """Returns the shares at three values of ef, and the share of copies among the ten items nearest to the others."""
    rows = order(copies, first)
    index = hnswlib.Index(space, VECTORS.shape[1])
    index.init_index(len(rows), M=links, ef_construction=200, random_seed=1)
    index.add_items(VECTORS[rows], num_threads=1)
    result = []
    for ef in (10, 200, 1000):
        index.set_ef(ef)
        result.append(found(rows, index.knn_query(VECTORS[1:], k=1, num_threads=1)[0].astype(int)))
    index.set_ef(10)
    ten = index.knn_query(VECTORS[1:], k=10, num_threads=1)[0].astype(int)
    return *result, float(np.mean(rows[ten] == 0))


CASES = [  # arguments; lowest and highest share at each ef: the library is compiled for the machine it is installed on
    ({"copies": 0}, (0.99, 0.99, 0.99), (1, 1, 1)),
    ({"copies": 200}, (0.6, 0.9, 0.97), (0.97, 1, 1)),
    ({"copies": 1000}, (0.5, 0.6, 0.8), (0.95, 1, 1)),
    ({"copies": 5000}, (0, 0, 0), (0.2, 0.2, 0.4)),
    ({"copies": 5000, "space": "l2"}, (0, 0, 0), (0.2, 0.2, 0.4)),
    ({"copies": 5000, "links": 48}, (0, 0, 0), (0.2, 0.2, 0.4)),
    ({"copies": 5000, "first": "shuffled"}, (0.3, 0.5, 0.6), (0.9, 0.97, 0.99)),
    ({"copies": 5000, "first": "others"}, (0.2, 0.2, 0.2), (0.8, 0.8, 0.8)),
]
wrong = []
for arguments, lowest, highest in CASES:
    *seen, copies = shares(**arguments)
    print(arguments, *(f"{share:.3f}" for share in seen), f"copies among ten: {copies:.3f}")
    wrong.append(not all(low <= share <= high for low, share, high in zip(lowest, seen, highest)))
    if arguments == {"copies": 5000}:
        wrong.append(copies < 0.9)
rows = order(5000, "copies")
exact = hnswlib.BFIndex("cosine", VECTORS.shape[1])
exact.init_index(len(rows))
exact.add_items(VECTORS[rows])
share = found(rows, exact.knn_query(VECTORS[1:], k=1)[0].astype(int))
print(f"BFIndex, 5000 copies: {share:.3f}")
wrong.append(share < 1)
sys.exit(any(wrong))
PYTHON
