# SPDX-License-Identifier: Apache-2.0
"""`vpr evaluate`: how well places are recognised, through what the robot runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from vpr_ros.cli.arguments import add_bag_options, not_negative, similarity
from vpr_ros.cli.camera_options import add_lens_options, feature_kind, find_cameras
from vpr_ros.cli.evaluate_results import add_output_options, check_output, finish
from vpr_ros.cli.pose_options import poses_from_bag, poses_from_file
from vpr_ros.cli.run_description import (
    describe,
    describe_map,
    describe_source,
    describe_truth,
    short_name,
)
from vpr_ros.cli.sensor_options import add_sensor_options, find_sensors
from vpr_ros.cli.truth_options import (
    Judge,
    add_apart_options,
    add_truth_options,
    apart_of,
    judge_of,
    judge_of_map,
)
from vpr_ros.errors import SourceError

if TYPE_CHECKING:
    import numpy as np

    from vpr_ros.evaluation.answers import Answer
    from vpr_ros.evaluation.run import Pictures
    from vpr_ros.evaluation.truth import Truth
    from vpr_ros.extractor import DescriptorExtractor
    from vpr_ros.place_map import PlaceMap
    from vpr_ros.pose_lookup import PoseLookup
    from vpr_ros.recognizer import RecognizerConfig
    from vpr_ros.sources import AnySource
    from vpr_ros.verification.features import FeatureExtractor

_DEFAULT_FEATURES = 'sift'
_NO_FEATURES = 'none'
_KEYFRAME_HEIGHT = 240  # pixels, of a map that is made for the evaluation alone


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add `vpr evaluate`."""
    parser = commands.add_parser(
        'evaluate',
        help='how well places are recognised: of a bag, of folders, of a run in its own past',
        description='Recognises every picture of the query with the recognizer that the node '
        'runs, judges the answers, and writes a report. `vpr evaluate compare A B` sets runs side '
        'by side, `vpr evaluate benchmark NAME --data DIR` measures on a public set.',
    )
    parser.add_argument(
        '--query', '--bag', type=Path, required=True, metavar='SOURCE',
        help='the pictures to recognise: folder, video, or rosbag2 (folder, .mcap or .db3)',
    )  # fmt: skip
    against = parser.add_argument_group('what they are looked up in')
    one = against.add_mutually_exclusive_group(required=True)
    one.add_argument('--map', type=Path, metavar='DIR', help='a map')
    one.add_argument(
        '--reference', type=Path, metavar='SOURCE', help='pictures that a map is built of'
    )
    one.add_argument('--own-past', action='store_true', help='the same run, a good while before')
    add_apart_options(against)
    pictures = parser.add_argument_group('pictures of a bag')
    add_bag_options(pictures, several=True)
    parser.add_argument(
        '--skip-unreadable', action='store_true', help='leave damaged pictures out, do not stop'
    )
    _add_reference_options(parser)
    add_sensor_options(parser)
    add_truth_options(parser)
    recognizer = parser.add_argument_group('the recognizer')
    recognizer.add_argument('--model', type=Path, metavar='ONNX', help='default: the shipped one')
    recognizer.add_argument(
        '--min-similarity', type=similarity, metavar='S',
        help='the operating point, -1 to 1; default: as recorded in the map, or else in the model',
    )  # fmt: skip
    recognizer.add_argument(
        '--device', default='auto', choices=('auto', 'cpu', 'cuda', 'tensorrt'), help='(auto)'
    )
    recognizer.add_argument(
        '--features', type=feature_kind, metavar='KIND',
        help='of --reference and --own-past: local features that matches are verified by, sift, '
        f'orb, … or none (default {_DEFAULT_FEATURES}); those of --map are the map\'s',
    )  # fmt: skip
    add_output_options(parser)
    parser.set_defaults(run=run)


