# SPDX-License-Identifier: Apache-2.0
"""Local bundle adjustment: how far away a keyframe's features are, and how its neighbours stand.

Over a few decimetres the odometry of a hand-held camera is wrong by a degree or two, which alone
moves what is two metres away by a fifth of the way: depths triangulated over it are worth little.
All neighbours together know better, and odometry holds what they cannot tell, above all the length
of the way. Depths are eliminated first (Triggs et al., Bundle Adjustment - A Modern Synthesis,
2000, section 6.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse.csgraph import minimum_spanning_tree

from vpr_ros.verification.rotations import angle_of, cross_matrix, rotation_of, rotvec_of

# Standard deviations of odometry beside pixels that err by one: after rest, after the root of one
# metre, after a turn by one radian. Features of one picture err together (blur, rolling shutter),
# so many of them must not outvote odometry as independent ones would: these are 3 and 10 times
# smaller than `_WAY` and the like. From a third to three times as much, closures hardly change.
_ROTATION = (0.002, 0.016, 0.016)  # rad
_TRANSLATION = (0.0005, 0.005)  # m
_WAY = (0.005, 0.025)  # m, how well odometry does know a length
_LOSSES = ((16.0, 5), (4.0, 5), (2.0, 8))  # Cauchy's scale, px, and steps: ever less disagreement
_MIN_SHARED = 12  # features, without which a neighbour does not help
_NEAREST = 0.05  # metres, and
_FARTHEST = 1000.0
_DONE = 1e-4  # relative change of the cost
_DAMPING = (1e-3, 1e-6, 1e3)  # first, least, most


@dataclass(frozen=True)
class Sighting:
    """What a neighbour shares with the keyframe.

    Attributes:
        motion: (4, 4) from the keyframe's camera to the neighbour's, metres, by odometry.
        rows: (M,) int64, which of the keyframe's rays are seen there, each once.
        seen: (M, 2) where, on the plane z = 1.
        focal_px: Of the neighbour: turns distances on that plane into pixels.
    """

    motion: np.ndarray
    rows: np.ndarray
    seen: np.ndarray
    focal_px: float


@dataclass(frozen=True)
class Depths:
    """What is known of the keyframe's features.

    Attributes:
        rows: (L,) int64, rows of the rays.
        inverse: (L,) float64, inverse depths, 1/m.
        information: (L,) float64, of these, px^-2 m^2.
        scale_error: Standard deviation of all of them together, their share: as far as odometry
            knows the way.
    """

    rows: np.ndarray
    inverse: np.ndarray
    information: np.ndarray
    scale_error: float


def adjust(rays: np.ndarray, sightings: Sequence[Sighting], *, max_error_px: float) -> Depths:
    """Find the depths of a keyframe's features.

    Args:
        rays: (N, 3) of the keyframe's features, z = 1.
        sightings: Of the neighbours; those that share too little do not help.
        max_error_px: Reprojection error from which an observation disagrees.

    Returns:
        Depths of the features that at least one observation agrees on.
    """
    useful = [sighting for sighting in sightings if len(sighting.rows) >= _MIN_SHARED]
    if not useful:
        nothing = np.zeros(0)
        return Depths(np.zeros(0, np.int64), nothing, nothing, 0.0)
    problem = _Problem(rays, useful)
    state = problem.first()
    for scale_px, steps in _LOSSES:
        state = problem.minimise(state, scale_px, steps)
    return problem.depths(state, max_error_px)


@dataclass(frozen=True)
class _Link:
    """Odometry between two of the cameras; camera 0 is the keyframe's."""

    first: int
    second: int
    motion: np.ndarray

    @property
    def way_m(self) -> float:
        return float(np.linalg.norm(self.motion[:3, 3]))

    @property
    def sigmas(self) -> np.ndarray:
        """(6,) of x y z and the rotation about them."""
        turn = angle_of(self.motion[:3, :3])
        rest, walk, by_turn = _ROTATION
        rotation = np.sqrt(rest**2 + walk**2 * self.way_m + (by_turn * turn) ** 2)
        rest, walk = _TRANSLATION
        return np.repeat([np.sqrt(rest**2 + walk**2 * self.way_m), rotation], 3)


@dataclass(frozen=True)
class _State:
    """Motions from the keyframe, (C, 3, 3) and (C, 3), camera 0 at rest; inverse depths (L,)."""

    rotations: np.ndarray
    translations: np.ndarray
    inverse: np.ndarray

    def moved(self, steps: np.ndarray, deeper: np.ndarray) -> _State:
        """Take a step (C, 6) with the cameras and (L,) with the inverse depths."""
        turned = [rotation_of(step[3:]) @ r for step, r in zip(steps, self.rotations, strict=True)]
        inverse = np.clip(self.inverse + deeper, 1 / _FARTHEST, 1 / _NEAREST)
        return _State(np.array(turned), self.translations + steps[:, :3], inverse)


