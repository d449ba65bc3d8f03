# SPDX-License-Identifier: Apache-2.0
"""Give the features of all keyframes of a map their depth, once, when it is made."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from vpr_ros.keyframe_store import KeyframeStore
from vpr_ros.verification.metric import Keyframe, Landmarks
from vpr_ros.verification.neighbours import REACH
from vpr_ros.verification.verifier import landmarks_of


def find_landmarks(keyframes: KeyframeStore, progress: Callable[[int], None] | None = None) -> int:
    """Triangulate where poses and intrinsics are known, and store what was found.

    Args:
        keyframes: Those that have landmarks already keep them.
        progress: Is told how many keyframes are done.

    Returns:
        The number of keyframes that have landmarks.
    """
    remembered = _Remembered(keyframes)
    num_found = 0
    for done, entry in enumerate(keyframes.index, start=1):
        row, num_landmarks = int(entry['row']), int(entry['num_landmarks'])
        if num_landmarks < 0 and (found := landmarks_of(row, remembered)) is not None:
            keyframes.keep_landmarks(row, found)
            num_landmarks = len(found.rows)
        num_found += num_landmarks > 0
        if progress is not None:
            progress(done)
    return num_found


class _Remembered:
    """A store whose keyframes are read once as long as their neighbours are looked at."""

    def __init__(self, keyframes: KeyframeStore) -> None:
        self._keyframes = keyframes
        self._read = lru_cache(maxsize=4 * REACH)(keyframes.keyframe)

    def keyframe(self, place: int) -> Keyframe | None:
        return self._read(place)

    def neighbours(self, place: int) -> list[int]:
        return self._keyframes.neighbours(place)

    def landmarks(self, place: int) -> Landmarks | None:
        return self._keyframes.landmarks(place)
