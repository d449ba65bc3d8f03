# SPDX-License-Identifier: Apache-2.0
"""Ask the recognizer in a loop: every picture of a source, one after another, none dropped."""

from __future__ import annotations

import dataclasses
import logging
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from vpr_ros.errors import SourceError
from vpr_ros.evaluation.answers import Answer
from vpr_ros.evaluation.sensors import Sensors
from vpr_ros.frames import Frame, PictureRef, Source
from vpr_ros.keyframe_store import KeyframeStore
from vpr_ros.picture import Picture
from vpr_ros.place_map import PlaceMap
from vpr_ros.pose_lookup import PoseLookup
from vpr_ros.poses import NS_PER_S
from vpr_ros.prefetch import Prefetcher
from vpr_ros.recognizer import PlaceRecognizer, Recognition, RecognizerConfig
from vpr_ros.verification.metric import Keyframe

logger = logging.getLogger(__name__)

UNHURRIED_S = 60.0  # for the candidates of one picture: more than any takes
_AHEAD = 4  # pictures decoded while the network runs
_MAX_DISORDER_NS = NS_PER_S  # cameras overtake each other on a network, but not by a second


def unhurried(config: RecognizerConfig) -> RecognizerConfig:
    """Return the same without a limit to the time that verification takes.

    On the robot a picture must not wait; here, what is found must not depend on how busy the
    machine is.
    """
    verification = dataclasses.replace(config.verification, budget_s=UNHURRIED_S)
    return dataclasses.replace(config, verification=verification)


def answer_queries(
    source: Source,
    recognizer: PlaceRecognizer,
    *,
    sensors: Sensors | None = None,
    skip_unreadable: bool = False,
) -> list[Answer]:
    """Recognise every picture of a source.

    Args:
        source: The pictures.
        recognizer: Is asked.
        sensors: What else is known of them; None: nothing.
        skip_unreadable: Leave damaged pictures out and log them, instead of stopping at the first.

    Raises:
        SourceError: A picture or the source is damaged, its clock jumps back, or it is empty.
    """
    sensors = sensors or Sensors()
    with _pictures(source, skip_unreadable) as pictures:
        answers = [
            _answer(frame, recognizer.recognize(_describe(frame, rgb, recognizer, sensors)))
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


@dataclass(frozen=True)
class _Waiting:
    answer: Answer
    descriptor: np.ndarray
    position: np.ndarray
    orientation_xyzw: np.ndarray


def answer_from_own_past(
    source: Source,
    recognizer: PlaceRecognizer,
    *,
    apart: Apart,
    poses: PoseLookup | None,
    sensors: Sensors | None = None,
    keyframes: KeyframeStore | None = None,
    skip_unreadable: bool = False,
) -> OwnPast:
    """Recognise every picture among those taken a good while before it; the map grows.

    Args:
        source: The run.
        recognizer: With an empty map, which is filled.
        apart: How far back the past begins.
        poses: Where the pictures were taken: the places get these poses, and those without one
            are no places; None: not known.
        sensors: What else is known of the pictures; None: nothing.
        keyframes: An empty store, which the recognizer verifies by: gets the local features of
            the places; None: nothing is verified.
        skip_unreadable: As in `answer_queries`.

    Raises:
        SourceError: As `answer_queries`, or the run is too short to have such a past.
    """
    sensors = sensors or Sensors()
    waiting: deque[_Waiting] = deque()
    answers, searched, pictures = [], [], []
    with _pictures(source, skip_unreadable) as ahead:
        for frame, rgb in ahead:
            while waiting and _is_past(waiting[0].answer, frame, apart):
                past = waiting.popleft()
                _add(recognizer.place_map, past)
                pictures.append(past.answer.index)
            picture = _describe(frame, rgb, recognizer, sensors)
            answers.append(_answer(frame, recognizer.recognize(picture)))
            searched.append(len(recognizer.place_map))
            place = _new_place(answers[-1], picture, poses)
            if place is not None:
                if keyframes is not None and picture.features is not None:
                    row = len(recognizer.place_map) + len(waiting)
                    keyframe = _keyframe(picture, place, sensors)
                    keyframes.add(row, keyframe, drive=0, camera=frame.camera)
                waiting.append(place)
    if answers and not pictures:
        raise SourceError(
            f'{source.path} is too short: none of its {len(answers)} pictures was taken more than '
            f'{apart.describe()} before another; lower --apart'
        )
    return OwnPast(_some(answers, source), np.array(searched), np.array(pictures))


def _describe(
    frame: Frame, rgb: np.ndarray, recognizer: PlaceRecognizer, sensors: Sensors
) -> Picture:
    return recognizer.describe(
        rgb,
        frame.stamp_ns,
        camera=frame.camera,
        odometry=sensors.odometry(frame),
        intrinsics=sensors.intrinsics(frame, rgb),
    )


def _is_past(place: PictureRef, now: PictureRef, apart: Apart) -> bool:
    age_s = (now.stamp_ns - place.stamp_ns) / NS_PER_S
    is_old = age_s > apart.seconds or not apart.seconds
    return is_old and now.index - place.index > apart.pictures


def _new_place(answer: Answer, picture: Picture, poses: PoseLookup | None) -> _Waiting | None:
    """Return what is to become a place; None where it shows nothing, or was nowhere.

    Of a place that is nowhere, nothing could be right.
    """
    if picture.descriptor is None:
        return None
    if poses is None:
        return _Waiting(answer, picture.descriptor, np.full(3, np.nan), np.full(4, np.nan))
    position, orientation = poses.pose_of(answer)
    if not np.isfinite(position).all():
        return None
    return _Waiting(answer, picture.descriptor, position, orientation)


def _keyframe(picture: Picture, place: _Waiting, sensors: Sensors) -> Keyframe:
    assert picture.features is not None  # held by the caller
    camera = sensors.cameras.get(picture.camera)
    pose = None if camera is None else camera.pose(place.position, place.orientation_xyzw)
    return Keyframe(picture.features, picture.intrinsics, pose)


def _add(place_map: PlaceMap, place: _Waiting) -> None:
    place_map.add(
        place.descriptor[np.newaxis],
        stamps_ns=np.array([place.answer.stamp_ns]),
        positions=place.position[np.newaxis],
        orientations_xyzw=place.orientation_xyzw[np.newaxis],
        images=[place.answer.name],
        cameras=np.array([place.answer.camera]),
    )


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
