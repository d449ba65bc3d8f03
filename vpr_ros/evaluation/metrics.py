# SPDX-License-Identifier: Apache-2.0
"""Recall and precision of place recognition, computed through what is deployed.

Definitions, stated once and printed beside every number:

* recall@K: share of ALL queries with a true place among their K best matches; a query without
  any true place counts as missed (the protocol of MixVPR and gsv-cities).
* accepted: the best match's similarity reaches the threshold.
* precision: share of the accepted whose best match is true.
* recall (of precision-recall): accepted and true, divided by the queries that have a true place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from vpr_ros.recognizer import Recognition

RECALL_AT = (1, 5, 10)


@dataclass(frozen=True)
class PrecisionRecall:
    """Precision and recall over all thresholds, strictest first.

    Attributes:
        thresholds: (P,) float64, distinct best similarities, decreasing.
        precision: (P,) float64, fraction of the accepted at each threshold that is true.
        recall: (P,) float64, fraction of the queries with a true place.
        average_precision: Sum over thresholds of precision times gained recall.
        recall_at_full_precision: Largest recall with precision exactly 1; 0 if none.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    average_precision: float
    recall_at_full_precision: float


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
    rows: np.ndarray, positives: Sequence[np.ndarray], ks: Iterable[int] = RECALL_AT
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
        recall_at_full_precision=float(recall[precision == 1.0].max(initial=0.0)),
    )


@dataclass(frozen=True)
class Evaluation:
    """What a recognizer did with a sequence of queries of known truth.

    Attributes:
        recognitions: One a query, in order.
        recall: K to recall@K, fraction.
        curve: Precision and recall over the thresholds.
        threshold: Similarity threshold that was in force.
        precision_at_threshold: Fraction of the accepted that is true; NaN if none was accepted.
        recall_at_threshold: Fraction of the queries with a true place.
    """

    recognitions: list[Recognition]
    recall: dict[int, float]
    curve: PrecisionRecall
    threshold: float
    precision_at_threshold: float
    recall_at_threshold: float


def matched_rows(recognitions: Sequence[Recognition], k: int) -> np.ndarray:
    """Rows of the k best matches of each query, (Q, k) int64; -1 where there are fewer."""
    rows = np.full((len(recognitions), k), -1, np.int64)
    for i, recognition in enumerate(recognitions):
        found = [match.row for match in recognition.matches[:k]]
        rows[i, : len(found)] = found
    return rows


def best_similarities(recognitions: Sequence[Recognition]) -> np.ndarray:
    """Similarity of each query's best match, (Q,) float64; -1 where there is none."""
    return np.array([r.matches[0].similarity if r.matches else -1.0 for r in recognitions])


def evaluate(
    recognitions: Iterable[Recognition], positives: Sequence[np.ndarray], *, threshold: float
) -> Evaluation:
    """Score what a recognizer answered.

    Args:
        recognitions: Its answers, one a query, with at least max(RECALL_AT) matches each where
            the map has that many.
        positives: For each query the map rows that are true.
        threshold: The similarity threshold that was in force.

    Returns:
        Recall, precision-recall and the operating point in force.
    """
    answers = list(recognitions)
    rows = matched_rows(answers, max(RECALL_AT))
    best_true = is_true(rows[:, :1], positives)[:, 0]
    best = best_similarities(answers)
    with_truth = sum(len(truth) > 0 for truth in positives)
    accepted = best >= threshold
    true_accepted = int((accepted & best_true).sum())
    return Evaluation(
        recognitions=answers,
        recall=recall_at_k(rows, positives),
        curve=precision_recall(best, best_true, with_truth),
        threshold=threshold,
        precision_at_threshold=true_accepted / accepted.sum() if accepted.any() else float('nan'),
        recall_at_threshold=true_accepted / max(with_truth, 1),
    )
