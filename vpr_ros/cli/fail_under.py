# SPDX-License-Identifier: Apache-2.0
"""`--fail-under METRIC=VALUE`: an exit status for users' own checks."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def add_fail_under(parser: argparse.ArgumentParser, metrics: Sequence[str]) -> None:
    """Add the option; `metrics` are the fractions of the result that it knows."""
    parser.add_argument(
        '--fail-under',
        nargs='+',
        action='extend',
        default=[],
        type=_bound_of(metrics),
        metavar='METRIC=VALUE',
        help='end with exit status 1 where METRIC lies under VALUE, a fraction; METRIC: '
        f'{", ".join(metrics)}',
    )


def exit_status(measured: Mapping[str, Any], bounds: Sequence[tuple[str, float]]) -> int:
    """Say on stderr which metrics lie under their bounds.

    Returns:
        1 if one does, or could not be measured (None); else 0.
    """
    under = [
        (name, bound) for name, bound in bounds if measured[name] is None or measured[name] < bound
    ]
    for name, bound in under:
        value = measured[name]
        shown = 'undefined' if value is None else f'{value:.4f}'
        print(f'{name} is {shown}, under the {bound:g} asked for', file=sys.stderr)
    return 1 if under else 0


def _bound_of(metrics: Sequence[str]) -> Callable[[str], tuple[str, float]]:
    def bound(text: str) -> tuple[str, float]:
        name, _, number = text.partition('=')
        if name not in metrics:
            raise argparse.ArgumentTypeError(
                f'must be METRIC=VALUE, METRIC one of {", ".join(metrics)}, not {text!r}'
            )
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise argparse.ArgumentTypeError(
                f'{name} is a fraction: its VALUE must lie between 0 and 1, not {number!r}'
            )
        return name, value

    return bound
