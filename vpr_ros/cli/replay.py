# SPDX-License-Identifier: Apache-2.0
"""`vpr replay`: a bag over DDS, where there is no `ros2 bag play`; or through the node."""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vpr_ros.cli.arguments import above_zero, add_bag_options, not_negative
from vpr_ros.cli.evaluate_results import add_bar_options, finish, too_deep
from vpr_ros.cli.keyboard import has_keys, keys
from vpr_ros.cli.progress import Progress
from vpr_ros.cli.run_description import (
    describe,
    describe_map,
    describe_source,
    describe_truth,
    short_name,
)
from vpr_ros.cli.truth_options import Judge, add_truth_options, judge_of_map
from vpr_ros.errors import SourceError

if TYPE_CHECKING:
    from vpr_ros.live.run import LiveRun
    from vpr_ros.place_map import PlaceMap
    from vpr_ros.replay.player import Pace, Player
    from vpr_ros.replay.recording import Event, Recording, Selection
    from vpr_ros.sources import BagSource

_CLOCK_HZ = 40.0  # as `ros2 bag play --clock`
_DISCOVERY_S = 4.0  # Fast DDS announces itself every 3 s; measured: found after 0.1 to 3.0 s
_FLUSH_S = 2.0
_PAUSED = 'paused, space goes on'


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add `vpr replay`."""
    parser = commands.add_parser(
        'replay',
        help='play a bag over DDS, to whoever listens or to the node on a map',
        description='Plays a rosbag2 as `ros2 bag play` does: every topic under its name, at the '
        'pace of recording, stamps as recorded; the space key pauses. With --map the real node '
        'answers the pictures, and a report is written.',
    )
    parser.add_argument('bag', type=Path, metavar='BAG', help='rosbag2: folder, .mcap or .db3')
    _add_playing(parser)
    node = parser.add_argument_group('through the node, against a map')
    node.add_argument('--map', type=Path, metavar='DIR', help='map directory')
    node.add_argument('--out', type=Path, metavar='DIR', help='results go here')
    node.add_argument('--model', type=Path, metavar='ONNX', help='default: the shipped model')
    node.add_argument(
        '--node',
        metavar='NAME',
        help='a node that already runs in this domain, such as /localizer (default: start one, '
        'in a domain of its own)',
    )
    add_bar_options(node)
    add_truth_options(parser)
    parser.set_defaults(run=run)


def _add_playing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--rate', type=above_zero, default=1.0, help='speed, 1 is real time (default %(default)s)'
    )
    parser.add_argument(
        '--start',
        type=not_negative,
        default=0.0,
        metavar='S',
        help='begin so many seconds into the recording',
    )
    parser.add_argument(
        '--duration',
        type=above_zero,
        default=math.inf,
        metavar='S',
        help='play so many seconds of the recording (default: to its end)',
    )
    parser.add_argument('--loop', action='store_true', help='begin again at the end')
    parser.add_argument(
        '--clock',
        type=above_zero,
        nargs='?',
        const=_CLOCK_HZ,
        metavar='HZ',
        help=f'publish /clock, so many times a second (default {_CLOCK_HZ:g}), for nodes with '
        'use_sim_time; a node that is started here always has it',
    )
    parser.add_argument('--start-paused', action='store_true', help='wait for the space key')
    parser.add_argument(
        '--restamp', action='store_true', help='move the stamps of headers to the present'
    )
    parser.add_argument(
        '--topics',
        nargs='+',
        default=[],
        metavar='TOPIC',
        help='play these alone; with --map: these beside the pictures (default: the camera_info '
        'and the odometry, if there is one of each)',
    )
    parser.add_argument(
        '--remap',
        nargs='+',
        type=_remapping,
        default=[],
        metavar='FROM:=TO',
        help='publish under another name',
    )
    add_bag_options(parser, stamps_default='record; with --map: header')


def _remapping(text: str) -> tuple[str, str]:
    """Read `FROM:=TO`."""
    old, separator, new = text.partition(':=')
    if not (old and separator and new):
        raise argparse.ArgumentTypeError(f'must be FROM:=TO, not {text!r}')
    return old, new


def run(args: argparse.Namespace) -> int:
    """Play; with a map, write what came of it."""
    _check(args)
    from vpr_ros.live.node_process import leaving_on_signals

    with leaving_on_signals():
        return _play(args) if args.map is None else _evaluate(args)


def _check(args: argparse.Namespace) -> None:
    """Refuse combinations that mean nothing."""
    if (args.map is None) != (args.out is None):
        given, missing = ('map', 'out') if args.out is None else ('out', 'map')
        raise SourceError(f'--{given} needs --{missing} beside it')
    if args.restamp and (args.clock is not None or (args.map is not None and not args.node)):
        raise SourceError(
            '--restamp moves stamps to the present, --clock (which a node that is started here '
            'always has) moves the time of nodes to the recording: choose one'
        )
    if args.start_paused and not has_keys():
        raise SourceError('--start-paused waits for the space key, and stdin is no terminal')
    if args.map is None:
        _check_playing(args)
    elif args.loop:
        raise SourceError('--loop has no end, so that nothing could be evaluated: leave out --map')
    elif args.node and args.model is not None:
        raise SourceError('--model is of the node that runs already: leave it out, or --node')


def _check_playing(args: argparse.Namespace) -> None:
    """Refuse what is for the node alone."""
    options = argparse.ArgumentParser()
    add_truth_options(options)
    add_bar_options(options)
    unset = {**vars(options.parse_args([])), **dict.fromkeys(('model', 'node', 'topic'))}
    for name, default in unset.items():
        if getattr(args, name) != default:
            instead = '; --topics chooses what is played' if name == 'topic' else ''
            raise SourceError(f'--{name.replace("_", "-")} needs --map beside it{instead}')
    if args.stamps == 'header':
        raise SourceError('--stamps header needs --map beside it: all else goes by the record')


def _selection(args: argparse.Namespace) -> Selection:
    from vpr_ros.replay.recording import Selection

    return Selection(
        topics=args.topics,
        remap=dict(args.remap),
        start_s=args.start,
        duration_s=args.duration,
    )


def _pace(args: argparse.Namespace, clock_hz: float | None) -> Pace:
    from vpr_ros.replay.player import Pace

    return Pace(rate=args.rate, clock_hz=clock_hz, restamp=args.restamp, paused=args.start_paused)


def _say_what_is_left_out(recording: Recording) -> None:
    if recording.left_out:
        names = ', '.join(f'{topic.name} ({topic.msgtype})' for topic in recording.left_out)
        print(f'left out, their messages are not installed here: {names}', flush=True)


# To whoever listens.


def _play(args: argparse.Namespace) -> int:
    from vpr_ros.live.listener import ros_node
    from vpr_ros.replay.player import Player
    from vpr_ros.replay.recording import bag_recording

    recording = bag_recording(args.bag, _selection(args))
    _say_what_is_left_out(recording)
    with ros_node('vpr_replay', None) as node:
        player = Player(node, recording, _pace(args, args.clock))
        progress = Progress()

        def show(event: Event) -> None:
            done, length = (
                (at - recording.begin_ns) / 1e9 for at in (event.stamp_ns, recording.end_ns)
            )
            progress('playing, seconds', int(done), math.ceil(length))

        try:
            with _keyboard(player, progress):
                _wait_for_listeners(player)
                replay = player.play(loop=args.loop, on_event=show)
        finally:
            progress.end()
        player.flush(_FLUSH_S)
    print(f'{replay.others} messages in {replay.seconds:.1f} s')
    return 0


def _wait_for_listeners(player: Player) -> None:
    """Give discovery its time, so that the first messages are heard; say who is not there."""
    deadline = time.monotonic() + _DISCOVERY_S
    while player.unheard() and time.monotonic() < deadline:
        time.sleep(0.05)
    if unheard := player.unheard():
        print(f'nobody subscribes to {", ".join(unheard)}', flush=True)


@contextmanager
def _keyboard(player: Player, progress: Progress) -> Iterator[None]:
    """Let the space key pause and resume, and say so while it stands."""

    def toggle() -> None:
        if player.timeline.paused:
            player.timeline.resume()
        else:
            player.timeline.pause()
            progress.note(_PAUSED)

    with keys({' ': toggle}):
        if player.timeline.paused:
            progress.note(_PAUSED)
        yield


# Through the node.


def _evaluate(args: argparse.Namespace) -> int:
    from vpr_ros.evaluation.scores import RECALL_AT
    from vpr_ros.live.run import Hooks, run_attached, run_live
    from vpr_ros.place_map import PlaceMap
    from vpr_ros.replay.recording import query_recording
    from vpr_ros.resources import default_model
    from vpr_ros.sources import BagSource

    source = BagSource(args.bag, topic=args.topic, stamps=args.stamps or 'header')
    recording = query_recording(source, _selection(args))
    _say_what_is_left_out(recording)
    place_map = PlaceMap.load(args.map)
    judge = judge_of_map(args, source, place_map)
    args.out.mkdir(parents=True, exist_ok=True)
    progress = Progress()
    progress(f'waiting for {args.node}' if args.node else 'starting the node', 0, 0)
    total = source.num_frames
    hooks = Hooks(
        progress=lambda sent: progress('playing to the node', sent, total),
        controls=lambda player: _keyboard(player, progress),
    )
    try:
        if args.node:
            live = run_attached(
                recording,
                name=f'/{args.node.lstrip("/")}',
                place_map=place_map,
                pace=_pace(args, args.clock),
                descriptors=True,
                hooks=hooks,
            )
        else:
            live = run_live(
                recording,
                place_map=place_map,
                model=args.model or default_model(),
                log=args.out / 'node.log',
                pace=_pace(args, args.clock or _CLOCK_HZ),
                parameters={'top_k': max(RECALL_AT)},
                descriptors=True,
                hooks=hooks,
            )
    finally:
        progress.end()
    return _finish(args, source, place_map, judge, live)


def _finish(
    args: argparse.Namespace,
    source: BagSource,
    place_map: PlaceMap,
    judge: Judge,
    live: LiveRun,
) -> int:
    """Write and print the same as `vpr evaluate`, and what became of the pictures on their way."""
    from vpr_ros.evaluation.pictures import keyframes_of, pictures_of
    from vpr_ros.evaluation.run import Run
    from vpr_ros.evaluation.scores import RECALL_AT

    threshold = float(live.said('localization', 'min_similarity'))
    matches = max(len(a.recognition.matches) for a in live.answers if a.recognition is not None)
    counts = {**asdict(live.counts), 'overtaken': live.counts.overtaken}
    print(
        f'{counts["sent"]} pictures of {source.topic.name} sent in {live.replay.seconds:.1f} s: '
        f'{counts["processed"]} answered, {counts["dropped"]} dropped by the node, '
        f'{counts["overtaken"]} overtaken on the way, {counts["others"]} not taken'
    )
    run = Run(
        title=f'{short_name(args.bag)} in {short_name(args.map)}, live',
        answers=live.answers,
        truth=judge.truth(live.answers, place_map),
        place_map=place_map,
        threshold=threshold,
        has_times=True,
        is_live=True,
        query_pictures=lambda indices: pictures_of(source, indices),
        place_pictures=lambda rows: keyframes_of(place_map, rows),
        description=describe(
            args,
            place_map.model,
            {'min_similarity': threshold},
            provider=live.said('inference', 'provider'),
            query=describe_source(source),
            map=describe_map(place_map),
            truth=describe_truth(judge),
            replay={
                'rate': args.rate,
                'start_s': args.start,
                'node': args.node or 'its own',
                'most_matches': matches,
            },
        ),
        counts=counts,
    )
    status = finish(run, args)
    if (undefined := too_deep(run)) and args.node:
        name = f'/{args.node.lstrip("/")}'
        print(
            f'vpr replay: {name} gives {matches} matches per picture at most, so that '
            f'{" and ".join(undefined)} are not known: `ros2 param set {name} top_k '
            f'{max(RECALL_AT)}` and play again',
            file=sys.stderr,
        )
    return status