@dataclass(frozen=True)
class _View:
    """Where M features are seen, and how that changes.

    Attributes:
        errors: (M, 2) pixels.
        projected: (M, 2) on the plane z = 1.
        scale: (M, 1) pixels that a motion by one across the view makes.
        turned: (M, 3) rays in the frame of the camera that sees them,
        moved: (M, 3) by inverse depth times this.
    """

    errors: np.ndarray
    projected: np.ndarray
    scale: np.ndarray
    turned: np.ndarray
    moved: np.ndarray

    def by_depth(self) -> np.ndarray:
        """Return (M, 2)."""
        return self.scale * (self.moved[:, :2] - self.projected * self.moved[:, 2:])

    def by_camera(self, inverse: np.ndarray) -> np.ndarray:
        """Return (M, 2, 6), by a step of the camera."""
        by_point = np.zeros((len(self.errors), 2, 3))
        by_point[:, 0, 0] = by_point[:, 1, 1] = self.scale[:, 0]
        by_point[:, :, 2] = -self.projected * self.scale
        slopes = np.empty((len(self.errors), 2, 6))
        slopes[:, :, :3] = by_point * inverse[:, np.newaxis, np.newaxis]
        slopes[:, :, 3:] = -by_point @ cross_matrix(self.turned)
        return slopes


class _Problem:
    """M observations of L features by C - 1 neighbours, and odometry between the cameras."""

    def __init__(self, rays: np.ndarray, sightings: Sequence[Sighting]) -> None:
        counts = [len(sighting.rows) for sighting in sightings]
        rows = np.concatenate([sighting.rows for sighting in sightings])
        self._rows, self._feature = np.unique(rows, return_inverse=True)
        self._camera = np.repeat(np.arange(1, len(sightings) + 1), counts)
        self._rays = rays[rows]
        self._seen = np.concatenate([sighting.seen for sighting in sightings])
        self._focal = np.repeat([sighting.focal_px for sighting in sightings], counts)
        self._motions = np.array([np.eye(4), *(sighting.motion for sighting in sightings)])
        self._links = _links(self._motions)

    def first(self) -> _State:
        """Return the cameras as odometry has them, and the depths that fit."""
        rotations, translations = self._motions[:, :3, :3], self._motions[:, :3, 3]
        turned = np.einsum('mij,mj->mi', rotations[self._camera], self._rays)
        moved = translations[self._camera]
        # seen * (turned_z + d moved_z) = turned_xy + d moved_xy is linear in the inverse depth d
        slope = moved[:, :2] - self._seen * moved[:, 2:]
        offset = self._seen * turned[:, 2:] - turned[:, :2]
        information = self._of_features(np.sum(slope**2, axis=1))
        inverse = self._of_features(np.sum(slope * offset, axis=1)) / np.maximum(
            information, 1e-12
        )
        return _State(rotations, translations, np.clip(inverse, 1 / _FARTHEST, 1 / _NEAREST))

    def minimise(self, state: _State, scale_px: float, steps: int) -> _State:
        """Take Levenberg-Marquardt steps with Cauchy's loss of the errors."""
        damping, least, most = _DAMPING
        cost = self._cost(state, scale_px)
        for _ in range(steps):
            normal = self._normal_equations(state, scale_px)
            while damping <= most:
                candidate = state.moved(*normal.step(damping))
                tried = self._cost(candidate, scale_px)
                if tried <= cost:
                    break
                damping *= 10
            else:
                break
            is_done = cost - tried <= _DONE * cost
            state, cost, damping = candidate, tried, max(damping / 10, least)
            if is_done:
                break
        return state

    def depths(self, state: _State, max_error_px: float) -> Depths:
        """Say what the observations that agree tell."""
        view = self._look(state)
        agrees = np.linalg.norm(view.errors, axis=1) <= max_error_px
        information = self._of_features(agrees * np.sum(view.by_depth() ** 2, axis=1))
        known = np.flatnonzero(information > 0)
        rest, walk = _WAY
        told = sum(link.way_m**2 / (rest**2 + walk**2 * link.way_m) for link in self._links)
        return Depths(
            self._rows[known],
            state.inverse[known],
            information[known],
            float(1 / np.sqrt(max(told, 1e-12))),
        )

    def _of_features(self, values: np.ndarray) -> np.ndarray:
        """Sum what observations (M,) say of each feature, (L,)."""
        return np.bincount(self._feature, values, len(self._rows))

    def _cost(self, state: _State, scale_px: float) -> float:
        errors = self._look(state).errors
        robust = scale_px**2 * np.log1p(np.sum(errors**2, axis=1) / scale_px**2)
        against = [_against(link, state)[0] for link in self._links]
        return float(np.sum(robust) + np.sum(np.square(against)))

    def _look(self, state: _State) -> _View:
        """See the features from all cameras."""
        turned = np.einsum('mij,mj->mi', state.rotations[self._camera], self._rays)
        moved, inverse = state.translations[self._camera], state.inverse[self._feature]
        point = turned + inverse[:, np.newaxis] * moved
        depth = np.maximum(point[:, 2:], _NEAREST)  # what lies behind a camera disagrees anyway
        projected, scale = point[:, :2] / depth, self._focal[:, np.newaxis]
        return _View((projected - self._seen) * scale, projected, scale / depth, turned, moved)

    def _normal_equations(self, state: _State, scale_px: float) -> _NormalEquations:
        view = self._look(state)
        # weighed so that squares have the slope of the loss
        root = 1 / np.sqrt(1 + np.sum(view.errors**2, axis=1, keepdims=True) / scale_px**2)
        errors, by_depth = view.errors * root, view.by_depth() * root
        by_camera = view.by_camera(state.inverse[self._feature]) * root[:, :, np.newaxis]
        n = 6 * len(self._motions)
        of_cameras, gradient = np.zeros((n, n)), np.zeros(n)
        mixed = np.zeros((n, len(self._rows)))
        for camera in range(1, len(self._motions)):
            of_it, its = self._camera == camera, slice(6 * camera, 6 * camera + 6)
            slopes = by_camera[of_it].reshape(-1, 6)
            of_cameras[its, its] = slopes.T @ slopes
            gradient[its] = slopes.T @ errors[of_it].ravel()
            mixed[its, self._feature[of_it]] = np.einsum(
                'mki,mk->im', by_camera[of_it], by_depth[of_it]
            )
        for link in self._links:
            off, by_first, by_second = _against(link, state)
            slopes = np.zeros((6, n))
            slopes[:, 6 * link.first : 6 * link.first + 6] = by_first
            slopes[:, 6 * link.second : 6 * link.second + 6] = by_second
            of_cameras += slopes.T @ slopes
            gradient += slopes.T @ off
        return _NormalEquations(
            of_cameras[6:, 6:],  # the keyframe stays where it is
            mixed[6:],
            self._of_features(np.sum(by_depth**2, axis=1)),
            gradient[6:],
            self._of_features(np.sum(by_depth * errors, axis=1)),
        )


