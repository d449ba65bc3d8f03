# SPDX-License-Identifier: Apache-2.0
"""Recall and precision from arrays, against hand-made cases, brute force and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve

from vpr_ros.evaluation.metrics import is_true, precision_recall, recall_at_k


def scores(seed, *, ties):
    """Similarities and marks of 300 queries; with ties, of 12 values only."""
    rng = np.random.default_rng(seed)
    similarity = rng.choice(np.linspace(-0.2, 1, 12), 300) if ties else rng.normal(size=300)
    return similarity, rng.random(300) < 0.55


def test_recall_of_a_hand_made_case():
    rows = np.array([[0, 5], [5, 1], [5, 6], [7, 8]])
    positives = [np.array([0]), np.array([1]), np.array([9]), np.array([], int)]
    assert recall_at_k(rows, positives, (1, 2, 10)) == {1: 0.25, 2: 0.5, 10: 0.5}


@pytest.mark.parametrize('seed', range(5))
def test_recall_agrees_with_counting(seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 30, (80, 20))
    positives = [rng.choice(30, rng.integers(0, 4), replace=False) for _ in range(80)]
    for k, recall in recall_at_k(rows, positives, (1, 5, 10, 20)).items():
        hits = sum(
            bool(set(row[:k]) & set(true)) for row, true in zip(rows, positives, strict=True)
        )
        assert recall == pytest.approx(hits / 80, rel=0, abs=1e-9)


def test_recall_refuses_nonsense():
    with pytest.raises(ValueError, match='no queries'):
        recall_at_k(np.empty((0, 1)), [], (1,))
    with pytest.raises(ValueError, match='at least 1'):
        recall_at_k(np.zeros((1, 1)), [np.array([0])], (0,))
    with pytest.raises(ValueError, match='2 queries were matched, truth is known for 1'):
        is_true(np.zeros((2, 1)), [np.array([0])])


def test_precision_recall_of_a_hand_made_case():
    similarity, true = np.array([0.9, 0.5, 0.8, 0.7]), np.array([True, True, False, True])
    curve = precision_recall(similarity, true, num_with_truth=4)
    np.testing.assert_allclose(curve.thresholds, [0.9, 0.8, 0.7, 0.5])
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3, 3 / 4])
    np.testing.assert_allclose(curve.recall, [1 / 4, 1 / 4, 2 / 4, 3 / 4])
    assert curve.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 4)
    assert curve.best_recall(1.0) == (0.25, 0.9)
    assert curve.best_recall(0.7) == (0.75, 0.5)


def test_equal_scores_are_accepted_together():
    curve = precision_recall(np.array([0.5, 0.5]), np.array([True, False]), num_with_truth=2)
    assert list(curve.precision) == [0.5] and list(curve.recall) == [0.5]
    recall, threshold = curve.best_recall(1.0)
    assert recall == 0.0 and np.isnan(threshold)


def test_no_queries_make_an_empty_curve():
    curve = precision_recall(np.array([]), np.array([], bool), num_with_truth=0)
    assert len(curve.thresholds) == 0 and curve.average_precision == 0.0


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('seed', range(5))
def test_the_curve_agrees_with_scikit_learn(seed, ties):
    similarity, true = scores(seed, ties=ties)
    curve = precision_recall(similarity, true, num_with_truth=int(true.sum()))
    precision, recall, thresholds = precision_recall_curve(true, similarity)
    np.testing.assert_allclose(curve.thresholds, thresholds[::-1], rtol=0, atol=1e-9)
    np.testing.assert_allclose(curve.precision, precision[-2::-1], rtol=0, atol=1e-9)
    np.testing.assert_allclose(curve.recall, recall[-2::-1], rtol=0, atol=1e-9)
    expected = average_precision_score(true, similarity)
    assert curve.average_precision == pytest.approx(expected, rel=0, abs=1e-9)


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('precision', [1.0, 0.99, 0.6])
@pytest.mark.parametrize('seed', range(3))
def test_recall_at_a_precision_agrees_with_trying_every_threshold(seed, ties, precision):
    similarity, true = scores(seed, ties=ties)
    true[np.argsort(-similarity)[:20]] = True  # so that some threshold has full precision
    curve = precision_recall(similarity, true, num_with_truth=400)  # some places never come up
    best = 0.0
    for threshold in np.unique(similarity):
        accepted = similarity >= threshold
        if true[accepted].mean() >= precision:
            best = max(best, true[accepted].sum() / 400)
    recall, threshold = curve.best_recall(precision)
    assert recall == pytest.approx(best, rel=0, abs=1e-9)
    if recall:
        accepted = similarity >= threshold
        assert true[accepted].mean() >= precision
        assert true[accepted].sum() / 400 == pytest.approx(recall)
