# SPDX-License-Identifier: Apache-2.0
"""Options and argument types that several commands share."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable


def add_bag_options(
    group: argparse._ActionsContainer, *, several: bool = False, stamps_default: str = 'header'
) -> None:
    """Add what chooses pictures and times of a bag; None where an option is not given.

    Args:
        group: Gets the options.
        several: Whether there may be several topics, each a camera of its own.
        stamps_default: What the command takes then, for the help.
    """
    more = '; give it again for each further camera' if several else ''
    group.add_argument(
        '--topic',
        action='append' if several else 'store',
        help=f'pictures of the bag, Image or CompressedImage (default: the only ones){more}',
    )
    group.add_argument(
        '--stamps',
        choices=('header', 'record'),
        help='times in the bag: of the message headers or of recording '
        f'(default {stamps_default})',
    )


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    return int(_within(text, int, 1, math.inf, 'at least 1'))


def tolerance(text: str) -> int:
    """Read a number of pictures, 0 or more."""
    return int(_within(text, int, 0, math.inf, 'a number of pictures, 0 or more'))


def not_negative(text: str) -> float:
    """Read a finite number of at least 0."""
    return _within(text, float, 0.0, sys.float_info.max, '0 or more')


def above_zero(text: str) -> float:
    """Read a finite number above 0."""
    return _within(text, float, sys.float_info.min, sys.float_info.max, 'above 0')


def similarity(text: str) -> float:
    """Read a cosine similarity, above -1, which means the model's own threshold, to 1."""
    return _within(text, float, math.nextafter(-1.0, 1.0), 1.0, 'a number above -1, to 1')


def _within(
    text: str, read: Callable[[str], float], least: float, most: float, wanted: str
) -> float:
    """Read a number of a range, or say what is wanted."""
    try:
        value = read(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f'must be {wanted}, not {text!r}')
    return value