def _add_reference_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('of --reference')
    group.add_argument(
        '--reference-topic', action='append', metavar='TOPIC', help='its pictures (as --topic)'
    )
    group.add_argument(
        '--reference-poses', type=Path, metavar='FILE', help='where they were taken (as --poses)'
    )
    group.add_argument(
        '--reference-pose-topic', metavar='TOPIC', help='the same (default: as --pose-topic)'
    )
    group.add_argument(
        '--min-distance', type=not_negative, metavar='METRES',
        help='with poses, a place every so many metres (default 1.0)',
    )  # fmt: skip
    group.add_argument(
        '--min-angle', type=not_negative, metavar='DEGREES',
        help='or whenever the camera turned so far (default 20)',
    )  # fmt: skip
    add_lens_options(group, prefix='reference-')


@dataclass(frozen=True)
class _Asked:
    """What was asked, answered and would have been right.

    `threshold` is the cosine similarity from which retrieval accepted.
    """

    threshold: float
    answers: Sequence[Answer]
    truth: Truth | None
    place_map: PlaceMap
    place_pictures: Pictures
    description: Mapping[str, Any]


def run(args: argparse.Namespace) -> int:
    """Evaluate, write the report and print the numbers."""
    from vpr_ros.evaluation.offline import unhurried
    from vpr_ros.evaluation.pictures import pictures_of
    from vpr_ros.evaluation.run import Run
    from vpr_ros.evaluation.scores import RECALL_AT
    from vpr_ros.extractor import DescriptorExtractor
    from vpr_ros.recognizer import THRESHOLD_OF_MODEL, RecognizerConfig
    from vpr_ros.resources import default_model
    from vpr_ros.sources import open_source

    _check(args)
    query = open_source(args.query, topic=args.topic, stamps=args.stamps or 'header')
    extractor = DescriptorExtractor(args.model or default_model(), device=args.device)
    threshold = THRESHOLD_OF_MODEL if args.min_similarity is None else args.min_similarity
    config = unhurried(RecognizerConfig(top_k=max(RECALL_AT), min_similarity=threshold))
    ask = _ask_map if args.map else _ask_reference if args.reference else _ask_own_past
    with TemporaryDirectory() as scratch:
        asked = ask(args, query, config, extractor, Path(scratch))
        return finish(
            Run(
                title=_title(args),
                answers=asked.answers,
                truth=asked.truth,
                place_map=asked.place_map,
                threshold=asked.threshold,
                has_times=query.has_times,
                is_live=False,
                query_pictures=lambda indices: pictures_of(query, indices),
                place_pictures=asked.place_pictures,
                description=describe(
                    args,
                    extractor.info.ref,
                    asdict(config),
                    provider=extractor.provider,
                    query=describe_source(query),
                    **asked.description,
                ),
            ),
            args,
        )


def _check(args: argparse.Namespace) -> None:
    """Refuse options that the chosen kind of evaluation would not look at."""
    check_output(args)
    if args.map is not None and args.features is not None:
        raise SourceError('--features is for --reference and --own-past: a map has its own')
    of_poses = ('reference_poses', 'reference_pose_topic', 'min_distance', 'min_angle')
    of_lens = ('reference_camera_info', 'reference_camera_info_topic', 'reference_camera_pose')
    for name in ('reference_topic', *of_lens, *of_poses):
        if args.reference is None and getattr(args, name) not in (None, []):
            raise SourceError(f'--{name.replace("_", "-")} is for --reference')
    by_poses = args.poses is not None or args.pose_topic is not None
    for name in of_poses:
        if not by_poses and getattr(args, name) is not None:
            raise SourceError(
                f'--{name.replace("_", "-")} needs --poses or --pose-topic beside it'
            )
    if not args.own_past and (args.apart is not None or args.apart_pictures is not None):
        raise SourceError('--apart and --apart-pictures are for --own-past')
    if args.own_past and (args.tolerance is not None or args.pairs is not None):
        raise SourceError('--tolerance and --pairs compare two traverses; --own-past needs poses')


def _title(args: argparse.Namespace) -> str:
    where = args.map or args.reference
    return f'{short_name(args.query)} in {short_name(where) if where else "its own past"}'


