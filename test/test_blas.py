# SPDX-License-Identifier: Apache-2.0
"""Threads of NumPy's matrix products, in the programs that are started."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('threadpoolctl')

ROOT = Path(__file__).resolve().parents[1]
THREADS = """
import threadpoolctl
print(*(pool['num_threads'] for pool in threadpoolctl.threadpool_info()
        if pool['user_api'] == 'blas' and 'numpy' in pool['filepath']))
"""
PROGRAMS = {
    'vpr': "from vpr_ros.cli import main; main(['map', 'info', '/nowhere'])",
    'localizer': 'from vpr_ros.node import main; main('
    "['--ros-args', '-p', 'map:=/nowhere', '-p', 'autostart:=true'])",
}


def blas_threads(start: str, **environment: str) -> list[int]:
    kept = {k: v for k, v in os.environ.items() if k != 'OPENBLAS_NUM_THREADS'}
    done = subprocess.run(
        [sys.executable, '-c', start + '; import numpy' + THREADS],
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [int(word) for word in done.stdout.split()]


@pytest.mark.parametrize('name', PROGRAMS)
def test_a_program_keeps_to_one_thread(name):
    if name == 'localizer':
        pytest.importorskip('rclpy')
    assert blas_threads(PROGRAMS[name]) == [1]


@pytest.mark.skipif(os.cpu_count() < 2, reason='one core has one thread anyway')
def test_without_it_there_would_be_more_and_the_user_may_say_so():
    assert blas_threads('pass') > [1]
    assert blas_threads(PROGRAMS['vpr'], OPENBLAS_NUM_THREADS='2') == [2]
