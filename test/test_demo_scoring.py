# SPDX-License-Identifier: Apache-2.0
"""Known answers of the demo's scoring, and its bar."""

import math
import re

import numpy as np
import pytest

from vpr_ros.demo.report import below_bar, table
from vpr_ros.demo.scoring import (
    Answer,
    Counts,
    Verdict,
    best_rows,
    score,
)
from vpr_ros.evaluation.truth import Track, positives_by_pose

COUNTS = Counts(sent=6, received=5, processed=5, dropped=0)
PLACE_IDS = np.array([10, 11, 12], np.uint64)


def yaw_quaternion(degrees):
    half = np.radians(degrees) / 2
    return np.array([0.0, 0.0, np.sin(half), np.cos(half)])


def answer(picture, place_id, *, accepted=True, latency_s=0.02, age_s=0.03):
    return Answer(picture, accepted, (place_id,), 0.9, latency_s, age_s)


def test_positives_need_both_distance_and_angle():
    places = Track(
        np.array([[0.0, 0, 0], [7.9, 0, 0], [8.1, 0, 0], [1.0, 0, 0]]),
        np.array([yaw_quaternion(d) for d in (0, 29, 0, 31)]),
    )
    query = Track(np.zeros((1, 3)), yaw_quaternion(0)[None])
    (rows,) = positives_by_pose(query, places, within_m=8.0, within_deg=30.0)
    assert rows.tolist() == [0, 1]


def test_a_quaternion_and_its_negative_are_one_orientation():
    places = Track(np.zeros((1, 3)), -yaw_quaternion(10)[None])
    query = Track(np.zeros((1, 3)), yaw_quaternion(10)[None])
    (rows,) = positives_by_pose(query, places, within_m=1.0, within_deg=5.0)
    assert rows.tolist() == [0]


def test_an_unknown_orientation_is_not_compared_but_an_unknown_position_matches_nothing():
    places = Track(np.array([[0.0, 0, 0], [np.nan] * 3]), np.full((2, 4), np.nan))
    query = Track(np.zeros((1, 3)), yaw_quaternion(0)[None])
    (rows,) = positives_by_pose(query, places, within_m=1.0, within_deg=5.0)
    assert rows.tolist() == [0]


def test_a_picture_taken_nobody_knows_where_has_no_truth():
    places = Track(np.zeros((1, 3)), yaw_quaternion(0)[None])
    query = Track(np.array([[np.nan] * 3, [0.0, 0, 0]]), np.full((2, 4), np.nan))
    unknown, known = positives_by_pose(query, places, within_m=1.0, within_deg=5.0)
    assert unknown is None
    assert known.tolist() == [0]


def test_pictures_without_a_pose_are_judged_neither_right_nor_wrong():
    positives = [np.array([0]), None, None, np.array([0])]
    answers = [answer(0, 10), answer(1, 12), answer(2, 12, accepted=False), answer(3, 11)]
    result = score(answers, positives, PLACE_IDS, COUNTS)
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
        answer(0, 10),  # right
        answer(1, 12),  # wrong
        answer(2, 12, accepted=False),  # missed, though its best match is true
        answer(3, 11),  # accepted where the map has nothing: wrong
        answer(4, 11, accepted=False, age_s=0.25),  # rightly rejected
    ]
    result = score(answers, positives, PLACE_IDS, COUNTS)
    assert result.verdicts == (
        Verdict.RIGHT, Verdict.WRONG, Verdict.MISSED, Verdict.WRONG, Verdict.UNKNOWN,
    )  # fmt: skip
    assert result.accepted == 3
    assert result.num_places == 3
    assert result.precision == pytest.approx(1 / 3)
    assert result.recall == pytest.approx(1 / 3)
    assert result.recall_at_1 == pytest.approx(2 / 3)
    assert result.max_age_s == 0.25
    assert result.latency.p50_ms == pytest.approx(20)


def test_without_truth_nothing_is_judged():
    result = score([answer(0, 10)], None, PLACE_IDS, COUNTS)
    assert result.verdicts == (Verdict.UNJUDGED,)
    assert math.isnan(result.precision)
    assert math.isnan(result.recall)
    text = table(result, threshold=0.5, truth='nobody said', seconds=1.0)
    assert 'not known   nobody said' in text
    assert not any(word in text for word in ('precision', 'recall', 'wrong'))


def test_no_answers_score_as_unknown_not_as_perfect():
    result = score([], [np.array([0])], PLACE_IDS, COUNTS)
    assert math.isnan(result.precision)
    assert len(below_bar(result)) == 2


def test_a_place_that_is_not_in_the_map_is_an_error():
    with pytest.raises(ValueError, match='place 99 is not in the map'):
        best_rows([answer(0, 99)], PLACE_IDS)


@pytest.mark.parametrize(('right', 'wrong', 'short'), [(19, 1, 0), (18, 2, 1), (17, 3, 2)])
def test_bar(right, wrong, short):
    """Of 20 places: 19 right and 1 wrong is exactly 95 %; 18 is exactly 90 % recall."""
    answers = [answer(i, 10 if i < right else 11) for i in range(right + wrong)]
    result = score(answers, [np.array([0])] * 20, PLACE_IDS, COUNTS)
    assert len(below_bar(result)) == short
