"""Opens ONNX graphs."""

from __future__ import annotations

from pathlib import Path

import onnxruntime


def open_session(graph: Path | bytes, threads: int) -> onnxruntime.InferenceSession:
    """Opens an ONNX graph, a file or its content; on a GPU where onnxruntime was built for one."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    available = onnxruntime.get_available_providers()
    providers = [n for n in ("CUDAExecutionProvider", "CPUExecutionProvider") if n in available]
    content = graph if isinstance(graph, bytes) else str(graph)
    return onnxruntime.InferenceSession(content, options, providers=providers)
