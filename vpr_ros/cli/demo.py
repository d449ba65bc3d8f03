# SPDX-License-Identifier: Apache-2.0
"""`vpr demo`: a rendered town, or pictures of one's own, through the real node."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpr_ros.cli.arguments import add_bag_options, tolerance
from vpr_ros.cli.progress import Progress
from vpr_ros.errors import SourceError

if TYPE_CHECKING:
    from vpr_ros.demo.scoring import Score
    from vpr_ros.demo.trials import Trial
    from vpr_ros.extractor import DescriptorExtractor
    from vpr_ros.live.run import LiveRun

_MARKER = 'vpr_demo'  # tells a folder of ours, which may be emptied, from anybody else's


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        'demo',
        help='drive a rendered town twice and recognise its places with the real node',
        description='Builds a map from one drive and plays the other to the real node over DDS. '
        'Without arguments both drives are rendered: a town by day and in the evening. Exit '
        'status 0: recall is 90 % or more and precision 95 % or more (rendered town only).',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('demo_output'),
        metavar='DIR',
        help='where bags, map, log and figure go (default %(default)s)',
    )
    parser.add_argument('--model', type=Path, metavar='ONNX', help='default: the shipped model')
    folders = parser.add_argument_group('two folders of pictures of one way')
    folders.add_argument('--reference', type=Path, metavar='DIR', help='pictures of the map')
    folders.add_argument('--query', type=Path, metavar='DIR', help='pictures to recognise')
    folders.add_argument(
        '--tolerance',
        type=tolerance,
        default=2,
        metavar='N',
        help='picture i is right within N pictures (default %(default)s)',
    )
    folders.add_argument(
        '--rate',
        type=float,
        default=15.0,
        metavar='HZ',
        help='pictures a second (default %(default)s)',
    )
    bags = parser.add_argument_group('a bag against a map')
    bags.add_argument('--bag', type=Path, metavar='BAG', help='rosbag2 with the pictures')
    bags.add_argument('--map', type=Path, metavar='DIR', help='map directory')
    add_bag_options(bags)
    bags.add_argument(
        '--truth-topic',
        metavar='TOPIC',
        help="poses of this topic are in the map's frame: judge by them (default: the ground "
        "truth of the demo's own bags; nothing is judged by other poses)",
    )
    town = parser.add_argument_group('the rendered town')
    town.add_argument('--seed', type=int, default=0, help='another town (default %(default)s)')
    town.add_argument(
        '--spacing',
        type=float,
        default=1.2,
        metavar='M',
        help='metres from picture to picture (default %(default)s)',
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo; 1 if the rendered town's bar does not hold."""
    begin = time.monotonic()
    _check(args)
    from vpr_ros.demo.figure import save_figure
    from vpr_ros.demo.report import table
    from vpr_ros.demo.scoring import score
    from vpr_ros.extractor import DescriptorExtractor
    from vpr_ros.recognizer import RecognizerConfig, threshold_of
    from vpr_ros.resources import default_model

    model = args.model or default_model()
    extractor = DescriptorExtractor(model)
    out = _fresh_folder(args.out, args)
    trial = _trial(args, out, extractor)
    threshold = threshold_of(RecognizerConfig(), trial.place_map, extractor.info)
    print(f'vpr demo: {trial.title}')
    print(
        f'  map of {len(trial.place_map)} places by {extractor.info.name}; node log: '
        f'{out / "node.log"}'
    )
    del extractor  # the node has its own; memory and cores are its
    live = _play(trial, model, out)
    result = score(
        live.answers,
        trial.positives,
        live.counts,
        threshold=threshold,
        max_age_s=live.max_age_s,
    )
    figure = out / 'demo.png'
    save_figure(figure, trial, result, threshold=threshold)
    print(table(result, threshold=threshold, truth=trial.truth, seconds=live.replay.seconds))
    print(f'  figure {figure}   ·   {time.monotonic() - begin:.0f} s in all')
    return _judge(result) if trial.town is not None else 0


