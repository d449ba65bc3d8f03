# SPDX-License-Identifier: Apache-2.0
"""Measure exported models, through the runtime that the robot runs.

`python training/evaluate.py MODEL.onnx ... [--pair REFERENCE QUERY] [--revisits PICTURES POSES N]
[--benchmark NAME ROOT] [--record]` prints one table: recall@1 on each set of the validation split,
on each pair of traverses, run with revisits and benchmark, and the similarity threshold that gives
the wanted precision on the validation split. MODEL may be `hog` or `orb-words` (baselines.py).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from training.baselines import hog, orb_words
from training.config import load_config
from training.data import load_places
from training.export_onnx import write_record
from training.places import Place
from vpr_ros import extractor
from vpr_ros.benchmarks import BENCHMARKS, open_benchmark
from vpr_ros.benchmarks.retrieval import Describer, look_up
from vpr_ros.benchmarks.retrieval_set import RetrievalSet, traverse_set
from vpr_ros.benchmarks.revisits import revisit_set
from vpr_ros.errors import SourceError, VprError
from vpr_ros.evaluation.metrics import is_true
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.picture_folder import read_picture

BASELINES = ('hog', 'orb-words')
WORD_PLACES = 600  # training places, one picture each, that ORB words are learned from


@dataclass(frozen=True)
class Answers:
    """What a model answers to the queries of one set.

    Attributes:
        best: (Q,) similarity of the best match.
        right: (Q,) whether it shows the place of the query.
        near: (Q,) whether it shows at least the vicinity of that place.
        best_elsewhere: (Q,) similarity of the best match outside the vicinity: what the query
            would find in a map without its place; -inf where the map is all vicinity.
    """

    best: np.ndarray
    right: np.ndarray
    near: np.ndarray
    best_elsewhere: np.ndarray

    @property
    def recall_at_1(self) -> float:
        """Share of the queries whose best match is right."""
        return float(self.right.mean())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('models', nargs='+', metavar='MODEL', help='ONNX file, hog or orb-words')
    parser.add_argument(
        '--config',
        type=Path,
        help='of the run: data, what was held out',
    )
    parser.add_argument(
        '--pair', nargs=2, type=Path, action='append', default=[], metavar=('REFERENCE', 'QUERY'),
        help='two traverses of one route, picture i of one at the place of picture i of the other',
    )  # fmt: skip
    parser.add_argument(
        '--revisits', nargs=3, action='append', default=[], metavar=('PICTURES', 'POSES', 'N'),
        help='one run; each picture that comes back is looked up among those over N before it',
    )  # fmt: skip
    parser.add_argument(
        '--benchmark', nargs=2, action='append', default=[], metavar=('NAME', 'ROOT'),
        help=f'a benchmark and the folder of its pictures; NAME: {", ".join(BENCHMARKS)}',
    )  # fmt: skip
    parser.add_argument(
        '--lists', type=Path, help='of --benchmark: folder of .npy and .mat files (default ROOT)'
    )
    parser.add_argument('--tolerance', type=int, default=2, help='of --pair, pictures')
    parser.add_argument('--precision', type=float, default=0.99, help='at the threshold')
    parser.add_argument(
        '--record', action='store_true', help='write recall and threshold into the model file'
    )
    arguments = parser.parse_args(argv)
    if arguments.record and arguments.config is None:
        parser.error('--record needs --config, of the run that made the model: what it held out')
    if arguments.record and (baselines := sorted(set(arguments.models) & set(BASELINES))):
        parser.error(f'{baselines[0]} is no file that --record could write into')
    places, validation = load_places(load_config(arguments.config))
    try:
        pairs = _asked(arguments)
    except (VprError, OSError) as error:
        parser.error(str(error))
    for asked in (*validation, *pairs):
        counts = f'{len(asked.queries)} queries, {len(asked.references)} references'
        print(f'{asked.name}: {asked.protocol}; {counts}')
    for name in arguments.models:
        measured = measure(open_model(name, places), validation, pairs, arguments.precision)
        if arguments.record:
            if extractor.KEY_MIN_SIMILARITY not in measured:
                parser.error(f'{name} has no threshold to record; nothing is written')
            write_record(Path(name), measured)
    return 0


def _asked(arguments: argparse.Namespace) -> list[RetrievalSet]:
    """Open the sets that the command line names.

    Raises:
        VprError: A set that cannot be read, or an N that is no number.
        OSError: Pictures or lists that are not there.
    """
    pairs = [traverse_set(*folders, tolerance=arguments.tolerance) for folders in arguments.pair]
    for pictures, poses, apart in arguments.revisits:
        if not apart.isdigit():
            raise SourceError(f'--revisits: N is a whole number of pictures, not {apart!r}')
        pairs.append(revisit_set(Path(pictures), Path(poses), apart=int(apart)))
    return pairs + [open_benchmark(*each, lists=arguments.lists) for each in arguments.benchmark]


def open_model(name: str, places: Sequence[Place]) -> Describer:
    """Open an ONNX file, or make a baseline; `orb-words` learns from the training places."""
    if name == 'hog':
        return hog()
    if name == 'orb-words':
        some = places[:: max(1, len(places) // WORD_PLACES)]
        return orb_words([read_picture(place.pictures[0]) for place in some])
    model = DescriptorExtractor(name)
    return Describer(model.info.ref, model.extract_batch)


def measure(
    model: Describer,
    validation: Sequence[RetrievalSet],
    pairs: Sequence[RetrievalSet],
    precision: float,
) -> dict[str, str]:
    """Measure and print one model.

    Args:
        model: What describes the pictures.
        validation: Sets that recall and threshold of the record are taken from.
        pairs: Sets that are only printed.
        precision: Wanted at the threshold, fraction.

    Returns:
        The part of the model's record that was measured; without a threshold where none gives the
        precision.
    """
    answered = [answer(model, asked) for asked in (*validation, *pairs)]
    on_validation = answered[: len(validation)]
    recall = float(np.mean([answers.recall_at_1 for answers in on_validation]))
    measured = {extractor.KEY_RECALL_AT_1: f'{recall:.4f}'}
    try:
        threshold = choose_threshold(on_validation, precision=precision)
        measured[extractor.KEY_MIN_SIMILARITY] = f'{threshold:.4f}'
        said = f'threshold for {precision:.0%} precision on them: {threshold:.4f}'
    except ValueError as error:
        threshold, said = np.inf, str(error)
    print(f'\n{model.ref.name} (D = {model.ref.descriptor_size}), recall@1, %')
    for asked, answers in zip((*validation, *pairs), answered, strict=True):
        print(f'  {asked.name:28} {100 * answers.recall_at_1:5.1f}   {spread(answers, threshold)}')
    print(f'  {"mean of the validation sets":28} {100 * recall:5.1f}')
    print(f'  {said}')
    protocol = '; '.join(f'{asked.name}: {asked.protocol}' for asked in validation)
    measured[extractor.KEY_RECALL_PROTOCOL] = f'mean over validation sets ({protocol})'
    return measured


def answer(model: Describer, asked: RetrievalSet) -> Answers:
    """Look every query up in a map of the references."""
    most = max(len(rows) for rows in asked.vicinity)
    found = look_up(model, asked, top_k=most + 1)
    near = is_true(found.rows, asked.vicinity)
    return Answers(
        best=found.similarities[:, 0],
        right=is_true(found.rows, asked.truth)[:, 0],
        near=near[:, 0],
        best_elsewhere=np.where(near, -np.inf, found.similarities).max(axis=1),
    )


def choose_threshold(answered: Sequence[Answers], *, precision: float) -> float:
    """Return the lowest similarity at which the accepted matches have the wanted precision.

    Half of the queries are asked of a map that holds their place, half of one that does not: a
    robot meets new places, too. Matches in the vicinity are left out; sets count alike, whatever
    their size.

    Raises:
        ValueError: No threshold reaches the precision.
    """
    similarity = np.concatenate([np.r_[a.best, a.best_elsewhere] for a in answered])
    right = np.concatenate([np.r_[a.right, np.zeros(len(a.right), bool)] for a in answered])
    counted = np.concatenate([np.r_[a.right | ~a.near, np.ones(len(a.near))] for a in answered])
    weight = counted * np.concatenate(
        [np.full(2 * len(a.best), 1 / len(a.best)) for a in answered]
    )
    order = np.argsort(-similarity)
    accepted = np.cumsum(weight[order])
    reached = np.cumsum((weight * right)[order]) / np.maximum(accepted, 1e-12)
    enough = np.flatnonzero(reached >= precision)
    if not len(enough):
        raise ValueError(
            f'no threshold gives {precision:.0%} precision; the best is {reached.max():.1%}'
        )
    return float(similarity[order][enough[-1]])


def spread(answers: Answers, threshold: float) -> str:
    """Say how similar right matches are, and the best ones of other places."""
    right = np.percentile(answers.best[answers.right], (5, 50)) if answers.right.any() else (0, 0)
    other = np.percentile(answers.best_elsewhere, (50, 95))
    kept = np.mean(answers.right & (answers.best >= threshold))
    return (
        f'similarity of right matches {right[0]:.2f} (5 %) {right[1]:.2f} (50 %), '
        f'elsewhere {other[0]:.2f} (50 %) {other[1]:.2f} (95 %); '
        f'right above the threshold {100 * kept:.1f} %'
    )


if __name__ == '__main__':
    sys.exit(main())
