# SPDX-License-Identifier: Apache-2.0
"""Train a small network with a larger one as its teacher.

`python training/distill.py --teacher FILE [--config FILE] [key=value ...]`; the settings
are the student's and those of `training/train.py`, of which `distillation*` belong here.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from training.config import load_config
from training.train import RunStoppedError, train


def main(argv: Sequence[str] | None = None) -> Path:
    """Run the command; returns the run folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--teacher', type=Path, required=True, help='checkpoint or exported model')
    parser.add_argument('--config', type=Path, help='YAML file with what differs from defaults')
    parser.add_argument('--runs', type=Path, default=Path('runs'), help='where run folders go')
    parser.add_argument('overrides', nargs='*', metavar='key=value', help='e.g. steps=200')
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    overrides = [*arguments.overrides, f'teacher={arguments.teacher.resolve()}']
    return train(load_config(arguments.config, overrides), arguments.runs)


if __name__ == '__main__':
    try:
        main()
    except RunStoppedError as stopped:
        sys.exit(f'\n{stopped}')
