# SPDX-License-Identifier: Apache-2.0
"""Options that say what would have been right, and the truth that they make."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vpr_ros.cli.arguments import not_negative, positive, tolerance
from vpr_ros.cli.pose_options import (
    POSE_TYPES,
    add_timing_options,
    poses_from_bag,
    poses_from_file,
)
from vpr_ros.errors import MapError, SourceError

if TYPE_CHECKING:
    import numpy as np

    from vpr_ros.bag_poses import BagPoses
    from vpr_ros.evaluation.answers import Answer
    from vpr_ros.evaluation.offline import Apart
    from vpr_ros.evaluation.truth import Truth
    from vpr_ros.place_map import PlaceMap
    from vpr_ros.pose_lookup import PoseLookup
    from vpr_ros.sources import AnySource

DEFAULT_TOLERANCE = 2  # pictures
DEFAULT_APART_S = 30.0
DEFAULT_APART_PICTURES = 100
_WAYS = (
    '--pose-topic TOPIC or --poses FILE (where the pictures were taken, in the frame of the map), '
    '--tolerance N (picture i shows place i), --pairs FILE, or --no-truth for a report that '
    'judges nothing'
)


def add_truth_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `Judge` reads."""
    group = parser.add_argument_group('what is right')
    group.add_argument(
        '--within', type=not_negative, default=5.0, metavar='METRES',
        help='a place so near the picture is right (default %(default)s)',
    )  # fmt: skip
    group.add_argument(
        '--within-angle', type=not_negative, default=30.0, metavar='DEGREES',
        help='and turned no further, where both orientations are known (default %(default)s)',
    )  # fmt: skip
    group.add_argument(
        '--poses', type=Path, metavar='FILE',
        help='where the query pictures were taken, in the frame of the map: TUM, KITTI, CSV',
    )  # fmt: skip
    group.add_argument('--pose-format', choices=('tum', 'kitti', 'csv'), help='seen from the file')
    group.add_argument(
        '--pose-topic', metavar='TOPIC',
        help=f'the same from the bag: {POSE_TYPES}; naming it says that it shares the frame of '
        'the map, which the odometry of two drives does not',
    )  # fmt: skip
    add_timing_options(group)
    group.add_argument(
        '--tolerance', type=tolerance, metavar='N',
        help='query picture i shows what reference picture i (of a map: place i) shows, give or '
        f'take N (default for two folders: {DEFAULT_TOLERANCE})',
    )  # fmt: skip
    group.add_argument(
        '--pairs', type=Path, metavar='CSV',
        help='columns query,reference: names of pictures that show one place; with --tolerance, '
        'the references before and after it too',
    )  # fmt: skip
    group.add_argument(
        '--no-truth', '--no-poses', action='store_true', help='judge nothing, report the rest'
    )


def add_apart_options(group: argparse._ActionsContainer) -> None:
    """Add what says how far back the past of a run begins."""
    apart = group.add_mutually_exclusive_group()
    apart.add_argument(
        '--apart', type=not_negative, metavar='SECONDS',
        help='of --own-past: younger pictures are no places yet (default '
        f'{DEFAULT_APART_S:g}; of pictures without times, see --apart-pictures)',
    )  # fmt: skip
    apart.add_argument(
        '--apart-pictures', type=positive, metavar='N',
        help=f'the same as a number of pictures (default {DEFAULT_APART_PICTURES})',
    )  # fmt: skip


def apart_of(args: argparse.Namespace, source: AnySource) -> Apart:
    """Return how far back the past of a run begins.

    Raises:
        SourceError: Seconds were given for pictures without times.
    """
    from vpr_ros.evaluation.offline import Apart

    if args.apart is not None and not source.has_times:
        raise SourceError(f'the pictures of {source.path} have no times: use --apart-pictures')
    if args.apart_pictures is not None:
        return Apart(pictures=args.apart_pictures)
    if source.has_times:
        return Apart(seconds=DEFAULT_APART_S if args.apart is None else args.apart)
    return Apart(pictures=DEFAULT_APART_PICTURES)


@dataclass(frozen=True)
class Judge:
    """Knows what is right, before anything is asked.

    Attributes:
        args: The options.
        kind: `pose`, `order`, `pairs` or `none`.
        poses: Where the query pictures were taken; None: not known.
        is_gnss: Whether the poses are GNSS fixes, whose heights err too much to be compared.
        left_out: Poses of a topic that could not be used, by reason.
    """

    args: argparse.Namespace
    kind: str
    poses: PoseLookup | None = None
    is_gnss: bool = False
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def tolerance(self) -> int:
        """Pictures either side; of pairs none unless it is given."""
        if self.args.tolerance is not None:
            return self.args.tolerance
        return 0 if self.kind == 'pairs' else DEFAULT_TOLERANCE

    def truth(
        self,
        answers: Sequence[Answer],
        place_map: PlaceMap,
        *,
        row_of_picture: np.ndarray | None = None,
        names: Sequence[str] = (),
        searched: np.ndarray | None = None,
    ) -> Truth | None:
        """Return what would have been right for each picture; None: nobody knows.

        Args:
            answers: One a query picture.
            place_map: The map that was asked.
            row_of_picture: (R,) row in the map of each reference picture, -1: it became no place;
                None: place i is of reference picture i.
            names: Of the reference pictures, for pairs.
            searched: Of a map that grew, see `truth_by_pose`.

        Raises:
            SourceError: Nothing could be right, or the pairs do not fit.
        """
        import numpy as np

        from vpr_ros.evaluation.pairs import read_pairs
        from vpr_ros.evaluation.truth import (
            Track,
            track_of,
            truth_by_order,
            truth_by_pose,
            truth_by_references,
        )

        if self.kind == 'none':
            return None
        if self.kind == 'order':
            indices = [answer.index for answer in answers]
            if row_of_picture is None:
                return truth_by_order(
                    indices,
                    np.arange(len(place_map)),
                    tolerance=self.tolerance,
                    reference='place i of the map',
                )
            return truth_by_order(indices, row_of_picture, tolerance=self.tolerance)
        if self.kind == 'pairs':
            assert row_of_picture is not None  # `judge_of_map` refused them
            queries = [answer.name for answer in answers]
            wanted = read_pairs(self.args.pairs, queries, names, tolerance=self.tolerance)
            rule = f'a reference that {self.args.pairs.name} names, give or take {self.tolerance}'
            return truth_by_references(wanted, row_of_picture, rule)
        assert self.poses is not None
        places = place_map.places
        return truth_by_pose(
            track_of(answers, self.poses),
            Track(places['position'], places['orientation_xyzw']),
            within_m=self.args.within,
            within_deg=self.args.within_angle,
            horizontal=self.is_gnss,
            searched=searched,
        )


