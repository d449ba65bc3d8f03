# SPDX-License-Identifier: Apache-2.0
"""What came of every picture, judged: one row a picture, from which every number is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import Enum

import numpy as np

from vpr_ros.evaluation.answers import Answer
from vpr_ros.evaluation.truth import Truth
from vpr_ros.poses import rotation_angle
from vpr_ros.recognizer import Status

DROPPED = -1  # in place of a status


class Verdict(Enum):
    """What an answer turned out to be."""

    RIGHT = 'right'  # accepted, and the best match is true
    WRONG = 'wrong'  # accepted, and it is not
    MISSED = 'missed'  # rejected although the map has the place
    UNMAPPED = 'rightly rejected'  # the map does not have the place
    UNJUDGED = 'not judged'  # nobody knows where the picture was taken
    DROPPED = 'dropped'  # never looked at, in live operation


@dataclass(frozen=True)
class Outcomes:
    """One row a picture, in the order of the run; all arrays have the length Q.

    Attributes:
        stamp_ns: int64, nanoseconds.
        status: int8, of `Status`; DROPPED where there was no answer.
        judged: bool, whether it is known which places are right.
        mapped: bool, whether the map has a right place.
        right: bool, whether the answer, which is the first match, is right, accepted or not.
        rank: int32, of the first right match by similarity, from 1; 0: none among the matches.
            Verification may answer with another than the most similar.
        similarity: float64, cosine similarity of the most similar match; NaN: no match.
        probability: float64, of the answer by the sequence filter; NaN: unknown.
        position_error_m: float64, of the published pose; NaN: no pose, or truth unknown.
        angle_error_deg: float64, likewise.
        latency_s: float64; NaN: no answer.
    """

    stamp_ns: np.ndarray
    status: np.ndarray
    judged: np.ndarray
    mapped: np.ndarray
    right: np.ndarray
    rank: np.ndarray
    similarity: np.ndarray
    probability: np.ndarray
    position_error_m: np.ndarray
    angle_error_deg: np.ndarray
    latency_s: np.ndarray

    def __len__(self) -> int:
        """Return Q, the number of pictures."""
        return len(self.status)

    @property
    def answered(self) -> np.ndarray:
        """(Q,) bool, whether the picture was looked at."""
        return self.status != DROPPED

    @property
    def accepted(self) -> np.ndarray:
        """(Q,) bool, whether it was answered and not rejected."""
        return self.answered & (self.status != Status.REJECTED)

    def take(self, rows: np.ndarray) -> Outcomes:
        """Return some of the rows, in the given order, any of them several times."""
        return Outcomes(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def verdicts(self) -> list[Verdict]:
        """Return what each answer turned out to be."""
        return [
            _verdict(*row)
            for row in zip(
                self.answered, self.judged, self.accepted, self.right, self.mapped, strict=True
            )
        ]


def _verdict(answered: bool, judged: bool, accepted: bool, right: bool, mapped: bool) -> Verdict:
    if not answered:
        return Verdict.DROPPED
    if not judged:
        return Verdict.UNJUDGED
    if accepted:
        return Verdict.RIGHT if right else Verdict.WRONG
    return Verdict.MISSED if mapped else Verdict.UNMAPPED


def judge(answers: Sequence[Answer], truth: Truth | None) -> Outcomes:
    """Judge the answers of a run.

    Args:
        answers: One a picture, in the order of the run.
        truth: What would have been right, for as many pictures; None: not known at all.

    Raises:
        ValueError: Answers and truth are of different numbers of pictures.
    """
    num = len(answers)
    if truth is not None and len(truth.positives) != num:
        raise ValueError(f'{num} pictures were answered, truth is of {len(truth.positives)}')
    judged, mapped, right = (np.zeros(num, bool) for _ in range(3))
    rank = np.zeros(num, np.int32)
    for i in range(num if truth is not None else 0):
        assert truth is not None
        positives = truth.positives[i]
        judged[i] = positives is not None
        mapped[i] = positives is not None and len(positives) > 0
        right[i], rank[i] = _hits(answers[i], positives)
    errors = np.array([_pose_error(answers[i], truth, i) for i in range(num)]).reshape(num, 2)
    best = [_best(answer) for answer in answers]
    return Outcomes(
        stamp_ns=np.array([answer.stamp_ns for answer in answers], np.int64),
        status=np.array([_status(answer) for answer in answers], np.int8),
        judged=judged,
        mapped=mapped,
        right=right,
        rank=rank,
        similarity=np.array([pair[0] for pair in best], np.float64),
        probability=np.array([pair[1] for pair in best], np.float64),
        position_error_m=errors[:, 0],
        angle_error_deg=errors[:, 1],
        latency_s=np.array([answer.latency_s for answer in answers], np.float64),
    )


def _status(answer: Answer) -> int:
    return DROPPED if answer.recognition is None else int(answer.recognition.status)


def _best(answer: Answer) -> tuple[float, float]:
    """Return the similarity of the most similar match, and the probability of the answer."""
    if answer.recognition is None or not answer.recognition.matches:
        return np.nan, np.nan
    matches = answer.recognition.matches
    return max(match.similarity for match in matches), matches[0].probability


def _hits(answer: Answer, positives: np.ndarray | None) -> tuple[bool, int]:
    """Return whether the answer is right, and the rank of the first right match."""
    if positives is None or answer.recognition is None or not answer.recognition.matches:
        return False, 0
    matches = answer.recognition.matches
    by_similarity = sorted(matches, key=lambda match: -match.similarity)
    found = np.isin([match.row for match in by_similarity], positives)
    rank = int(found.argmax()) + 1 if found.any() else 0
    return bool(np.isin(matches[0].row, positives)), rank


def _pose_error(answer: Answer, truth: Truth | None, number: int) -> tuple[float, float]:
    """Return metres and degrees between the published pose and the true one."""
    if truth is None or truth.track is None or answer.recognition is None:
        return np.nan, np.nan
    pose = answer.recognition.pose
    if pose is None:
        return np.nan, np.nan
    distance = np.linalg.norm(pose.position - truth.track.positions[number])
    angle = rotation_angle(pose.orientation_xyzw, truth.track.orientations_xyzw[number])
    return float(distance), float(np.degrees(angle))
