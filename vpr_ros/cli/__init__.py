# SPDX-License-Identifier: Apache-2.0
"""`vpr …`: thin commands over the core."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence

from vpr_ros import __version__
from vpr_ros.blas import use_one_blas_thread
from vpr_ros.cli import (
    calibrate,
    demo,
    evaluate,
    evaluate_benchmark,
    evaluate_compare,
    features,
    map,
    model,
    replay,
)
from vpr_ros.errors import VprError

EVALUATE_ACTIONS = (
    'benchmark',
    'compare',
)  # a plain `vpr evaluate` names none


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(prog='vpr', description='Visual place recognition for ROS 2.')
    parser.add_argument('--version', action='version', version=f'vpr_ros {__version__}')
    parser.add_argument('-v', '--verbose', action='store_true', help='log what is being done')
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    evaluations = (evaluate, evaluate_compare, evaluate_benchmark)
    for module in (demo, map, *evaluations, calibrate, replay, model, features):
        module.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 on success, 1 if the command says that something does not hold, 2 on a user's mistake,
        130 on Ctrl-C.
    """
    use_one_blas_thread()
    words = sys.argv[1:] if argv is None else argv
    args = build_parser().parse_args(_joined(words))
    args.command_line = shlex.join(['vpr', *words])  # what results say of themselves
    logging.basicConfig(
        level=logging.INFO if args.verbose else logging.WARNING, format='%(levelname)s %(message)s'
    )
    try:
        return args.run(args)
    except (VprError, OSError) as error:
        print(f'vpr {args.command}: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f'vpr {args.command}: interrupted', file=sys.stderr)
        return 130


def _joined(argv: Sequence[str]) -> list[str]:
    """Make one word of `evaluate ACTION`: to argparse, a command has actions or has none."""
    words = list(argv)
    at = next((i for i, word in enumerate(words) if not word.startswith('-')), len(words))
    if words[at : at + 1] == ['evaluate'] and set(words[at + 1 : at + 2]) & set(EVALUATE_ACTIONS):
        return [*words[:at], ' '.join(words[at : at + 2]), *words[at + 2 :]]
    return words
