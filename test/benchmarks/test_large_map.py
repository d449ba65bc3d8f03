# SPDX-License-Identifier: Apache-2.0
"""The bar of the project: a million descriptors of 512 values in under 8 GiB."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30


@pytest.mark.slow
def test_a_million_places_fit(tmp_path):
    environment = os.environ | {'TMPDIR': str(tmp_path), 'PYTHONPATH': str(ROOT)}
    table = tmp_path / 'rows.json'
    process = subprocess.Popen(
        [sys.executable, 'benchmarks/large_map.py', '--places', '1000000', '--json', table],
        cwd=ROOT,
        env=environment,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    (row,) = json.loads(table.read_text())
    assert row['places'] == 1_000_000
    assert row['recall@1'] == 1.0, 'the places that were planted are found'
    peak = usage.ru_maxrss * 1024  # bytes
    assert peak < 8 * GIB
    # The index and the file's pages, and little more: a copy of all would be seen.
    assert peak < (2 * row['descriptors_gib'] + 1) * GIB