def _ask_map(
    args: argparse.Namespace,
    query: AnySource,
    config: RecognizerConfig,
    extractor: DescriptorExtractor,
    _: Path,
) -> _Asked:
    from vpr_ros.evaluation.offline import answer_queries
    from vpr_ros.evaluation.pictures import keyframes_of
    from vpr_ros.keyframe_store import features_of_map
    from vpr_ros.place_map import PlaceMap
    from vpr_ros.recognizer import PlaceRecognizer
    from vpr_ros.verification.features import create_feature_extractor

    place_map = PlaceMap.load(args.map, model=extractor.info.ref)
    judge = judge_of_map(args, query, place_map)
    _check_early(judge, query)
    keyframes = features_of_map(place_map)
    if keyframes is None:
        print(
            f'{args.map} keeps no local features: nothing is verified by geometry; `vpr map '
            'build` keeps them unless it is given --features none',
            file=sys.stderr,
        )
    sensors, said = find_sensors(args, query, has_poses=False, is_verified=keyframes is not None)
    kind = None if keyframes is None else keyframes.kind
    recognizer = PlaceRecognizer(
        extractor,
        place_map,
        config,
        local=None if kind is None else create_feature_extractor(kind),
        keyframes=keyframes,
    )
    answers = answer_queries(
        query, recognizer, sensors=sensors, skip_unreadable=args.skip_unreadable
    )
    return _Asked(
        recognizer.min_similarity,
        answers,
        judge.truth(answers, place_map),
        place_map,
        lambda rows: keyframes_of(place_map, rows),
        {
            'map': describe_map(place_map),
            'features': kind or _NO_FEATURES,
            'sensors': said,
            'truth': describe_truth(judge),
        },
    )


def _ask_reference(
    args: argparse.Namespace,
    query: AnySource,
    config: RecognizerConfig,
    extractor: DescriptorExtractor,
    scratch: Path,
) -> _Asked:
    import numpy as np

    from vpr_ros.evaluation.offline import answer_queries
    from vpr_ros.evaluation.pictures import keyframes_of
    from vpr_ros.keyframe_store import features_of_map
    from vpr_ros.map_builder import BuildOptions, build_map
    from vpr_ros.recognizer import PlaceRecognizer
    from vpr_ros.sources import BagSource, PictureFolder, open_source

    topic = args.reference_topic or (args.topic if isinstance(query, BagSource) else None)
    reference = open_source(args.reference, topic=topic, stamps=args.stamps or 'header')
    poses, origin = _reference_poses(args, reference)
    are_folders = isinstance(query, PictureFolder) and isinstance(reference, PictureFolder)
    judge = judge_of(args, query, origin=origin, by_order=are_folders)
    if judge.kind == 'pose' and poses is None:
        raise SourceError(
            f'{args.reference} has no poses that those of the query could be compared with: give '
            '--reference-poses or --reference-pose-topic'
        )
    _check_early(judge, query, reference)
    by_pose, kind = judge.kind == 'pose', args.features or _DEFAULT_FEATURES
    local = _local_features(kind)
    sensors, said = find_sensors(args, query, has_poses=False, is_verified=local is not None)
    defaults = BuildOptions()
    options = BuildOptions(
        picture_height=_KEYFRAME_HEIGHT,
        min_distance_m=_given(args.min_distance, defaults.min_distance_m),
        min_angle_deg=_given(args.min_angle, defaults.min_angle_deg),
        features=kind,
        cameras=find_cameras(
            args, reference, has_poses=by_pose, is_needed=local is not None, prefix='reference-'
        ),
        skip_unreadable=args.skip_unreadable,
    )
    report = build_map(
        reference, extractor, scratch / 'map', poses=poses if by_pose else None, options=options
    )
    row_of_picture = np.full(report.num_frames, -1)
    row_of_picture[report.pictures] = np.arange(len(report.pictures))
    recognizer = PlaceRecognizer(
        extractor,
        report.place_map,
        config,
        local=local,
        keyframes=features_of_map(report.place_map),
    )
    answers = answer_queries(
        query, recognizer, sensors=sensors, skip_unreadable=args.skip_unreadable
    )
    names = [frame.name for frame in reference.frames()] if judge.kind == 'pairs' else []
    truth = judge.truth(answers, report.place_map, row_of_picture=row_of_picture, names=names)
    spacing = {'min_distance_m': options.min_distance_m, 'min_angle_deg': options.min_angle_deg}
    return _Asked(
        recognizer.min_similarity,
        answers,
        truth,
        report.place_map,
        lambda rows: keyframes_of(report.place_map, rows),
        {
            'reference': describe_source(reference) | (spacing if by_pose else {}),
            'features': kind,
            'sensors': said,
            'truth': describe_truth(judge),
        },
    )


