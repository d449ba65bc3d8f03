# SPDX-License-Identifier: Apache-2.0
"""Ask the recognizer in a loop: every picture of a source, one after another, none dropped."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from vpr_ros.errors import SourceError
from vpr_ros.evaluation.answers import Answer
from vpr_ros.frames import Frame, PictureRef, Source
from vpr_ros.place_map import PlaceMap
from vpr_ros.pose_lookup import PoseLookup
from vpr_ros.poses import NS_PER_S
from vpr_ros.prefetch import Prefetcher
from vpr_ros.recognizer import PlaceRecognizer, Recognition

logger = logging.getLogger(__name__)

_AHEAD = 4  # pictures decoded while the network runs
_MAX_DISORDER_NS = NS_PER_S  # cameras overtake each other on a network, but not by a second


def answer_queries(
    source: Source, recognizer: PlaceRecognizer, *, skip_unreadable: bool = False
) -> list[Answer]:
    """Recognise every picture of a source.

    Args:
        source: The pictures.
        recognizer: Is asked.
        skip_unreadable: Leave damaged pictures out and log them, instead of stopping at the first.

    Raises:
        SourceError: A picture or the source is damaged, its clock jumps back, or it is empty.
    """
    with _pictures(source, skip_unreadable) as pictures:
        answers = [
            _answer(frame, recognizer.process(rgb, frame.stamp_ns, camera=frame.camera))
            for frame, rgb in pictures
        ]
    return _some(answers, source)


@dataclass(frozen=True)
class OwnPast:
    """A run that was looked up in its own past.

    Attributes:
        answers: One a picture.
        searched: (Q,) int64, how many places, from the first, each picture was looked up among.
        pictures: (N,) int64, the index of the picture that became each place.
    """

    answers: list[Answer]
    searched: np.ndarray
    pictures: np.ndarray


@dataclass(frozen=True)
class Apart:
    """How far back the past begins; younger pictures are no places yet.

    Attributes:
        seconds: Least age of a place; 0: any.
        pictures: Least number of pictures in between; 0: any.
    """

    seconds: float = 0.0
    pictures: int = 0

    def describe(self) -> str:
        """Say it, for people."""
        return f'{self.seconds:g} s' if self.seconds else f'{self.pictures} pictures'


def answer_from_own_past(
    source: Source,
    recognizer: PlaceRecognizer,
    *,
    apart: Apart,
    poses: PoseLookup | None,
    skip_unreadable: bool = False,
) -> OwnPast:
    """Recognise every picture among those taken a good while before it; the map grows.

    Args:
        source: The run.
        recognizer: With an empty map, which is filled.
        apart: How far back the past begins.
        poses: Where the pictures were taken: the places get these poses, and those without one
            are no places; None: not known.
        skip_unreadable: As in `answer_queries`.

    Raises:
        SourceError: As `answer_queries`, or the run is too short to have such a past.
    """
    waiting: deque[Answer] = deque()
    answers, searched, pictures = [], [], []
    with _pictures(source, skip_unreadable) as ahead:
        for frame, rgb in ahead:
            while waiting and _is_past(waiting[0], frame, apart):
                past = waiting.popleft()
                if _add(recognizer.place_map, past, poses):
                    pictures.append(past.index)
            recognition = recognizer.process(rgb, frame.stamp_ns, camera=frame.camera)
            answers.append(_answer(frame, recognition))
            searched.append(len(recognizer.place_map))
            if recognition.descriptor is not None:
                waiting.append(answers[-1])
    if answers and not pictures:
        raise SourceError(
            f'{source.path} is too short: none of its {len(answers)} pictures was taken more than '
            f'{apart.describe()} before another; lower --apart'
        )
    return OwnPast(_some(answers, source), np.array(searched), np.array(pictures))


def _is_past(place: PictureRef, now: PictureRef, apart: Apart) -> bool:
    age_s = (now.stamp_ns - place.stamp_ns) / NS_PER_S
    is_old = age_s > apart.seconds or not apart.seconds
    return is_old and now.index - place.index > apart.pictures


def _add(place_map: PlaceMap, answer: Answer, poses: PoseLookup | None) -> bool:
    """Make a picture a place; returns whether it could: nothing is right about one nowhere."""
    assert answer.recognition is not None and answer.recognition.descriptor is not None
    position, orientation = (None, None) if poses is None else poses.pose_of(answer)
    if position is not None and not np.isfinite(position).all():
        return False
    place_map.add(
        answer.recognition.descriptor[np.newaxis],
        stamps_ns=np.array([answer.stamp_ns]),
        positions=position,
        orientations_xyzw=orientation,
        images=[answer.name],
        cameras=np.array([answer.camera]),
    )
    return True


def _answer(frame: Frame, recognition: Recognition) -> Answer:
    return Answer(
        index=frame.index,
        name=frame.name,
        stamp_ns=frame.stamp_ns,
        camera=frame.camera,
        recognition=recognition,
        latency_s=sum(recognition.timings_s.values()),
    )


def _some(answers: list[Answer], source: Source) -> list[Answer]:
    if not answers:
        raise SourceError(f'{source.path} holds no pictures')
    return answers


@contextmanager
def _pictures(
    source: Source, skip_unreadable: bool
) -> Iterator[Iterable[tuple[Frame, np.ndarray]]]:
    """Yield frames with their pictures, decoded in a thread, with a progress bar."""
    with Prefetcher(_decoded(source, skip_unreadable), _AHEAD) as ahead:
        yield tqdm(ahead, total=source.num_frames, unit='picture', leave=False, disable=None)


def _decoded(source: Source, skip_unreadable: bool) -> Iterator[tuple[Frame, np.ndarray]]:
    latest_ns = None
    for frame in source.frames():
        if latest_ns is not None and frame.stamp_ns < latest_ns - _MAX_DISORDER_NS:
            raise SourceError(
                f'{source.path}: the stamps jump back by '
                f'{(latest_ns - frame.stamp_ns) / NS_PER_S:.1f} s at {frame.name} (simulation '
                'restarted, or a bag played in a loop?); split the recording there, or '
                '--stamps record'
            )
        latest_ns = frame.stamp_ns if latest_ns is None else max(latest_ns, frame.stamp_ns)
        try:
            yield frame, frame.rgb
        except SourceError as error:
            if not skip_unreadable:
                raise SourceError(f'{error}; --skip-unreadable leaves it out') from error
            logger.warning('left out: %s', error)
