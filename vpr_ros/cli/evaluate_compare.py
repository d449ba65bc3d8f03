# SPDX-License-Identifier: Apache-2.0
"""`vpr evaluate compare`: runs side by side."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from vpr_ros.errors import SourceError

if TYPE_CHECKING:
    from vpr_ros.evaluation.compare import Difference


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add `vpr evaluate compare`."""
    parser = commands.add_parser(
        'evaluate compare',
        help='runs side by side, and whether they differ by more than chance',
        description='Compares what `vpr evaluate` left in folders with the first of them. The '
        'difference is marked where its 95 %% interval (bootstrap over segments, paired where the '
        'pictures are the same) leaves out zero.',
    )
    parser.add_argument('runs', nargs='+', type=Path, metavar='DIR', help='two folders or more')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the numbers as well')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from vpr_ros.evaluation.compare import differences, load_run, same_pictures

    if len(args.runs) < 2:
        raise SourceError('compare needs two folders of results or more')
    first, *others = [load_run(folder) for folder in args.runs]
    print(f'{"":26} {first.folder}')
    found = {}
    for other in others:
        same = same_pictures(first, other)
        kind = 'the same pictures, paired' if same else 'other pictures, not paired'
        print(f'{"":26} {other.folder}  ({kind})')
        if other.metrics['protocol'] != first.metrics['protocol']:
            print(f'{"":26} BEWARE: judged otherwise: {other.metrics["protocol"]}')
        found[str(other.folder)] = differences(first, other)
    print(f'{"judged by":26} {first.metrics["protocol"]}\n')
    for name in next(iter(found.values())):
        cells = [_cell(by_name[name]) for by_name in found.values()]
        print(f'{name:26} {_number(first.metrics.get(name)):>8}  {"  ".join(cells)}')
    print('\n*: more than chance (95 %)')
    if args.json is not None:
        _write(args.json, str(first.folder), found)
    return 0


def _cell(difference: Difference) -> str:
    if math.isnan(difference.difference):
        return f'{_number(difference.value):>8}'
    mark = '*' if difference.exceeds_noise else ' '
    between = f'({difference.low:+.4f} to {difference.high:+.4f})'
    if math.isnan(difference.low):
        between = '(no interval)'
    return f'{difference.value:8.4f}  {difference.difference:+.4f}{mark} {between}'


def _number(value: float | None) -> str:
    return '-' if value is None or math.isnan(value) else f'{value:.4f}'


def _write(path: Path, first: str, found: dict[str, dict[str, Difference]]) -> None:
    from vpr_ros.evaluation.scores import finite

    content = {
        'first': first,
        'others': {
            folder: {
                name: finite(vars(d)) | {'exceeds_noise': d.exceeds_noise}
                for name, d in by_name.items()
            }
            for folder, by_name in found.items()
        },
    }
    path.write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
