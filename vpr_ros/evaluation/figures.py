# SPDX-License-Identifier: Apache-2.0
"""Pictures of an evaluation: precision-recall and the similarity matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use('Agg')  # a robot has no screen

import matplotlib.pyplot as plt
import numpy as np

from vpr_ros.evaluation.metrics import Evaluation, is_true, matched_rows

RIGHT, WRONG, NEUTRAL = '#1a7f5a', '#c8372d', '#4a5568'
_DPI = 130


def draw_precision_recall(evaluation: Evaluation, path: Path, *, title: str) -> None:
    """Draw the curve with the operating point in force."""
    figure, axes = plt.subplots(figsize=(5.5, 4.5), layout='constrained')
    curve = evaluation.curve
    axes.plot(curve.recall, curve.precision, color=RIGHT, lw=2)
    axes.scatter(
        [evaluation.recall_at_threshold],
        [evaluation.precision_at_threshold],
        color=WRONG,
        zorder=3,
        label=f'threshold {evaluation.threshold:.3f}: precision '
        f'{evaluation.precision_at_threshold:.3f}, recall {evaluation.recall_at_threshold:.3f}',
    )
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel='recall', ylabel='precision')
    axes.set_title(f'{title}\naverage precision {curve.average_precision:.3f}', fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(loc='lower left', fontsize=8)
    _save(figure, path)


def draw_similarity_matrix(
    similarities: np.ndarray,
    evaluation: Evaluation,
    positives: Sequence[np.ndarray],
    path: Path,
    *,
    title: str,
) -> None:
    """Draw queries against references with each best match marked right, wrong or rejected.

    Args:
        similarities: (Q, N) cosine similarities.
        evaluation: What the recognizer made of the same queries.
        positives: For each query the rows that are true.
        path: PNG file.
        title: Heading.
    """
    figure, axes = plt.subplots(figsize=(6.5, 6), layout='constrained')
    picture = axes.imshow(similarities, cmap='Greys', aspect='auto', interpolation='nearest')
    figure.colorbar(picture, ax=axes, label='cosine similarity', shrink=0.8)
    rows = matched_rows(evaluation.recognitions, 1)
    true = is_true(rows, positives)[:, 0]
    best = np.array(
        [r.matches[0].similarity if r.matches else -1 for r in evaluation.recognitions]
    )
    accepted = best >= evaluation.threshold
    queries = np.arange(len(rows))
    for mask, colour, name in (
        (~accepted, NEUTRAL, 'below threshold'),
        (accepted & true, RIGHT, 'accepted, right'),
        (accepted & ~true, WRONG, 'accepted, wrong'),
    ):
        label = f'{name} ({mask.sum()})'
        axes.scatter(rows[mask, 0], queries[mask], s=9, color=colour, label=label)
    axes.set(xlabel='reference picture', ylabel='query picture')
    axes.set_title(title, fontsize=10)
    axes.legend(loc='upper right', fontsize=8)
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    figure.savefig(path, dpi=_DPI)
    plt.close(figure)
