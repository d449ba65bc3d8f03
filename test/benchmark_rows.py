# SPDX-License-Identifier: Apache-2.0
"""What a benchmark of this repository prints and writes, run as its user does."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def benchmark_rows(name, vpr_data, table, *arguments):
    """Run a benchmark.

    Returns:
        Its output, and the rows that it writes into the file `table`.
    """
    run = subprocess.run(
        [sys.executable, f'benchmarks/{name}.py', '--json', table, *arguments],
        cwd=ROOT,
        env=os.environ | {'VPR_DATA': str(vpr_data)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout, json.loads(table.read_text())
