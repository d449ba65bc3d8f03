# SPDX-License-Identifier: Apache-2.0
"""Answers and outcomes made by hand."""

import numpy as np

from vpr_ros.evaluation.answers import Answer
from vpr_ros.evaluation.outcomes import DROPPED, Outcomes
from vpr_ros.place_map import Match
from vpr_ros.recognizer import Recognition, Status
from vpr_ros.retrieval_pose import PoseEstimate

NS = 1_000_000_000


def answer(index, *found, status=Status.CANDIDATE, position=None, probability=np.nan):
    """An answer whose matches are (row, similarity) pairs."""
    matches = tuple(
        Match(row, row, s, 0, '', np.zeros(3), np.zeros(4), probability=probability)
        for row, s in found
    )
    pose = None
    if position is not None:
        pose = PoseEstimate(np.array(position, float), np.array([0, 0, 0, 1.0]), np.eye(6))
    recognition = Recognition(index, index * NS, 0, status, '', matches, None, pose)
    return Answer(index, f'{index}.png', index * NS, 0, recognition, 0.01)


def dropped(index):
    """A picture that was never looked at."""
    return Answer(index, f'{index}.png', index * NS, 0, None, np.nan)


def random_outcomes(num, seed, *, statuses=(Status.CANDIDATE, Status.REJECTED)):
    """A run whose successive pictures succeed and fail together."""
    rng = np.random.default_rng(seed)
    good = np.repeat(rng.random(-(-num // 10)) < 0.7, 10)[:num]
    status = rng.choice([int(status) for status in statuses], num).astype(np.int8)
    mapped = rng.random(num) < 0.9
    rank = np.where(good & mapped, 1, rng.choice([0, 2, 7], num) * mapped).astype(np.int32)
    unknown = np.full(num, np.nan)
    return Outcomes(
        stamp_ns=np.arange(num) * NS,
        status=status,
        judged=np.ones(num, bool),
        mapped=mapped,
        right=rank == 1,
        rank=rank,
        similarity=np.where(good, 0.7, 0.4) + rng.normal(0, 0.1, num),
        probability=unknown,
        position_error_m=unknown,
        angle_error_deg=unknown,
        latency_s=np.where(status == DROPPED, np.nan, 0.01),
    )
