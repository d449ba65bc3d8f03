# SPDX-License-Identifier: Apache-2.0
"""What the filter is given and what comes back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vpr_ros.settings import check_settings, setting

MODES = ('bayes', 'sequence', 'off')


@dataclass(frozen=True)
class SequenceFilterConfig:
    """What can be tuned; every number holds for all places alike."""

    mode: str = setting(
        'bayes',
        'bayes: a Bayes filter over the places; sequence: n successive '
        'pictures must agree; off: every picture for itself',
        choices=MODES,
    )
    min_probability: float = setting(
        0.9,
        'bayes: probability of the place and those around it from which it is consistent',
        range=(0.5, 1.0),
    )
    min_pictures: int = setting(
        3,
        'Successive pictures that must agree; a picture that shows nothing new is not counted',
        range=(1, 1000),
    )
    likelihood_ratio: float = setting(
        20.0,
        'bayes: how many times likelier the nearest places are than the '
        'farthest (97.5 against 2.5 % of the descriptor distances); larger trusts a single '
        'picture more',
        range=(1.1, 1000.0),
    )
    off_map_relief: float = setting(
        0.5,
        'bayes: how much less similar than the threshold a picture may be '
        'before it speaks for being off the map, in spreads of the descriptor distances; a '
        'quarter more where the pace is followed',
        range=(0.0, 2.0),
    )
    leave_probability: float = setting(
        0.02,
        'bayes: probability of leaving the map from one place to the next',
        range=(0.0001, 0.5),
    )
    return_probability: float = setting(
        0.2,
        'bayes: probability of being back on the map, anywhere, one place on',
        range=(0.0001, 0.9),
    )
    odometry_error: float = setting(
        0.1,
        'Error of the odometry between two pictures, share of the way',
        range=(0.0, 1.0),
    )
    prior_steps: float = setting(
        3.0,
        'Without odometry: places that the camera passes between two pictures, '
        'either way (at most, in maps without positions that are followed at a pace; else '
        'standard deviation)',
        range=(0.5, 8.0),
    )
    place_radius_m: float = setting(
        0.25,
        'Smallest distance between different places, metres; maps with wider '
        'spacing go by their spacing',
        range=(0.01, 100.0),
    )
    place_angle_deg: float = setting(
        15.0,
        'Turn that makes another place, degrees, for maps with orientations',
        range=(1.0, 180.0),
    )
    novelty: float = setting(
        0.5,
        'Change of the similarities, relative to their spread, from which a '
        'picture is new evidence in full; 0.0 takes every picture in full',
        range=(0.0, 2.0),
    )
    max_gap_s: float = setting(
        30.0,
        'Time without pictures after which nothing is assumed any more, seconds',
        range=(0.1, 86400.0),
    )

    def __post_init__(self) -> None:
        """Refuse what lies outside the stated ranges.

        Raises:
            ValueError: A value is out of its range; the text names both.
        """
        check_settings(self)


@dataclass(frozen=True)
class Motion:
    """How the camera moved since the last picture that the filter was given.

    Attributes:
        distance_m: Straight way between the two, metres; backwards counts as forwards.
        yaw_rad: Turn between the two, radians; its sign does not matter.
    """

    distance_m: float
    yaw_rad: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no odometry can mean.

        Raises:
            ValueError: A value is not finite.
        """
        if not (math.isfinite(self.distance_m) and math.isfinite(self.yaw_rad)):
            raise ValueError(f'a motion must be finite: pass None where it is unknown, not {self}')


@dataclass(frozen=True)
class Belief:
    """What the filter holds after a picture.

    Attributes:
        rows: (K,) int64, the places asked about.
        probability: (K,) float64 0..1, of each of `rows`: that the picture was taken there or at
            a place too near to be told apart. Neighbours share mass, so these may sum to more
            than 1. NaN in the modes that know no probability.
        part: (K,) float64 0..1, that the picture was taken in the part of the map around each,
            given that it was taken on the map; NaN likewise. What looks alike in another part
            lowers it, not what looks alike next to it.
        off_map: Probability of being off the map; NaN likewise. `best_probability` over
            `1 - off_map`, the same given that the camera is on the map, ranks answers best in
            changed light, which lowers every similarity and so raises `off_map` alone.
        best_row: The likeliest place; -1: none.
        best_probability: That the picture was taken at `best_row` or around it; where that is
            surest, so not below `probability` of `best_row`.
        consistent_count: Successive pictures, this one included, that agree on where the camera
            is; pictures that show nothing new are not counted.
        is_consistent: Whether `best_row` may be trusted as far as time tells.
        reason: '' if consistent, or else `code: sentence`, with code no_places, off_map,
            ambiguous, unsupported, few_pictures, below_threshold or filter_off.
        restarted: '' or why everything before this picture was forgotten.
    """

    rows: np.ndarray
    probability: np.ndarray
    part: np.ndarray
    off_map: float
    best_row: int
    best_probability: float
    consistent_count: int
    is_consistent: bool
    reason: str
    restarted: str = ''
