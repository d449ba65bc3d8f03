# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    """Heed SIGINT, and so do the processes under test: a shell's background jobs ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope='session')
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real ONNX model of a few kilobytes that recognises pictures (192 values)."""
    pytest.importorskip('onnx')
    from tiny_model import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp('model') / 'tiny.onnx')


@pytest.fixture(scope='session')
def vpr_data() -> Path:
    """The folder of real pictures (`VPR_DATA`, default ../shared/data)."""
    folder = Path(os.environ.get('VPR_DATA', REPOSITORY.parent / 'shared' / 'data'))
    if not folder.is_dir():
        pytest.skip(f'no real pictures at {folder}; set VPR_DATA')
    return folder


def textured_pictures(n: int, *, seed: int = 0, height: int = 120, width: int = 160) -> np.ndarray:
    """Return N clearly different pictures: uint8 RGB (N, height, width, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 6, 8, 3), dtype=np.uint8)
    return coarse.repeat(height // 6, axis=1).repeat(width // 8, axis=2)


@pytest.fixture(name='textured_pictures')
def textured_pictures_fixture():
    """The function that makes clearly different pictures."""
    return textured_pictures
