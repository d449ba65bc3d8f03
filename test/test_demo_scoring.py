# SPDX-License-Identifier: Apache-2.0
"""Known answers of the demo's scoring, and its bar."""

import math
import re

import numpy as np
import pytest

from vpr_ros.demo.report import below_bar, table
from vpr_ros.demo.scoring import score
from vpr_ros.evaluation.answers import Answer
from vpr_ros.evaluation.outcomes import Verdict
from vpr_ros.live.counts import Counts
from vpr_ros.place_map import Match
from vpr_ros.recognizer import Recognition, Status

COUNTS = Counts(sent=6, received=5, processed=5, dropped=0)
NOWHERE = np.full(3, np.nan), np.full(4, np.nan)


def answer(picture, row, *, accepted=True, status=Status.CANDIDATE, latency_s=0.02):
    match = Match(row, 10 + row, 0.9, 0, '', *NOWHERE)
    status = status if accepted else Status.REJECTED
    found = Recognition(0, 0, 0, status, '' if accepted else 'no', (match,), None, None)
    return Answer(picture, f'{picture}', 0, 0, found, latency_s)


def scored(answers, positives):
    return score(answers, positives, COUNTS, threshold=0.5, max_age_s=0.25)


def test_pictures_without_a_pose_are_judged_neither_right_nor_wrong():
    positives = [np.array([0]), None, None, np.array([0])]
    answers = [answer(0, 0), answer(1, 2), answer(2, 2, accepted=False), answer(3, 1)]
    result = scored(answers, positives)
    assert result.verdicts == (
        Verdict.RIGHT, Verdict.UNJUDGED, Verdict.UNJUDGED, Verdict.WRONG,
    )  # fmt: skip
    assert result.accepted == 3
    assert result.num_places == 2
    assert result.precision == result.recall == result.recall_at_1 == 0.5
    text = table(result, threshold=0.5, truth='near', seconds=1.0)
    assert re.search('not judged +2 +processed pictures without a pose', text)
    assert 'of all judged candidates' in text


def test_score_of_five_answers_by_hand():
    positives = [
        np.array([0]),
        np.array([0, 1]),
        np.array([2]),
        np.array([], int),
        np.array([], int),
    ]
    answers = [
        answer(0, 0),  # right
        answer(1, 2),  # wrong
        answer(2, 2, accepted=False),  # missed, though its best match is true
        answer(3, 1),  # accepted where the map has nothing: wrong
        answer(4, 1, accepted=False),  # rightly rejected
    ]
    result = scored(answers, positives)
    assert result.verdicts == (
        Verdict.RIGHT, Verdict.WRONG, Verdict.MISSED, Verdict.WRONG, Verdict.UNMAPPED,
    )  # fmt: skip
    assert result.accepted == 3
    assert result.num_places == 3
    assert result.precision == pytest.approx(1 / 3)
    assert result.recall == pytest.approx(1 / 3)
    assert result.recall_at_1 == pytest.approx(2 / 3)
    assert result.max_age_s == 0.25
    assert result.latency.p50_ms == pytest.approx(20)


def test_without_truth_nothing_is_judged():
    result = scored([answer(0, 0)], None)
    assert result.verdicts == (Verdict.UNJUDGED,)
    assert math.isnan(result.precision)
    assert math.isnan(result.recall)
    text = table(result, threshold=0.5, truth='nobody said', seconds=1.0)
    assert 'not known   nobody said' in text
    assert not any(word in text for word in ('precision', 'recall', 'wrong'))


def test_no_answers_score_as_unknown_not_as_perfect():
    result = scored([], [np.array([0])])
    assert math.isnan(result.precision)
    assert len(below_bar(result)) == 2


def test_a_dropped_picture_is_not_scored():
    dropped = Answer(1, '1', 0, 0, None, math.nan)
    result = scored([answer(0, 0), dropped, answer(2, 0)], [np.array([0])] * 3)
    assert result.pictures == (0, 2)
    assert result.recall == 1.0
    assert result.latency.p50_ms == pytest.approx(20)


def test_later_stages_are_told_apart():
    """What is verified counts as consistent too; a candidate as neither."""
    answers = [answer(0, 0), answer(1, 0, status=Status.CONSISTENT), answer(2, 1)]
    answers += [answer(3, 0, status=Status.VERIFIED), answer(4, 1, status=Status.CONSISTENT)]
    text = table(scored(answers, [np.array([0])] * 5), threshold=0.5, truth='near', seconds=1.0)
    assert re.search(r'consistent +3 +66.7 % of them right', text)
    assert re.search(r'verified +1 +100.0 % of them right', text)


@pytest.mark.parametrize(('right', 'wrong', 'short'), [(19, 1, 0), (18, 2, 1), (17, 3, 2)])
def test_bar(right, wrong, short):
    """Of 20 places: 19 right and 1 wrong is exactly 95 %; 18 is exactly 90 % recall."""
    answers = [answer(i, 0 if i < right else 1) for i in range(right + wrong)]
    result = scored(answers, [np.array([0])] * 20)
    assert len(below_bar(result)) == short
