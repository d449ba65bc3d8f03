# SPDX-License-Identifier: Apache-2.0
"""What turns pictures into answers; no rclpy.

One thread describes a picture while the other looks the one before up, for a network keeps several
cores busy and geometry one. No more than these two are under way: what waits gets old.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from vpr_ros.conversions import rgb_from_compressed, rgb_from_image, stamp_ns_from_msg
from vpr_ros.errors import EncodingError
from vpr_ros.node.mailbox import Mailbox
from vpr_ros.picture import Picture
from vpr_ros.recognizer import Recognition, Status
from vpr_ros.revisits import USUAL_REASONS

if TYPE_CHECKING:
    from vpr_ros.node.engine import Engine
    from vpr_ros.node.inputs import Inputs
    from vpr_ros.node.outputs import Outputs
    from vpr_ros.node.statistics import Statistics

_T = TypeVar('_T')

_THROTTLE_S = 5.0
_CONVERT = {'raw': rgb_from_image, 'compressed': rgb_from_compressed}


@dataclass(frozen=True)
class _Described:
    """A picture on its way from one thread to the other."""

    picture: Picture
    msg: Any
    begun_s: float


class Worker:
    """Takes the newest picture, recognises it, publishes the answer; over and over.

    Attributes:
        mailbox: Where to leave messages.
    """

    def __init__(
        self,
        engine: Engine,
        outputs: Outputs,
        statistics: Statistics,
        *,
        inputs: Inputs,
        age_s: Callable[[int], float],
        logger: Any,
        is_alive: Callable[[], bool],
    ) -> None:
        """Start the threads.

        Args:
            engine: Recognises.
            outputs: Publishes.
            statistics: Counts.
            inputs: Know the odometry and the intrinsics of a picture.
            age_s: From a stamp in nanoseconds to its age in seconds, by the node's clock.
            logger: The node's.
            is_alive: False once the node was told to stop and cannot publish any more.
        """
        self.mailbox: Mailbox[Any] = Mailbox(len(inputs.names))
        self._engine = engine
        self._outputs = outputs
        self._statistics = statistics
        self._inputs = inputs
        self._convert = _CONVERT[inputs.transport]
        self._age_s = age_s
        self._logger = logger
        self._is_alive = is_alive
        self._thread = threading.Thread(target=self._run, name='worker')
        self._thread.start()

    def stop(self) -> None:
        """Finish the pictures in hand, drop the next one and end the threads."""
        self.mailbox.close()
        self._thread.join()

    def _run(self) -> None:
        with ThreadPoolExecutor(1, thread_name_prefix='answers') as answers:
            before: Future[None] | None = None
            while (taken := self.mailbox.take()) is not None:
                camera, msg = taken
                described = self._guarded(self._describe, msg, camera)
                if before is not None:
                    before.result()
                if described is not None:
                    before = answers.submit(self._guarded, self._answer, described, camera)

    def _guarded(self, work: Callable[[Any, int], _T], item: Any, camera: int) -> _T | None:
        """Do one part of the work on a picture; a fault is reported and ends no thread."""
        try:
            return work(item, camera)
        except EncodingError as error:
            self._statistics.refused(_encoding(item), str(error), camera)
            self._logger.error(str(error), throttle_duration_sec=_THROTTLE_S)
        except Exception:  # the edge of a thread: a fault must be seen and not end it
            if self._is_alive():
                text = traceback.format_exc()
                self._statistics.failed(text.splitlines()[-1])
                self._logger.error(f'not processed:\n{text}', throttle_duration_sec=_THROTTLE_S)
        return None

    def _describe(self, msg: Any, camera: int) -> _Described:
        begun_s = time.perf_counter()
        rgb = self._convert(msg)
        height, width, _ = rgb.shape
        self._statistics.decoded(_encoding(msg), f'{width}x{height}', camera)
        picture = self._engine.describe(
            rgb,
            stamp_ns_from_msg(msg.header.stamp),
            camera=camera,
            intrinsics=self._inputs.intrinsics(camera, width, height),
        )
        return _Described(picture, msg, begun_s)

    def _answer(self, described: _Described, camera: int) -> None:
        picture, msg = described.picture, described.msg
        # As late as can be: odometry often comes after the picture, and nobody waits for it.
        picture.odometry = self._inputs.odometry_at(camera, picture.stamp_ns)
        if frame_id := self._inputs.odometry.frame_id:
            self._engine.odometry_frame_id = frame_id
        answers = self._engine.recognize(picture)
        age_s = self._age_s(picture.stamp_ns)
        self._outputs.publish_answers(answers, msg.header, picture.rgb, age_s=age_s)
        surest = max((answer.recognition for answer in answers), key=_certainty)
        self._statistics.answered(surest, time.perf_counter() - described.begun_s, age_s)
        self._explain(surest)

    def _explain(self, found: Recognition) -> None:
        """Tell the operator why nothing is recognised."""
        if found.status is not Status.REJECTED:
            return
        if found.reason.startswith(USUAL_REASONS):
            self._logger.info(found.reason, throttle_duration_sec=_THROTTLE_S)
        else:
            self._logger.warning(found.reason, throttle_duration_sec=_THROTTLE_S)


def _certainty(found: Recognition) -> int:
    return -1 if found.status is Status.REJECTED else found.status


def _encoding(msg: Any) -> str:
    """Return how a raw or compressed picture is encoded."""
    return msg.format if hasattr(msg, 'format') else msg.encoding