def judge_of(
    args: argparse.Namespace,
    source: AnySource,
    *,
    origin: np.ndarray | None = None,
    has_own_frame: bool = False,
    takes_only_topic: bool = False,
    by_order: bool = False,
) -> Judge:
    """Find out how the answers to a source can be judged.

    Args:
        args: With the options of `add_truth_options`.
        source: The query pictures.
        origin: Zero of a GNSS map, as in `read_bag_poses`; None: the map has none.
        has_own_frame: Whether the places get these very poses, so that any zero will do.
        takes_only_topic: Whether the bag's only pose topic may be taken without being named,
            because it shares the frame of the map.
        by_order: Whether order is the truth where nothing else is given.

    Raises:
        SourceError: Two kinds of truth are given, or none, or poses cannot be read.
    """
    kinds = {
        '--no-truth': args.no_truth,
        '--poses': args.poses is not None,
        '--pose-topic': args.pose_topic is not None,
        '--pairs': args.pairs is not None,
        '--tolerance': args.tolerance is not None and args.pairs is None,
    }
    given = [option for option, is_given in kinds.items() if is_given]
    if len(given) > 1:
        raise SourceError(f'{" and ".join(given)} say what is right in different ways: give one')
    way = given[0] if given else ''
    if way == '--no-truth':
        return Judge(args, 'none')
    if way == '--pairs':
        return Judge(args, 'pairs')
    if way == '--poses':
        return Judge(args, 'pose', poses_from_file(args.poses, args.pose_format, source, args))
    if way == '--pose-topic' or (not way and takes_only_topic):
        found = poses_from_bag(args.pose_topic, source, args, origin=origin)
        if found is not None:
            return _judge_by_topic(args, *found, knows_zero=has_own_frame or origin is not None)
    if way == '--tolerance' or by_order:
        return Judge(args, 'order')
    raise SourceError(f'what is right for {source.path} is not known: give {_WAYS}')


def _judge_by_topic(
    args: argparse.Namespace, lookup: PoseLookup, found: BagPoses, *, knows_zero: bool
) -> Judge:
    for reason, count in found.skipped.items():
        print(f'poses of {found.topic} left out: {count} {reason}', file=sys.stderr)
    is_gnss = found.origin is not None
    if is_gnss and not knows_zero:
        raise SourceError(
            f'{found.topic} has GNSS fixes, and the map has no zero on earth to compare them '
            'with: build it from a NavSatFix topic, or name another pose topic'
        )
    return Judge(args, 'pose', lookup, is_gnss, dict(found.skipped))


def judge_of_map(args: argparse.Namespace, source: AnySource, place_map: PlaceMap) -> Judge:
    """Find out how answers from a map can be judged; refuse now what could not be later.

    Raises:
        MapError: The map is empty, or lacks the poses that are to be compared.
        SourceError: As `judge_of`.
    """
    import numpy as np

    if args.pairs is not None:
        raise SourceError('--pairs names reference pictures, and a map does not keep their names')
    if len(place_map) == 0:
        raise MapError(f'{place_map.directory} holds no places: build it again')
    origin = place_map.origin
    judge = judge_of(
        args,
        source,
        origin=None if origin is None else np.array(list(asdict(origin).values())),
        takes_only_topic=origin is not None and _has_only_fixes(source),
    )
    if judge.kind == 'pose' and not np.isfinite(place_map.places['position']).any():
        raise MapError(
            f'{place_map.directory} has no positions that poses could be compared with: build it '
            'with poses, or give --tolerance or --no-truth'
        )
    return judge


def _has_only_fixes(source: AnySource) -> bool:
    """Whether all poses of a bag are GNSS fixes, which share their frame with any other."""
    from vpr_ros.bag_messages import NAV_SAT_FIX, POSE_TYPES
    from vpr_ros.bags import Bag
    from vpr_ros.sources import BagSource

    if not isinstance(source, BagSource):
        return False
    with Bag(source.path, source.stamps) as bag:
        types = [t.msgtype for t in bag.topics.values() if t.msgtype in POSE_TYPES and t.count]
    return types == [NAV_SAT_FIX]
