# SPDX-License-Identifier: Apache-2.0
"""`vpr evaluate`: recall and precision of two traverses, through what the robot runs."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from vpr_ros.cli.arguments import similarity, tolerance

if TYPE_CHECKING:
    import numpy as np

    from vpr_ros.evaluation.metrics import Evaluation
    from vpr_ros.extractor import ModelInfo
    from vpr_ros.frames import Source
    from vpr_ros.place_map import PlaceMap
    from vpr_ros.recognizer import PlaceRecognizer, Recognition


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add `vpr evaluate`."""
    parser = commands.add_parser(
        'evaluate',
        help='recall and precision of one folder of pictures against another',
        description='Builds a map of the reference pictures, recognises every query picture with '
        'the recognizer that the node runs, and writes metrics.json and two figures.',
    )
    parser.add_argument('--reference', type=Path, required=True, metavar='DIR', help='the map')
    parser.add_argument('--query', type=Path, required=True, metavar='DIR', help='to recognise')
    parser.add_argument(
        '--tolerance',
        type=tolerance,
        default=2,
        metavar='N',
        help='query i is right within N pictures of reference i (default %(default)s)',
    )
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='results go here')
    parser.add_argument('--model', type=Path, metavar='ONNX', help='default: the shipped model')
    parser.add_argument(
        '--min-similarity',
        type=similarity,
        metavar='S',
        help='the operating point, -1 to 1; default: the threshold recorded in the model',
    )
    parser.add_argument('--device', default='auto', choices=('auto', 'cpu', 'cuda', 'tensorrt'))
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the table and write the files."""
    from vpr_ros.evaluation.metrics import RECALL_AT, evaluate
    from vpr_ros.extractor import DescriptorExtractor
    from vpr_ros.map_builder import BuildOptions, build_map
    from vpr_ros.picture_folder import PictureFolder
    from vpr_ros.place_map import PlaceMap
    from vpr_ros.recognizer import THRESHOLD_OF_MODEL, PlaceRecognizer, RecognizerConfig
    from vpr_ros.resources import default_model

    references, queries = PictureFolder(args.reference), PictureFolder(args.query)
    extractor = DescriptorExtractor(args.model or default_model(), device=args.device)
    threshold = THRESHOLD_OF_MODEL if args.min_similarity is None else args.min_similarity
    config = RecognizerConfig(top_k=max(RECALL_AT), min_similarity=threshold)
    PlaceRecognizer(extractor, PlaceMap(extractor.info.ref), config)  # no threshold? say so now
    args.out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as scratch:
        place_map = build_map(
            references, extractor, Path(scratch) / 'map', options=BuildOptions(picture_height=0)
        ).place_map
        recognizer = PlaceRecognizer(extractor, place_map, config)
        recognitions = _recognise(queries, recognizer)
    positives = _positives(references, place_map, queries.num_frames, args.tolerance)
    evaluation = evaluate(recognitions, positives, threshold=recognizer.min_similarity)
    protocol = (
        f'query i is right within {args.tolerance} pictures of reference i; recall@K over all '
        f'{queries.num_frames} queries, {len(place_map)} places'
    )
    metrics = _metrics(evaluation, extractor.info) | {
        'protocol': protocol,
        'reference': str(args.reference),
        'query': str(args.query),
        'provider': extractor.provider,
    }
    path = args.out / 'metrics.json'
    path.write_text(json.dumps(metrics, indent=2) + '\n', encoding='utf-8')
    _draw(args, evaluation, place_map, positives)
    _print(metrics, args.out)
    return 0


def _recognise(queries: Source, recognizer: PlaceRecognizer) -> list[Recognition]:
    from tqdm import tqdm

    from vpr_ros.prefetch import Prefetcher

    pictures = ((frame.stamp_ns, frame.rgb) for frame in queries.frames())
    with Prefetcher(pictures, depth=4) as ahead:
        progress = tqdm(ahead, total=queries.num_frames, unit='picture', leave=False)
        return [recognizer.process(rgb, stamp_ns) for stamp_ns, rgb in progress]


def _positives(
    references: Source, place_map: PlaceMap, num_queries: int, tolerance: int
) -> list[np.ndarray]:
    """Rows of the map that are true; a reference that became no place (blank) has no row."""
    import numpy as np

    from vpr_ros.evaluation.truth import positives_by_order

    row_of = {name: row for row, name in enumerate(place_map.images)}
    rows = np.array([row_of.get(frame.name, -1) for frame in references.frames()], np.int64)
    wanted = positives_by_order(num_queries, len(rows), tolerance)
    return [rows[indices][rows[indices] >= 0] for indices in wanted]


def _metrics(evaluation: Evaluation, model: ModelInfo) -> dict[str, Any]:
    from vpr_ros.latency import latency_of

    precision = evaluation.precision_at_threshold
    totals = [sum(r.timings_s.values()) for r in evaluation.recognitions]
    latency = latency_of(totals)
    return {f'recall@{k}': value for k, value in evaluation.recall.items()} | {
        'average_precision': evaluation.curve.average_precision,
        'recall_at_100_precision': evaluation.curve.recall_at_full_precision,
        'threshold': evaluation.threshold,
        'precision_at_threshold': None if math.isnan(precision) else precision,
        'recall_at_threshold': evaluation.recall_at_threshold,
        'num_queries': len(evaluation.recognitions),
        'latency_ms': {'p50': latency.p50_ms, 'p95': latency.p95_ms, 'max': latency.max_ms},
        'model': {'name': model.name, 'sha256': model.sha256},
    }


def _draw(
    args: argparse.Namespace,
    evaluation: Evaluation,
    place_map: PlaceMap,
    positives: list[np.ndarray],
) -> None:
    import numpy as np

    from vpr_ros.evaluation.figures import draw_precision_recall, draw_similarity_matrix

    title = f'{args.query.name} in {args.reference.name}'
    draw_precision_recall(evaluation, args.out / 'precision_recall.png', title=title)
    unusable = np.full(place_map.model.descriptor_size, np.nan, np.float32)  # drawn as a gap
    queries = [unusable if r.descriptor is None else r.descriptor for r in evaluation.recognitions]
    draw_similarity_matrix(
        np.stack(queries) @ np.asarray(place_map.descriptors, np.float32).T,
        evaluation,
        positives,
        args.out / 'similarity_matrix.png',
        title=title,
    )


def _print(metrics: dict[str, Any], out: Path) -> None:
    print(f'protocol             {metrics["protocol"]}')
    for key in ('recall@1', 'recall@5', 'recall@10', 'average_precision'):
        print(f'{key:20} {metrics[key]:.4f}')
    print(f'{"recall at 100 % pr.":20} {metrics["recall_at_100_precision"]:.4f}')
    precision = metrics['precision_at_threshold']
    shown = 'undefined (none accepted)' if precision is None else f'{precision:.4f}'
    print(f'at threshold {metrics["threshold"]:.3f}   precision {shown}, ', end='')
    print(f'recall {metrics["recall_at_threshold"]:.4f}')
    print(f'wrote                {out}/metrics.json, precision_recall.png, similarity_matrix.png')
