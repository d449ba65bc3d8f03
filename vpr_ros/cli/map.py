# SPDX-License-Identifier: Apache-2.0
"""`vpr map …`: make maps and look into them."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vpr_ros.cli.arguments import add_bag_options, not_negative, positive
from vpr_ros.cli.camera_options import add_camera_options, find_cameras
from vpr_ros.cli.map_info import megabytes, run_info, run_verify, size_of
from vpr_ros.cli.pose_options import (
    POSE_TYPES,
    add_timing_options,
    poses_from_bag,
    poses_from_file,
)

if TYPE_CHECKING:
    from vpr_ros.map_builder import BuildReport
    from vpr_ros.place_map import GeodeticOrigin
    from vpr_ros.pose_lookup import PoseLookup
    from vpr_ros.sources import AnySource

_DEFAULT_FRAME_ID = 'map'
_CPU_BATCH = 4  # larger ones leave the cache: 16 % slower at 8, MobileNetV2 at 256x256
_GPU_BATCH = 32
_BAR_INTERVAL_S = 0.2
_LOG_INTERVAL_S = 30.0  # of the progress line where nobody watches a terminal


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add `vpr map …`."""
    parser = commands.add_parser('map', help='build maps and look into them')
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    _add_build(actions)
    info = actions.add_parser('info', help='what a map is')
    info.add_argument('map', type=Path, metavar='DIR', help='the map directory')
    info.add_argument('--json', action='store_true', help='print JSON')
    info.set_defaults(run=run_info)
    verify = actions.add_parser(
        'verify', help='whether every hash, shape and norm of a map holds (exit code 1 if not)'
    )
    verify.add_argument('map', type=Path, metavar='DIR', help='the map directory')
    verify.add_argument('--model', type=Path, help='also whether this model made it')
    verify.set_defaults(run=run_verify)
    _add_merge(actions)
    _add_trim(actions)


def _add_merge(actions: argparse._SubParsersAction) -> None:
    merge = actions.add_parser('merge', help='write several maps of one model and frame as one')
    merge.add_argument('maps', type=Path, nargs='+', metavar='DIR', help='the map directories')
    _add_new_map(merge)
    merge.set_defaults(run=run_merge)


def _add_trim(actions: argparse._SubParsersAction) -> None:
    trim = actions.add_parser('trim', help='write a part of a map as a map of its own')
    trim.add_argument('map', type=Path, metavar='DIR', help='the map directory')
    _add_new_map(trim)
    trim.add_argument(
        '--begin', type=float, default=-math.inf, metavar='SECONDS', help='stamp of the first'
    )
    trim.add_argument(
        '--end', type=float, default=math.inf, metavar='SECONDS', help='stamp of the last'
    )
    trim.add_argument(
        '--min-distance',
        type=not_negative,
        default=0.0,
        metavar='METRES',
        help='thin out: a place every so many metres (default: all stay)',
    )
    trim.add_argument(
        '--min-angle',
        type=not_negative,
        default=20.0,
        metavar='DEGREES',
        help='or whenever the camera turned so far (default 20)',
    )
    trim.set_defaults(run=run_trim)


def _add_new_map(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='the new map')
    parser.add_argument('--overwrite', action='store_true', help='replace an existing map')


def _add_build(actions: argparse._SubParsersAction) -> None:
    build = actions.add_parser(
        'build',
        help='build a map from pictures, a video or a rosbag2',
        description='Build a map. An interrupted build goes on when the same command is given.',
    )
    build.add_argument(
        'source',
        type=Path,
        metavar='SOURCE',
        help='folder of pictures, video, or rosbag2 (folder, .mcap or .db3)',
    )
    build.add_argument('--out', type=Path, required=True, metavar='DIR', help='the map directory')
    build.add_argument('--model', type=Path, metavar='FILE', help='default: the shipped model')
    build.add_argument(
        '--device', default='auto', choices=('auto', 'cpu', 'cuda', 'tensorrt'), help='(auto)'
    )
    build.add_argument(
        '--batch',
        type=positive,
        metavar='N',
        help=f'pictures in one run (default {_CPU_BATCH} on the CPU, {_GPU_BATCH} on a GPU)',
    )
    _add_pose_options(build)
    _add_choice_options(build)
    add_camera_options(build)
    output = build.add_argument_group('output')
    output.add_argument(
        '--frame-id',
        type=_name,
        metavar='FRAME',
        help=f'frame of the map (default: that of the pose topic, else {_DEFAULT_FRAME_ID})',
    )
    output.add_argument(
        '--keep-pictures',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='keep a small JPEG of each place in the map (default: yes)',
    )
    output.add_argument(
        '--picture-height',
        type=positive,
        default=480,
        metavar='PIXELS',
        help='largest height of these, and of the pictures that local features are found in '
        '(default 480)',
    )
    output.add_argument('--overwrite', action='store_true', help='replace an existing map')
    output.add_argument(
        '--resume',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='go on with an interrupted build of this map, or start over (default: go on)',
    )
    build.set_defaults(run=run_build)


