"""Shows a person that a sweep goes on: a bar, and a word about fits that are silent."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

SILENT = 600.0  # seconds


@dataclass
class Heard:
    """When each trial was heard of last. Ray may lose the answer of a machine that was cut off for a moment.

    Attributes:
        last: per trial, in seconds.
        longest: pause between two epochs.
        told: trials of which it was said.
    """

    last: dict[str, float] = field(default_factory=dict)
    longest: float = 0.0
    told: set[str] = field(default_factory=set)

    def note(self, trial: str, now: float) -> None:
        """Takes note that a trial was heard of."""
        self.longest = max(self.longest, now - self.last.get(trial, now))
        self.last[trial] = now
        self.told.discard(trial)

    def silent(self, trials: Sequence[str], now: float) -> list[float]:
        """Returns for how long trials are silent: over SILENT, and ten times any pause before; each once."""
        quiet = max(SILENT, 10 * self.longest)
        late = [name for name in trials if name not in self.told and now - self.last.get(name, now) > quiet]
        self.told.update(late)
        return [now - self.last[name] for name in late]


def progress(label: str, epochs: int) -> Any:
    """Returns a Tune callback that moves a progress bar of so many epochs."""
    from ray.tune import Callback
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    class Bar(Callback):
        def setup(self, *_: Any, **__: Any) -> None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("epochs"),
            )
            self.progress = Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True))
            self.bar = self.progress.add_task(label, total=epochs)
            self.done: dict[str, int] = {}
            self.heard = Heard()
            self.progress.start()

        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
            self.heard.note(trial.trial_id, time.monotonic())

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any) -> None:
            self.heard.note(trial.trial_id, time.monotonic())
            self.done[trial.trial_id] = max(result.get("epoch", 0), self.done.get(trial.trial_id, 0))
            self.progress.update(self.bar, completed=sum(self.done.values()))

        def on_step_begin(self, iteration: int, trials: Any, **_: Any) -> None:
            running = [trial.trial_id for trial in trials if trial.status == "RUNNING"]
            for seconds in self.heard.silent(running, time.monotonic()):
                self.progress.console.print(
                    f"{label}: a fit has said nothing for {seconds / 60:.0f} minutes; if its machine was cut "
                    "off, press Ctrl-C and run the same command again: it goes on at its last checkpoint",
                    soft_wrap=True,
                )

        def on_experiment_end(self, *_: Any, **__: Any) -> None:
            self.progress.stop()

    return Bar()
