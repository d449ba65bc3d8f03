# SPDX-License-Identifier: Apache-2.0
"""`vpr calibrate`: a threshold for a wanted precision, recorded in the map."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vpr_ros.cli.arguments import not_negative, positive, tolerance
from vpr_ros.errors import CalibrationError

if TYPE_CHECKING:
    from vpr_ros.calibration import ByOrder, ByPose, Choice, Trials
    from vpr_ros.place_map import PlaceMap

_SHOWN = (1.0, 0.999, 0.995, 0.99, 0.95, 0.9)


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add `vpr calibrate`."""
    parser = commands.add_parser(
        'calibrate',
        help='a threshold for a wanted precision, recorded in the map',
        description='Asks each place of a map for its best match elsewhere in the map, chooses '
        'the similarity from which matches have the wanted precision, and records it in map.json, '
        'where the node takes it while its min_similarity is -1.0 (docs/calibration.md).',
    )
    parser.add_argument('--map', type=Path, required=True, metavar='DIR', help='the map')
    parser.add_argument(
        '--run', type=Path, action='append', default=[], dest='runs', metavar='DIR',
        help='results of `vpr evaluate` on this map, judged: its pictures count as well; '
        'repeatable',
    )  # fmt: skip
    parser.add_argument(
        '--precision', type=_precision, default=0.99, metavar='FRACTION',
        help='share of the accepted matches that shall be right (default %(default)s)',
    )  # fmt: skip
    parser.add_argument(
        '--out', type=Path, metavar='PNG',
        help='the precision-recall curve (default: DIR_calibration.png beside the map DIR)',
    )  # fmt: skip
    parser.add_argument('--dry-run', action='store_true', help='show all, record nothing')
    rule = parser.add_argument_group('what is right in the map')
    rule.add_argument(
        '--within', type=not_negative, default=5.0, metavar='METRES',
        help='a place so near is right (default %(default)s; 0.5 suits a room)',
    )  # fmt: skip
    rule.add_argument(
        '--within-angle', type=not_negative, default=30.0, metavar='DEGREES',
        help='and turned no further, where both orientations are known (default %(default)s)',
    )  # fmt: skip
    rule.add_argument(
        '--apart', type=not_negative, metavar='METRES',
        help='places up to so far along the drive are neighbours and not asked '
        '(default: four times --within)',
    )  # fmt: skip
    rule.add_argument(
        '--tolerance', type=tolerance, metavar='N',
        help='judge by order instead: the drive does not come back, and the N places either side '
        'beyond the neighbours are right (default 2 for a map without poses)',
    )  # fmt: skip
    rule.add_argument(
        '--apart-places', type=positive, default=1, metavar='N',
        help='by order: so many places either side are neighbours (default %(default)s)',
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Choose, show and record."""
    from vpr_ros.calibration import choose
    from vpr_ros.evaluation.figures import draw_calibration
    from vpr_ros.place_map import PlaceMap, record_calibration

    place_map = PlaceMap.load(args.map)
    choice = choose(_trials(args, place_map), args.precision)
    found = choice.calibration
    out = args.out or args.map.resolve().with_name(f'{args.map.resolve().name}_calibration.png')
    draw_calibration(
        choice.curve,
        (found.min_similarity, found.recall, found.precision),
        found.precision_at_least,
        out,
    )
    for line in _lines(choice):
        print(line)
    print(f'curve      {out}')
    if args.dry_run:
        print(f'{args.map} stays as it is (--dry-run)')
        return 0
    record_calibration(args.map, found)
    print(
        f'recorded in {args.map / "map.json"}; a node that has the map loaded takes it with '
        '~/load_map'
    )
    return 0


def _precision(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f'must be a fraction above 0 and up to 1, not {text!r}')
    return value


def _trials(args: argparse.Namespace, place_map: PlaceMap) -> list[Trials]:
    from vpr_ros.calibration import trials_of_map, trials_of_run

    trials = [trials_of_run(folder, place_map) for folder in args.runs]
    try:
        trials.append(trials_of_map(place_map, _rule(args, place_map)))
    except CalibrationError as error:
        if not trials:
            raise
        print(f'the runs alone count: {error}', file=sys.stderr)
    return trials


def _rule(args: argparse.Namespace, place_map: PlaceMap) -> ByPose | ByOrder:
    import numpy as np

    from vpr_ros.calibration import ByOrder, ByPose

    has_positions = bool(np.isfinite(place_map.places['position']).all(axis=1).any())
    if args.tolerance is None and has_positions:
        apart = 4 * args.within if args.apart is None else args.apart
        return ByPose(args.within, args.within_angle, apart)
    default = ByOrder()
    return ByOrder(
        default.tolerance if args.tolerance is None else args.tolerance, args.apart_places
    )


def _lines(choice: Choice) -> list[str]:
    import math

    from vpr_ros.calibration import CONFIDENCE

    found, curve = choice.calibration, choice.curve
    lines = [
        f'judged     {found.source}',
        f'           {found.num_pairs} matches, {choice.num_revisits} of them revisits, the '
        'others of places that are not there',
        '',
        'precision  threshold  recall',
    ]
    for precision in sorted({*_SHOWN, found.wanted_precision}, reverse=True):
        recall, threshold = curve.best_recall(precision)
        mark = '  <- chosen' if precision == found.wanted_precision else ''
        cells = 'not reached' if math.isnan(threshold) else f'{threshold:9.4f}  {recall:6.4f}'
        lines.append(f'{precision:9.4g}  {cells}{mark}')
    lines += [
        '',
        f'threshold  {found.min_similarity:.4f}',
        f'precision  {found.precision:.4f} of {found.num_accepted} accepted, at least '
        f'{found.precision_at_least:.4f} ({CONFIDENCE:.0%} sure)',
        f'recall     {found.recall:.4f} of {choice.num_revisits} revisits',
    ]
    if not choice.is_sure:
        lines.append(
            f'BEWARE     {found.num_accepted} accepted matches are too few to be sure: the '
            f'precision may be as low as {found.precision_at_least:.4f}; a longer map or a judged '
            'run (--run) tells more'
        )
    return lines