def _check(args: argparse.Namespace) -> None:
    """Refuse half a pair of arguments and two kinds of input at once."""
    for first, second in (('reference', 'query'), ('bag', 'map')):
        given = [name for name in (first, second) if getattr(args, name) is not None]
        if len(given) == 1:
            missing = second if given == [first] else first
            raise SourceError(f'--{given[0]} needs --{missing} beside it')
    if args.reference is not None and args.bag is not None:
        raise SourceError('give either --reference and --query, or --bag and --map')
    for name in ('topic', 'stamps', 'truth_topic'):
        if args.bag is None and getattr(args, name) is not None:
            raise SourceError(f'--{name.replace("_", "-")} is for --bag, which is not given')
    _check_values(args)


def _check_values(args: argparse.Namespace) -> None:
    for name in ('rate', 'spacing'):
        if not getattr(args, name) > 0:
            raise SourceError(f'--{name} must be positive, not {getattr(args, name)}')
    for name in ('reference', 'query', 'map'):
        folder = getattr(args, name)
        if folder is not None and not folder.is_dir():
            raise FileNotFoundError(f'no folder at {folder} (--{name})')


def _trial(args: argparse.Namespace, out: Path, extractor: DescriptorExtractor) -> Trial:
    from vpr_ros.demo import trials

    progress = Progress()
    if args.reference is not None:
        trial = trials.folder_trial(
            args.reference,
            args.query,
            out,
            extractor,
            tolerance=args.tolerance,
            rate_hz=args.rate,
            progress=progress,
        )
    elif args.bag is not None:
        trial = trials.bag_trial(
            args.bag,
            args.map,
            extractor,
            topic=args.topic,
            stamps=args.stamps or 'header',
            truth_topic=args.truth_topic,
        )
    else:
        trial = trials.town_trial(
            out, extractor, progress=progress, spacing_m=args.spacing, seed=args.seed
        )
    progress.end()
    return trial


def _play(trial: Trial, model: Path, out: Path) -> LiveRun:
    """Play the trial's pictures to the node."""
    from vpr_ros.live.run import Hooks, run_live
    from vpr_ros.replay.player import Pace
    from vpr_ros.replay.recording import folder_recording, query_recording
    from vpr_ros.sources import BagSource

    if isinstance(trial.source, BagSource):
        recording = query_recording(trial.source)
    else:
        recording = folder_recording(trial.source, rate_hz=trial.rate_hz)
    progress = Progress()
    progress('starting the node', 0, 0)
    total = trial.source.num_frames
    live = run_live(
        recording,
        place_map=trial.place_map,
        model=model,
        log=out / 'node.log',
        pace=Pace(restamp=True),
        hooks=Hooks(progress=lambda sent: progress('playing to the node', sent, total)),
    )
    progress.end()
    return live


def _judge(result: Score) -> int:
    from vpr_ros.demo.report import below_bar

    short = below_bar(result)
    for sentence in short:
        print(f'vpr demo: {sentence}', file=sys.stderr)
    return 1 if short else 0


def _fresh_folder(out: Path, args: argparse.Namespace) -> Path:
    """Remove what this demo writes anew; a folder of anybody else's is refused.

    Raises:
        SourceError: `out` cannot be used, or an input lies in what would be removed.
    """
    marker = out / _MARKER
    if out.exists() and not out.is_dir():
        raise SourceError(f'{out} is a file; --out needs a folder')
    if out.is_dir() and any(out.iterdir()) and not marker.exists():
        raise SourceError(f'{out} holds other things than an earlier demo: choose another --out')
    replaced = [out / name for name in _written_anew(args)]
    for name in ('reference', 'query', 'bag', 'map', 'model'):
        _check_is_kept(name, getattr(args, name), replaced)
    for folder in replaced:
        shutil.rmtree(folder, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    marker.touch()
    return out


def _written_anew(args: argparse.Namespace) -> tuple[str, ...]:
    """Folders below --out that this kind of demo writes."""
    if args.bag is not None:
        return ()
    maps = ('map', 'map.partial')
    return maps if args.reference is not None else ('lap_1', 'lap_2', *maps)


def _check_is_kept(name: str, path: Path | None, replaced: list[Path]) -> None:
    """Refuse an input that this very demo would remove."""
    for folder in replaced:
        if path is not None and path.resolve().is_relative_to(folder.resolve()):
            raise SourceError(
                f'{path} (--{name}) lies in {folder}, which this demo replaces: '
                'choose another --out'
            )
