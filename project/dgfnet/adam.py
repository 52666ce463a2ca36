"""Adam as torch has it, without loading torch's compiler: 1.3 CPU seconds of every worker.

torch marks an optimiser's methods as not to be compiled, and loads the compiler for the mark. Below the marks
are the methods themselves.
"""

from __future__ import annotations

from inspect import unwrap

import torch


class Adam(torch.optim.Adam):
    """`torch.optim.Adam`, equal to the bit; not to be called inside what `torch.compile` compiles."""

    step = torch.no_grad()(unwrap(torch.optim.Adam.step))
    zero_grad = unwrap(torch.optim.Adam.zero_grad)
    add_param_group = unwrap(torch.optim.Adam.add_param_group)
    state_dict = unwrap(torch.optim.Adam.state_dict)
    load_state_dict = unwrap(torch.optim.Adam.load_state_dict)