def _reference_poses(
    args: argparse.Namespace, reference: AnySource
) -> tuple[PoseLookup | None, np.ndarray | None]:
    """Return where the reference pictures were taken, and the zero of GNSS poses."""
    if args.reference_poses is not None:
        return poses_from_file(args.reference_poses, args.pose_format, reference, args), None
    topic = args.reference_pose_topic or args.pose_topic
    if topic is None:
        return None, None
    found = poses_from_bag(topic, reference, args)
    return (None, None) if found is None else (found[0], found[1].origin)


def _ask_own_past(
    args: argparse.Namespace,
    query: AnySource,
    config: RecognizerConfig,
    extractor: DescriptorExtractor,
    scratch: Path,
) -> _Asked:
    from vpr_ros.evaluation.offline import answer_from_own_past
    from vpr_ros.evaluation.pictures import pictures_of_places
    from vpr_ros.keyframe_store import KeyframeStore
    from vpr_ros.place_map import PlaceMap
    from vpr_ros.recognizer import PlaceRecognizer
    from vpr_ros.sources import BagSource

    is_bag = isinstance(query, BagSource)
    judge = judge_of(args, query, has_own_frame=True, takes_only_topic=is_bag)
    apart = apart_of(args, query)
    _check_early(judge, query)
    kind = args.features or _DEFAULT_FEATURES
    local = _local_features(kind)
    sensors, said = find_sensors(
        args, query, has_poses=judge.poses is not None, is_verified=local is not None
    )
    keyframes = None if local is None else KeyframeStore(scratch / 'keyframes')
    recognizer = PlaceRecognizer(
        extractor, PlaceMap(extractor.info.ref), config, local=local, keyframes=keyframes
    )
    past = answer_from_own_past(
        query,
        recognizer,
        apart=apart,
        poses=judge.poses,
        sensors=sensors,
        keyframes=keyframes,
        skip_unreadable=args.skip_unreadable,
    )
    place_map = recognizer.place_map
    truth = judge.truth(past.answers, place_map, searched=past.searched)
    return _Asked(
        recognizer.min_similarity,
        past.answers,
        truth,
        place_map,
        lambda rows: pictures_of_places(query, past.pictures, rows),
        {
            'reference': {'own_past': True, 'apart': apart.describe()},
            'features': kind,
            'sensors': said,
            'truth': describe_truth(judge),
        },
    )


def _check_early(judge: Judge, query: AnySource, reference: AnySource | None = None) -> None:
    """Refuse before minutes of work a truth that fits none of the pictures.

    Of a bag, poses are looked at afterwards: its pictures cannot be listed without reading all.
    """
    from vpr_ros.evaluation.pairs import read_pairs
    from vpr_ros.evaluation.truth import track_of
    from vpr_ros.sources import BagSource

    if judge.kind == 'pairs' and reference is not None:
        names = [[frame.name for frame in source.frames()] for source in (query, reference)]
        read_pairs(judge.args.pairs, *names, tolerance=judge.tolerance)
    elif judge.poses is not None and not isinstance(query, BagSource):
        track_of(list(query.frames()), judge.poses)


def _local_features(kind: str) -> FeatureExtractor | None:
    from vpr_ros.verification.features import create_feature_extractor

    return None if kind == _NO_FEATURES else create_feature_extractor(kind)


def _given(value: float | None, default: float) -> float:
    return default if value is None else value
