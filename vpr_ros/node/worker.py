# SPDX-License-Identifier: Apache-2.0
"""The thread that turns pictures into answers; no rclpy."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vpr_ros.conversions import rgb_from_compressed, rgb_from_image, stamp_ns_from_msg
from vpr_ros.errors import EncodingError
from vpr_ros.node.mailbox import Mailbox
from vpr_ros.recognizer import Recognition, Status
from vpr_ros.revisits import USUAL_REASONS

if TYPE_CHECKING:
    from vpr_ros.node.engine import Engine
    from vpr_ros.node.inputs import Inputs
    from vpr_ros.node.outputs import Outputs
    from vpr_ros.node.statistics import Statistics

_THROTTLE_S = 5.0
_CONVERT = {'raw': rgb_from_image, 'compressed': rgb_from_compressed}


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
        """Start the thread.

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
        """Finish the picture in hand, drop the next one and end the thread."""
        self.mailbox.close()
        self._thread.join()

    def _run(self) -> None:
        while (taken := self.mailbox.take()) is not None:
            camera, msg = taken
            try:
                self._answer(msg, camera)
            except EncodingError as error:
                self._statistics.refused(_encoding(msg), str(error), camera)
                self._logger.error(str(error), throttle_duration_sec=_THROTTLE_S)
            except Exception:  # the edge of a thread: a fault must be seen and not end it
                if not self._is_alive():
                    return
                text = traceback.format_exc()
                self._statistics.failed(text.splitlines()[-1])
                self._logger.error(f'not processed:\n{text}', throttle_duration_sec=_THROTTLE_S)

    def _answer(self, msg: Any, camera: int) -> None:
        start_s = time.perf_counter()
        rgb = self._convert(msg)
        height, width, _ = rgb.shape
        self._statistics.decoded(_encoding(msg), f'{width}x{height}', camera)
        stamp_ns = stamp_ns_from_msg(msg.header.stamp)
        answers = self._engine.process(
            rgb,
            stamp_ns,
            camera=camera,
            # As late as can be: odometry often comes after the picture, and nobody waits for it.
            odometry=self._inputs.odometry_at(camera, stamp_ns),
            intrinsics=self._inputs.intrinsics(camera, width, height),
        )
        age_s = self._age_s(stamp_ns)
        self._outputs.publish_answers(answers, msg.header, rgb, age_s=age_s)
        surest = max((answer.recognition for answer in answers), key=_certainty)
        self._statistics.answered(surest, time.perf_counter() - start_s, age_s)
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