def _add_pose_options(build: argparse.ArgumentParser) -> None:
    group = build.add_argument_group('poses')
    origin = group.add_mutually_exclusive_group()
    origin.add_argument(
        '--poses',
        type=Path,
        metavar='FILE',
        help='TUM, KITTI or CSV file, matched by stamp, row or image name',
    )
    origin.add_argument(
        '--pose-topic',
        metavar='TOPIC',
        help=f'{POSE_TYPES} of the bag (default: the only one there is)',
    )
    origin.add_argument('--no-poses', action='store_true', help='build without poses')
    group.add_argument(
        '--pose-format', choices=('tum', 'kitti', 'csv'), help='default: seen from the file'
    )
    add_timing_options(group)
    group.add_argument(
        '--origin',
        type=float,
        nargs=3,
        metavar=('LAT', 'LON', 'ALT'),
        help='zero of a map from NavSatFix, degrees and metres (default: the first fix)',
    )


def _add_choice_options(build: argparse.ArgumentParser) -> None:
    group = build.add_argument_group('choice of pictures')
    add_bag_options(group, several=True)
    group.add_argument(
        '--every', type=positive, default=1, metavar='N', help='look at every N-th picture only'
    )
    group.add_argument(
        '--min-distance',
        type=not_negative,
        metavar='METRES',
        help='with poses, a place every so many metres (default 1.0; 0.2 suits a room)',
    )
    group.add_argument(
        '--min-angle',
        type=not_negative,
        metavar='DEGREES',
        help='or whenever the camera turned so far (default 20)',
    )
    group.add_argument(
        '--skip-unreadable', action='store_true', help='leave damaged pictures out, do not stop'
    )


def run_build(args: argparse.Namespace) -> int:
    """Build a map."""
    from vpr_ros.errors import SourceError
    from vpr_ros.extractor import DescriptorExtractor
    from vpr_ros.map_builder import BuildOptions, UnreadablePictureError, build_map, partial_of
    from vpr_ros.resources import default_model
    from vpr_ros.sources import open_source

    source = open_source(args.source, topic=args.topic, stamps=args.stamps or 'header')
    poses, frame_id, origin = _find_poses(args, source)
    extractor = DescriptorExtractor(args.model or default_model(), device=args.device)
    is_on_cpu = extractor.provider == 'CPUExecutionProvider'
    defaults = BuildOptions()
    options = BuildOptions(
        every=args.every,
        min_distance_m=_given(args.min_distance, defaults.min_distance_m),
        min_angle_deg=_given(args.min_angle, defaults.min_angle_deg),
        picture_height=args.picture_height if args.keep_pictures else 0,
        features=args.features,
        max_features=args.max_features or defaults.max_features,
        feature_height=args.picture_height,
        cameras=find_cameras(
            args, source, has_poses=poses is not None, is_needed=args.features != 'none'
        ),
        skip_unreadable=args.skip_unreadable,
        frame_id=frame_id,
        origin=origin,
        batch_size=args.batch or (_CPU_BATCH if is_on_cpu else _GPU_BATCH),
    )
    print(f'model {extractor.info.name}; {extractor.provider_reason}', file=sys.stderr)
    try:
        with _Bar(math.ceil(source.num_frames / args.every)) as bar:
            report = build_map(
                source,
                extractor,
                args.out,
                poses=poses,
                options=options,
                resume=args.resume,
                overwrite=args.overwrite,
                progress=bar.update,
            )
    except UnreadablePictureError as error:
        raise SourceError(
            f'{error}; --skip-unreadable leaves damaged pictures out (and --no-resume starts over)'
        ) from error
    except KeyboardInterrupt:
        partial = partial_of(args.out)
        if partial.exists():
            same = 'the same command' if args.resume else 'the same command without --no-resume'
            print(f'\nthe work so far is kept in {partial}; {same} goes on there', file=sys.stderr)
        raise
    _print_summary(report, args)
    return 0


def run_merge(args: argparse.Namespace) -> int:
    """Write several maps as one."""
    from vpr_ros.map_builder import check_target
    from vpr_ros.map_edit import merge_maps
    from vpr_ros.place_map import PlaceMap

    out = args.out.resolve()
    check_target(out, overwrite=args.overwrite)
    maps = [PlaceMap.load(path) for path in args.maps]
    merged = merge_maps(maps, out)
    print(f'{len(merged)} places of {len(args.maps)} maps written to {args.out}')
    if any(place_map.calibration for place_map in maps):
        print(f'not calibrated, as its parts were: vpr calibrate --map {args.out} --run ...')
    return 0


def run_trim(args: argparse.Namespace) -> int:
    """Write a part of a map."""
    from vpr_ros.map_builder import check_target
    from vpr_ros.map_edit import Cut, trim_map
    from vpr_ros.place_map import PlaceMap

    out = args.out.resolve()
    check_target(out, overwrite=args.overwrite)
    place_map = PlaceMap.load(args.map)
    cut = Cut(args.begin, args.end, args.min_distance, args.min_angle)
    trimmed = trim_map(place_map, cut.rows(place_map), out)
    print(f'{len(trimmed)} of {len(place_map)} places written to {args.out}')
    return 0


