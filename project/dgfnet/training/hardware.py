"""Device, precision and threads, chosen from the hardware."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

COMPILE_FROM = 5000  # steps; compiling takes a minute or two (docs/explanation/speed.md)


@dataclass(frozen=True)
class Hardware:
    """Device and precision of a network.

    Attributes:
        device: the GPU Ray gave this trial, or the CPU.
        half: dtype of mixed precision; None is plain float32.
        room: bytes of the GPU's memory that this process may take; 0 on a CPU.
    """

    device: torch.device
    half: torch.dtype | None
    room: int = 0

    def autocast(self) -> AbstractContextManager[object]:
        """Returns mixed precision for the forward pass, or nothing."""
        return nullcontext() if self.half is None else torch.autocast(self.device.type, dtype=self.half)

    def compiled(self, model: nn.Module, setting: str, steps: int) -> nn.Module:
        """Returns the model to call in training; on `auto` it is compiled for long fits on a GPU."""
        pays = self.device.type == "cuda" and steps >= COMPILE_FROM
        if setting == "on" or (setting == "auto" and pays):
            return torch.compile(model)  # type: ignore[return-value]
        return model

    @property
    def on_gpu(self) -> bool:
        """Batches are then augmented there, from what threads draw ahead."""
        return self.device.type == "cuda"

    def scaler(self) -> torch.amp.GradScaler:
        """Returns the loss scaling, needed by float16 only; a disabled scaler passes everything through."""
        return torch.amp.GradScaler(self.device.type, enabled=self.half is torch.float16)


def choose(precision: str, share: float = 1.0) -> Hardware:
    """Chooses the GPU with bfloat16 (or float16 before Ampere) if available; else the CPU in float32.

    On CPUs mixed precision is left off: without AMX it was slower than float32 here.

    Args:
        precision: `training.precision`.
        share: of the GPU's memory that this process may take; Ray's fractions alone limit none.
    """
    if not torch.cuda.is_available():
        return Hardware(torch.device("cpu"), None)
    torch.backends.cudnn.benchmark = True  # every batch has one of two shapes
    torch.backends.cudnn.allow_tf32 = False  # or a convolution in float32 keeps 10 of its 23 bits
    half = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    free, total = torch.cuda.mem_get_info()
    if share < 1:
        torch.cuda.set_per_process_memory_fraction(share)
    return Hardware(
        torch.device("cuda"), half if precision == "auto" else None, min(free, int(share * total))
    )
