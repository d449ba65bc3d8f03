# SPDX-License-Identifier: Apache-2.0
"""Recall and precision from arrays; `scores` says how they are defined for a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall over all thresholds, strictest first.

    Attributes:
        thresholds: (P,) float64, distinct best similarities, decreasing.
        precision: (P,) float64, fraction of the accepted at each threshold that is true.
        recall: (P,) float64, fraction of the queries with a true place.
        average_precision: Sum over thresholds of precision times gained recall.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    average_precision: float

    def best_recall(self, precision: float) -> tuple[float, float]:
        """Return the largest recall at a precision, and the strictest threshold that gives it.

        Args:
            precision: Least precision, fraction; 1 is exactly none wrong.

        Returns:
            Recall, fraction, 0 if no threshold has the precision; threshold, NaN likewise.
        """
        enough = np.flatnonzero(self.precision >= precision)
        if not len(enough):
            return 0.0, np.nan
        best = enough[np.argmax(self.recall[enough])]
        return float(self.recall[best]), float(self.thresholds[best])


def is_true(rows: np.ndarray, positives: Sequence[np.ndarray]) -> np.ndarray:
    """Mark the matches that are true.

    Args:
        rows: (Q, K) int, matched rows, best first.
        positives: Q arrays of the rows that are true.

    Returns:
        (Q, K) bool.
    """
    if len(rows) != len(positives):
        raise ValueError(f'{len(rows)} queries were matched, truth is known for {len(positives)}')
    marks = [np.isin(row, truth) for row, truth in zip(rows, positives, strict=True)]
    return np.array(marks, bool).reshape(np.shape(rows))


def recall_at_k(
    rows: np.ndarray, positives: Sequence[np.ndarray], ks: Iterable[int]
) -> dict[int, float]:
    """Share of all queries with a true place among their K best matches.

    Args:
        rows: (Q, K) int, matched rows, best first.
        positives: Q arrays of the rows that are true; empty: counts as missed.
        ks: The values of K; one above the number of matches uses all there are.

    Returns:
        K to recall, fraction.

    Raises:
        ValueError: No queries, or a K below 1.
    """
    if len(rows) == 0:
        raise ValueError('recall of no queries is not defined')
    true = is_true(rows, positives)
    recalls = {}
    for k in ks:
        if k < 1:
            raise ValueError(f'K of recall@K must be at least 1, not {k}')
        recalls[k] = float(true[:, :k].any(axis=1).mean())
    return recalls


def precision_recall(
    similarity: np.ndarray, true: np.ndarray, num_with_truth: int
) -> PrecisionRecall:
    """Sweep the threshold over the best similarities; equal scores are accepted together.

    Args:
        similarity: (Q,) float, best match's cosine similarity.
        true: (Q,) bool, whether that match is true.
        num_with_truth: Queries that have a true place at all.

    Returns:
        The curve; empty if nothing can be recalled.
    """
    order = np.argsort(-np.asarray(similarity, np.float64), kind='stable')
    score, hit = np.asarray(similarity, np.float64)[order], np.asarray(true, bool)[order]
    last_of_ties = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)[: len(score)]
    found = np.cumsum(hit)[last_of_ties]
    precision = found / (last_of_ties + 1)
    recall = found / max(num_with_truth, 1)
    gained = np.diff(recall, prepend=0.0)
    return PrecisionRecall(
        thresholds=score[last_of_ties],
        precision=precision,
        recall=recall,
        average_precision=float(np.sum(precision * gained)),
    )