def _find_poses(
    args: argparse.Namespace, source: AnySource
) -> tuple[PoseLookup | None, str, GeodeticOrigin | None]:
    """Return the poses, None if there are none, the frame of the map and, of GNSS, its zero."""
    from vpr_ros.errors import SourceError
    from vpr_ros.place_map import GeodeticOrigin
    from vpr_ros.sources import BagSource

    wanted = _wanted_origin(args)
    lookup: PoseLookup | None = None
    origin: GeodeticOrigin | None = None
    frame_id = args.frame_id or _DEFAULT_FRAME_ID
    if args.poses is not None:
        lookup = poses_from_file(args.poses, args.pose_format, source, args)
    elif args.pose_topic is not None or (isinstance(source, BagSource) and not args.no_poses):
        from_bag = poses_from_bag(args.pose_topic, source, args, origin=args.origin)
        if from_bag is not None:
            lookup, found = from_bag
            if found.origin is not None:
                origin = wanted or GeodeticOrigin(*found.origin.tolist())
            frame_id = args.frame_id or found.frame_id or _DEFAULT_FRAME_ID
            print(
                f'{found.describe()}; frame of the map: {frame_id}; no camera extrinsic is '
                'applied: places get these poses as they are',
                file=sys.stderr,
            )
            for reason, count in found.skipped.items():
                print(f'poses left out: {count} {reason}', file=sys.stderr)
    if origin is not None:
        print(
            f'zero of the map: {origin.latitude_deg:.8f} {origin.longitude_deg:.8f} '
            f'{origin.altitude_m:.3f} (latitude, longitude, altitude; --origin sets it)',
            file=sys.stderr,
        )
    elif wanted is not None:
        raise SourceError('--origin is for poses from a NavSatFix topic; this map has none')
    if lookup is None and (args.min_distance is not None or args.min_angle is not None):
        raise SourceError('--min-distance and --min-angle need poses; use --every without them')
    return lookup, frame_id, origin


def _wanted_origin(args: argparse.Namespace) -> GeodeticOrigin | None:
    from vpr_ros.errors import SourceError
    from vpr_ros.place_map import GeodeticOrigin

    try:
        return None if args.origin is None else GeodeticOrigin(*args.origin)
    except ValueError as error:
        raise SourceError(f'--origin: {error}') from error


class _Bar:
    """Progress on the standard error, as a bar or, in a log, as a line now and then."""

    def __init__(self, total: int) -> None:
        self._is_of_places = False
        self._begin(total, 'picture')

    def _begin(self, total: int, unit: str) -> None:
        from tqdm import tqdm

        self._bar = tqdm(
            total=total or None,
            unit=unit,
            mininterval=_BAR_INTERVAL_S if sys.stderr.isatty() else _LOG_INTERVAL_S,
            dynamic_ncols=True,
        )

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._bar.close()

    def update(self, num_frames: int, num_places: int, num_done: int) -> None:
        if num_done == 0:
            self._bar.set_postfix_str(f'{num_places} places', refresh=False)
            self._bar.update(num_frames - self._bar.n)
            return
        if not self._is_of_places:
            self._bar.close()
            self._begin(num_places, 'place with landmarks')
            self._is_of_places = True
        self._bar.update(num_done - self._bar.n)


def _print_summary(report: BuildReport, args: argparse.Namespace) -> None:
    place_map = report.place_map
    extent = (
        f' over {report.length_m:.1f} m, {place_map.spacing_m:.2f} m apart'
        if place_map.has_poses
        else ' in order, without poses'
    )
    resumed = f' ({report.num_resumed} from the interrupted build)' if report.num_resumed else ''
    rate = report.num_frames / max(report.seconds, 1e-9)
    print(
        f'{len(place_map)} places{extent}{resumed}, from {report.num_frames} pictures in '
        f'{report.seconds:.1f} s ({rate:.1f} pictures/s)'
    )
    for reason, count in report.dropped.items():
        print(f'left out: {count} pictures {reason}')
    if args.features != 'none':
        print(
            f'{args.features} features of every place; {report.num_with_landmarks} places can be '
            'verified in metres'
        )
    print(f'written to {args.out} ({megabytes(size_of(args.out))})')
    print(f'next: {_next_command(args)}')


def _next_command(args: argparse.Namespace) -> str:
    arguments = [f'map:={args.out.resolve()}']
    if args.model:
        arguments.append(f'model:={args.model.resolve()}')
    if os.environ.get('ROS_DISTRO'):
        return shlex.join(['ros2', 'launch', 'vpr_ros', 'localize.launch.py', *arguments])
    options = [word for argument in arguments for word in ('-p', argument)]
    return shlex.join(['python', '-m', 'vpr_ros.node', '--ros-args', *options])


def _given(value: float | None, default: float) -> float:
    return default if value is None else value


def _name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError('must not be empty')
    return text
