"""CPU time of a training step beside that of another checkout, in turns.

    python benchmarks/step.py /path/to/checkout [--variant dgf] [--pairs 5] [--set network.pooling=global ...]

Each build runs the step of its own code and params.yaml (forward, losses, backward, Adam) on one batch of
noise, one thread, in a process of its own; `--set` changes settings of both, as far as the build knows them.
CPU seconds of the thread, medians of 15 steps; the ratio is the median over pairs, theirs over ours. Run it
with nothing else at work: neighbours take the memory's bandwidth, which CPU time does not hide.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from machine import machine

ROOT = Path(__file__).parents[1]
STEP = """
import inspect, statistics, sys, time
from pathlib import Path
import torch
from dgfnet.dataset.batch import Batch
from dgfnet.errors import InputError
from dgfnet.network.variants import DGFNet
from dgfnet.settings import load
from dgfnet.training.losses import losses
torch.set_num_threads(1)
torch.manual_seed(0)
path, variant, wanted = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
known = []
for override in wanted:
    try:
        load(path, [override])
        known.append(override)
    except InputError:
        pass  # an older build does not know every setting
settings = load(path, known)
model = DGFNet(variant, settings.network.encoder_of("lateral"), settings.network)
model = model.to(memory_format=torch.channels_last).train()
count, size = settings.training.batch, settings.preprocess.size
images = {m: torch.randint(0, 256, (count, size(m), size(m)), dtype=torch.uint8) for m in model.modalities}
targets = {m: torch.randint(0, 2, (count, 2, size(m), size(m)), dtype=torch.uint8) for m in model.modalities}
batch = Batch(images, targets, torch.randint(0, 2, (count,)).float(), torch.arange(count))
adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
weights = [1.0, 0.0][: len(inspect.signature(losses).parameters) - 3]
def step():
    output = model(getattr(batch, "inputs", batch.images), batch.patients, segment=True)
    terms = losses(output, batch, *weights, True)
    adam.zero_grad(set_to_none=True)
    torch.stack(list(terms.values())).sum().backward()
    adam.step()
spent = []
for _ in range(18):
    begin = time.thread_time()
    step()
    spent.append(time.thread_time() - begin)
print(statistics.median(spent[3:]))
"""


def seconds(source: Path, variant: str, overrides: list[str]) -> float:
    """Returns the CPU seconds of a step of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(source / "project"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", STEP, str(source / "params.yaml"), variant, *overrides]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout)


def main() -> None:
    """Prints a line per pair, and the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--variant", default="dgf")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--set", nargs="*", default=[], dest="overrides")
    options = parser.parse_args()
    print(machine())
    ratios = []
    for _ in range(options.pairs):
        theirs, ours = (
            seconds(source, options.variant, options.overrides)
            for source in (options.checkout.resolve(), ROOT)
        )
        ratios.append(theirs / ours)
        print(f"{theirs * 1e3:.0f} ms, ours {ours * 1e3:.0f} ms: {ratios[-1]:.2f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
