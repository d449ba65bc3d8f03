# SPDX-License-Identifier: Apache-2.0
"""Levenberg-Marquardt for problems of a few unknowns with derivatives at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import numpy as np

_State = TypeVar('_State')

_TOLERANCE = 1e-4  # relative change of the cost at which it is done
_MAX_STEPS = 10
_FIRST_DAMPING = 1e-4  # of the diagonal of the normal equations
_MAX_DAMPING = 1e4


class Linearised(NamedTuple):
    """A problem near one state.

    Attributes:
        cost: What is to become small: the sum of the squares, or a robust loss, of which the
            squares are the approximation there (same derivative).
        residuals: (M,).
        jacobian: (M, n), their derivatives for a small step.
    """

    cost: float
    residuals: np.ndarray
    jacobian: np.ndarray


@dataclass(frozen=True)
class Minimum(Generic[_State]):
    """Where least squares ended: the state, and the problem there."""

    state: _State
    residuals: np.ndarray
    jacobian: np.ndarray


def minimise(
    linearise: Callable[[_State], Linearised],
    moved: Callable[[_State, np.ndarray], _State],
    state: _State,
) -> Minimum[_State]:
    """Minimise a cost.

    Args:
        linearise: Gives the problem near a state.
        moved: Makes a state and a step (n,) a state.
        state: Where to begin.
    """
    cost, residuals, jacobian = linearise(state)
    damping = _FIRST_DAMPING
    for _ in range(_MAX_STEPS):
        normal = jacobian.T @ jacobian
        # An unknown that moves nothing is damped, too: its diagonal is zero.
        diagonal = np.maximum(np.diag(normal), 1e-12 * np.trace(normal) + 1e-300)
        step = -np.linalg.solve(normal + np.diag(damping * diagonal), jacobian.T @ residuals)
        candidate = moved(state, step)
        tried = linearise(candidate)
        if tried.cost > cost:
            damping *= 100
            if damping > _MAX_DAMPING:
                break
            continue
        is_done = cost - tried.cost <= _TOLERANCE * cost
        state, (cost, residuals, jacobian) = candidate, tried
        if is_done:
            break
        damping /= 10
    return Minimum(state, residuals, jacobian)
