# SPDX-License-Identifier: Apache-2.0
"""How every network is opened: from one file, with threads that do not spin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnxruntime as ort

from vpr_ros.errors import ModelError

CPU_PROVIDER = 'CPUExecutionProvider'


def session_options(num_threads: int) -> ort.SessionOptions:
    """Return the options of a session.

    Args:
        num_threads: CPU threads of one inference; 0: as many as there are cores.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = num_threads
    # Idle worker threads must not spin: the camera driver and DDS need the cores too.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    options.log_severity_level = 3
    return options


def create_session(
    path: Path, providers: Sequence[str], options: ort.SessionOptions, *, remedy: str
) -> ort.InferenceSession:
    """Open a model file.

    Raises:
        ModelError: It is none that onnxruntime can use; the message ends with `remedy`.
    """
    # Opened by path, external data would be found and accepted; by bytes it cannot be, and a
    # model that needs a second file is refused as the decision "one file" demands.
    try:
        return ort.InferenceSession(path.read_bytes(), options, providers=list(providers))
    except Exception as error:  # onnxruntime raises its own untyped family
        hint = ' (weights in a second file?)' if 'external' in str(error).lower() else ''
        raise ModelError(f'{path} is not a usable ONNX model{hint}: {error}; {remedy}') from error
