# SPDX-License-Identifier: Apache-2.0
"""Motion model: how far, in steps, the camera may have come since the last picture.

Xu, Fischer, Sünderhauf and Milford (RA-L 2021, see `observation`) compare the odometry with the
way between places and send what finds no such place off the map; without odometry Xu, Sünderhauf
and Milford let the camera move by a few places, forward or back. Both are here one Gaussian over
the distance in steps; `pace` puts paces in the place of the second.

A picture that comes sooner than the camera can pass a place moves the belief by a share of a step:
the step is taken with that probability (a lazy chain), so that a fast camera and a slow one end
with the same belief.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vpr_ros.sequence_filter.config import Motion, SequenceFilterConfig
from vpr_ros.sequence_filter.places import Edges, Places

MAX_STEPS = 24.0  # odometry beyond this between two pictures finds no place
_SIGMAS = 3.0
_CELL_ERROR = 0.5  # steps: the camera is anywhere within its place
_MAX_PRIOR_GROWTH = 3.0


@dataclass(frozen=True)
class Move:
    """One prediction.

    Attributes:
        share: 0..1, probability that a step is taken at all.
        steps: Distance expected, steps.
        sigma: Its standard deviation, steps.
        turn: Turn expected, steps; None: any.
        turn_sigma: Its standard deviation, steps.
        leave: Probability of leaving the map, of a whole step.
        stretch: Time that the step took over the usual time, at least 1.
    """

    share: float
    steps: float
    sigma: float
    turn: float | None
    turn_sigma: float
    leave: float
    stretch: float = 1.0

    @property
    def radius(self) -> float:
        """Steps beyond which no place is looked for."""
        return min(self.steps, MAX_STEPS) + _SIGMAS * min(self.sigma, MAX_STEPS / _SIGMAS)

    def squared_error(self, edges: Edges) -> np.ndarray:
        """Return (E,) squared deviations of edges from what is expected, in sigmas."""
        error = ((edges.steps - self.steps) / self.sigma) ** 2
        if self.turn is not None:
            error += ((edges.turn_steps - self.turn) / self.turn_sigma) ** 2
        return error


def move_by_odometry(motion: Motion, places: Places, config: SequenceFilterConfig) -> Move:
    """Return the prediction for a known motion in a map with positions."""
    way = abs(motion.distance_m) / places.step_m
    turn = abs(np.degrees(motion.yaw_rad)) / config.place_angle_deg
    share = min(1.0, max(way, turn))
    if share > 0:
        way, turn = way / share, turn / share
    return Move(
        share=share,
        steps=way,
        sigma=_CELL_ERROR + config.odometry_error * way,
        turn=turn if places.has_orientations else None,
        turn_sigma=_CELL_ERROR + config.odometry_error * turn,
        leave=config.leave_probability,
    )


def move_by_prior(
    novelty: float, gap_ratio: float, gap_share: float, config: SequenceFilterConfig
) -> Move:
    """Return the prediction where nothing is known of the motion.

    Args:
        novelty: 0..1, how far the picture is new: a camera that sees the same has not moved.
        gap_ratio: Time since the last picture over the usual time; the belief spreads with it.
        gap_share: 0..1, time since the last picture over the longest gap that is bridged: this
            share of the belief becomes unknown.
        config: The rest.
    """
    growth = min(max(gap_ratio, 1.0), _MAX_PRIOR_GROWTH)
    unusual = gap_share if gap_ratio > _MAX_PRIOR_GROWTH else 0.0
    return Move(
        share=max(novelty, unusual),
        steps=0.0,
        sigma=config.prior_steps * growth,
        turn=None,
        turn_sigma=1.0,
        leave=1.0 - (1.0 - config.leave_probability) * (1.0 - min(unusual, 1.0)),
        stretch=growth,
    )
