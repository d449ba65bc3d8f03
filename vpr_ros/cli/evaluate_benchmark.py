# SPDX-License-Identifier: Apache-2.0
"""`vpr evaluate benchmark`: recall on the field's public sets, beside what others published."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpr_ros.cli.arguments import not_negative, positive, tolerance
from vpr_ros.cli.evaluate_results import (
    add_bar_options,
    check_bars,
    check_output,
    judge_bars,
)
from vpr_ros.errors import SourceError

if TYPE_CHECKING:
    from vpr_ros.benchmarks.retrieval_set import RetrievalSet

LIST = 'list'


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add `vpr evaluate benchmark`."""
    parser = commands.add_parser(
        'evaluate benchmark',
        help="recall on one of the field's public sets, beside what others published",
        description='Looks every query of a set up in a map of its references, through what the '
        'robot runs, and prints recall@K beside the published figures.',
    )
    parser.add_argument(
        'name', metavar='NAME', help=f'the set; `vpr evaluate benchmark {LIST}` shows all'
    )
    parser.add_argument('--data', type=Path, metavar='DIR', help='folder of its pictures')
    parser.add_argument(
        '--lists', type=Path, metavar='DIR', help='folder of its .npy or .mat files, if not there'
    )
    parser.add_argument('--model', type=Path, metavar='ONNX', help='default: the shipped model')
    parser.add_argument('--device', default='auto', choices=('auto', 'cpu', 'cuda', 'tensorrt'))
    parser.add_argument(
        '--radius',
        type=not_negative,
        metavar='M',
        help='largest distance of a hit, metres, of sets with positions in file names and of runs',
    )
    parser.add_argument(
        '--tolerance',
        type=tolerance,
        metavar='N',
        help='query i is right within N pictures of reference i, of pairs of walks',
    )
    parser.add_argument('--batch', type=positive, metavar='N', help='pictures described at once')
    parser.add_argument('--out', type=Path, metavar='DIR', help='metrics.json goes here')
    add_bar_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show the names, or measure, print and write."""
    from vpr_ros.benchmarks import open_benchmark
    from vpr_ros.benchmarks.retrieval import BATCH, Describer, look_up
    from vpr_ros.evaluation.metrics import recall_at_k
    from vpr_ros.evaluation.results import METRICS, SCHEMA_VERSION, write_metrics, written_into
    from vpr_ros.evaluation.scores import RECALL_AT
    from vpr_ros.extractor import DescriptorExtractor
    from vpr_ros.resources import default_model

    if args.name == LIST:
        _print_names()
        return 0
    if args.data is None:
        raise SourceError(
            f'give --data, the folder of the pictures of {args.name}; `vpr evaluate benchmark '
            f'{LIST}` shows what lies in it'
        )
    check_output(args)
    check_bars(args, [f'recall@{k}' for k in RECALL_AT])
    asked = open_benchmark(
        args.name, args.data, lists=args.lists, radius_m=args.radius, tolerance=args.tolerance
    )
    extractor = DescriptorExtractor(args.model or default_model(), device=args.device)
    model = extractor.info.ref
    describer = Describer(model, extractor.extract_batch)
    found = look_up(describer, asked, top_k=max(RECALL_AT), batch_size=args.batch or BATCH)
    recall = {
        f'recall@{k}': value
        for k, value in recall_at_k(found.rows, asked.truth, RECALL_AT).items()
    }
    metrics = {
        'schema_version': SCHEMA_VERSION,
        'kind': 'benchmark',
        'command': args.command_line,
        'benchmark': args.name,
        'data': str(args.data),
        'protocol': asked.protocol,
        **recall,
        'num_queries': len(asked.queries),
        'num_references': len(asked.references),
        'model': asdict(model),
        'provider': extractor.provider,
    }
    _print_measured(metrics, recall)
    _print_published(recall, asked, args.radius)
    if args.out is not None:
        with written_into(args.out) as folder:
            write_metrics(metrics, folder)
        print(f'wrote           {args.out / METRICS}')
    return judge_bars(args, recall)


def _print_names() -> None:
    from vpr_ros.benchmarks import BENCHMARKS

    print('NAME: what counts as a hit; what lies in DIR of --data; what may lie in --lists')
    for name, benchmark in BENCHMARKS.items():
        parts = [benchmark.hit, benchmark.pictures, benchmark.lists]
        print(f'{name:24} {"; ".join(part for part in parts if part)}')


def _print_measured(metrics: Mapping[str, Any], recall: Mapping[str, float]) -> None:
    model = metrics['model']
    print(f'set             {metrics["benchmark"]} in {metrics["data"]}')
    print(f'protocol        {metrics["protocol"]}')
    print(f'references      {metrics["num_references"]}')
    print(f'queries         {metrics["num_queries"]}')
    print(f'model           {model["name"]}, {model["descriptor_size"]} values')
    print(f'runs on         {metrics["provider"]}')
    for name, value in recall.items():
        print(f'{name:15} {value:.4f}   {100 * value:.2f} %')


def _print_published(
    recall: Mapping[str, float], asked: RetrievalSet, radius_m: float | None
) -> None:
    """Print the figures of others beside ours, each with what keeps it from being compared."""
    from vpr_ros.benchmarks.published import PUBLISHED

    published = PUBLISHED.get(asked.name)
    if published is None:
        print(f'published       no figure of others on {asked.name} is known here')
        return
    print(f'published       protocol: {published.protocol}')
    for reason in _differences(asked, radius_m):
        print(f'                {reason}')
    print('    @1     @5    @10   recall, %')
    ours = tuple(round(100 * recall[f'recall@{k}'], 2) for k in (1, 5, 10))
    print(f'{_cells(ours)}   this run')
    for row in published.rows:
        remark = f'; {row.remark}' if row.remark else ''
        print(f'{_cells(row.recall)}   {row.method} ({row.source}){remark}')


def _differences(asked: RetrievalSet, radius_m: float | None) -> list[str]:
    """Say why the published figures do not compare with those of a set, or may not."""
    from vpr_ros.benchmarks import BENCHMARKS
    from vpr_ros.benchmarks.registry import unlike_published
    from vpr_ros.benchmarks.utm_names import RADIUS_M

    reasons = []
    if unlike := unlike_published(asked):
        reasons.append(f'this set is {unlike}: ours does NOT compare with the rows below')
    if BENCHMARKS[asked.name].published is None:
        reasons.append('the size of the published set is not known here: see that yours is whole')
    if radius_m not in (None, RADIUS_M):
        reasons.append(
            f'a hit is within {radius_m:g} m here, not {RADIUS_M:g} m: ours does NOT compare with '
            'the rows below'
        )
    return reasons


def _cells(recall: tuple[float, ...]) -> str:
    return ' '.join(f'{recall[i] if i < len(recall) else "-":>6}' for i in range(3))