@dataclass(frozen=True)
class _NormalEquations:
    """Of 6 (C - 1) unknowns of cameras and L of features, each of which stands for itself."""

    of_cameras: np.ndarray
    mixed: np.ndarray
    of_features: np.ndarray
    by_cameras: np.ndarray
    by_features: np.ndarray

    def step(self, damping: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the step of the cameras (C, 6) and of the inverse depths (L,)."""
        of_features = self.of_features * (1 + damping) + 1e-6
        share = self.mixed / of_features
        reduced = self.of_cameras + damping * np.diag(np.diag(self.of_cameras))
        reduced -= share @ self.mixed.T
        cameras = -np.linalg.solve(reduced, self.by_cameras - share @ self.by_features)
        deeper = -(self.by_features + self.mixed.T @ cameras) / of_features
        return np.concatenate([np.zeros((1, 6)), cameras.reshape(-1, 6)]), deeper


def _links(motions: np.ndarray) -> list[_Link]:
    """Return odometry between the cameras (C, 4, 4) that are next to each other."""
    centres = -np.einsum('nji,nj->ni', motions[:, :3, :3], motions[:, :3, 3])
    apart = np.linalg.norm(centres[:, np.newaxis] - centres, axis=-1)
    tree = minimum_spanning_tree(apart + 1e-9).tocoo()  # zero would say that there is no edge
    return [
        _Link(int(i), int(j), motions[j] @ np.linalg.inv(motions[i]))
        for i, j in zip(tree.row, tree.col, strict=True)
    ]


def _against(link: _Link, state: _State) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return by how much cameras contradict odometry (6,), in deviations, and slopes (6, 6)."""
    i, j, sigmas = link.first, link.second, link.sigmas
    rotation = state.rotations[j] @ state.rotations[i].T
    turned_way = rotation @ state.translations[i]
    way = state.translations[j] - turned_way - link.motion[:3, 3]
    off = np.concatenate([way, rotvec_of(rotation @ link.motion[:3, :3].T)])
    by_first, by_second = np.zeros((6, 6)), np.eye(6)
    by_first[:3, :3] = by_first[3:, 3:] = -rotation
    by_first[:3, 3:] = -rotation @ cross_matrix(state.translations[i])
    by_second[:3, 3:] = cross_matrix(turned_way)
    weight = 1 / sigmas[:, np.newaxis]
    return off / sigmas, by_first * weight, by_second * weight
