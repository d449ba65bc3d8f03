# SPDX-License-Identifier: Apache-2.0
"""A run that was evaluated: what was asked and answered, and all that a report says about it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vpr_ros.evaluation.answers import Answer
from vpr_ros.evaluation.truth import Truth
from vpr_ros.place_map import PlaceMap

Pictures = Callable[[Collection[int]], Iterator[tuple[int, np.ndarray]]]


@dataclass(frozen=True)
class Run:
    """Answers to a sequence of pictures, and where they come from.

    Attributes:
        title: One line.
        answers: One a picture, in order.
        truth: What would have been right; None: not known.
        place_map: The map that was asked, as it was at the end.
        threshold: Cosine similarity from which retrieval accepts.
        has_times: Whether stamps are times, rather than picture numbers.
        is_live: Whether the node answered, over DDS, rather than the recognizer in a loop.
        query_pictures: Reads some pictures again, given by `Answer.index`; yields the index and
            uint8 RGB (H, W, 3), in order; leaves out what cannot be read.
        place_pictures: Likewise of places, given by their rows in the map.
        description: Names to JSON values: model, map, query, configuration, command line.
        counts: Live: pictures that the node received, dropped and so on, by the node's own words.
    """

    title: str
    answers: Sequence[Answer]
    truth: Truth | None
    place_map: PlaceMap
    threshold: float
    has_times: bool
    is_live: bool
    query_pictures: Pictures
    place_pictures: Pictures
    description: Mapping[str, Any]
    counts: Mapping[str, int] = field(default_factory=dict)
