# SPDX-License-Identifier: Apache-2.0
"""A recognizer's answers to a run of pictures, offline or live."""

from __future__ import annotations

from dataclasses import dataclass

from vpr_ros.recognizer import Recognition


@dataclass(frozen=True)
class Answer:
    """What came of one picture.

    Attributes:
        index: Number of the picture in its source, from 0.
        name: Its file name, or topic and time.
        stamp_ns: Its stamp in the source, nanoseconds.
        camera: Number of the camera.
        recognition: What the recognizer said; None: the picture was dropped before it was looked
            at, which happens in live operation only.
        latency_s: From the picture at hand (live: handed to DDS) to the answer; NaN without one.
    """

    index: int
    name: str
    stamp_ns: int
    camera: int
    recognition: Recognition | None
    latency_s: float
