# SPDX-License-Identifier: Apache-2.0
"""The factor graph in GTSAM: the only module that knows it.

Keys are 0, 1, 2, ... in the order of their creation. GTSAM holds Python's lock while it works, so
that nothing else of the process runs meanwhile.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vpr_ros.errors import PoseGraphError
from vpr_ros.pose_graph.closure import Closure, Kind
from vpr_ros.pose_graph.transforms import inverse, moved_covariance

_RELINEARIZE = 1e-3  # rad and m: small, so that costs before and after can be compared
_MAX_UPDATES = 20
_SETTLED = 1e-3  # of the cost, relative
_ANCHOR_SIGMA = 1e-4
_UNKNOWN_RAD = 10.0  # standard deviation of a rotation about which nothing is known
_UNKNOWN_M = 1e3


@dataclass(frozen=True)
class ClosureNoise:
    """What is added to the covariances of closures, for those that come are often too small.

    Attributes:
        translation: m.
        rotation: rad; also of a direction.
        place_radius: m, standard deviation of the distance for closures without a relative pose,
            and the least length for which a direction is as exact as it says.
    """

    translation: float = 0.02
    rotation: float = 0.01
    place_radius: float = 2.0


@dataclass(frozen=True)
class Link:
    """Odometry between two nodes: `first_from_second` (4, 4), covariance (6, 6) in `second`."""

    first: int
    second: int
    first_from_second: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class Edge:
    """A closure between two nodes.

    Attributes:
        match: Key.
        query: Key.
        closure: As it came.
        rank: It is the so manieth that leads to this match.
    """

    match: int
    query: int
    closure: Closure
    rank: int = 1

    @property
    def weighed(self) -> Closure:
        """The closure as it counts: the n-th to one picture an n-th.

        They err together, through what is wrong about that picture's landmarks, and a robot that
        stands must not outvote all other places.
        """
        return replace(self.closure, covariance=self.rank * self.closure.covariance)


@functools.cache
def require_gtsam() -> Any:
    """Return the module gtsam.

    Raises:
        PoseGraphError: It is not installed.
    """
    try:
        import gtsam
    except ImportError as error:
        raise PoseGraphError(
            f'the pose graph needs GTSAM, which does not import ({error}): pip install -r '
            "requirements/slam.txt, or pip install 'gtsam>=4.2' (rosdep has no key for its Python "
            'module; ros-$ROS_DISTRO-gtsam is C++ alone)'
        ) from error
    return gtsam


def between_bases(closure: Closure, noise: ClosureNoise) -> tuple[np.ndarray, np.ndarray]:
    """Return what a closure with a relative pose says of the body.

    Returns:
        Pose (4, 4) of the body at the query in that at the match (DIRECTION: only its rotation
        counts), and its covariance (6, 6) as a small motion of the body at the query.
    """
    by = closure.base_from_query
    return (
        closure.base_from_match @ closure.match_from_query @ inverse(by),
        moved_covariance(by, edge_covariance(closure, noise)),
    )


def edge_covariance(closure: Closure, noise: ClosureNoise) -> np.ndarray:
    """Return the covariance (6, 6) of a closure's pose as a small motion of the query camera."""
    rotation_t = closure.match_from_query[:3, :3].T
    by = np.zeros((6, 6))
    by[:3, 3:] = by[3:, :3] = rotation_t
    floor = np.repeat([noise.rotation**2, noise.translation**2], 3)
    return by @ closure.covariance @ by.T + np.diag(floor)


class Optimizer:
    """Incremental optimisation (ISAM2) of nodes, odometry links and accepted closures.

    Poses are `start_from_base`, (4, 4): start is the pose of the first node.
    """

    def __init__(self, noise: ClosureNoise) -> None:
        """Begin without a node.

        Raises:
            PoseGraphError: GTSAM is not installed.
        """
        self._gtsam = require_gtsam()
        self._noise = noise
        self._factors: dict[Any, Any] = {}  # name (None: anchor; (a, b): link; id: closure)
        self._poses: np.ndarray = np.zeros((0, 4, 4))
        self._size = 0
        self._indices: dict[Any, int] = {}  # of the factors that ISAM2 has
        self._queue: dict[Any, Any] = {}  # factors, numbers and keys for its next update
        self._removals: list[int] = []
        self._new_keys: list[int] = []
        self._begin()

    # What is asked.

    @property
    def cost(self) -> float:
        """Sum of the squared Mahalanobis distances of everything in the graph."""
        return 2 * float(self._isam.getFactorsUnsafe().error(self._isam.calculateEstimate()))

    def poses(self) -> np.ndarray:
        """Return the poses by key (N, 4, 4)."""
        return self._poses[: self._size]

    def closure_ids(self) -> set[int]:
        """Return which closures are in the graph."""
        return {name for name in self._factors if isinstance(name, int)}

    # What is changed; takes effect by `settle`.

    def add_node(self, pose: np.ndarray) -> int:
        """Add a node near a pose and return its key."""
        if self._size == len(self._poses):
            more = np.tile(np.eye(4), (max(64, self._size), 1, 1))
            self._poses = np.concatenate([self._poses, more])
        key, self._size = self._size, self._size + 1
        self._poses[key] = pose
        self._new_keys.append(key)
        if key == 0:
            sigma = self._gtsam.noiseModel.Isotropic.Sigma(6, _ANCHOR_SIGMA)
            self._put(None, self._gtsam.PriorFactorPose3(0, self._pose3(pose), sigma))
        return key

    def add_link(self, link: Link) -> None:
        """Add odometry between two nodes."""
        self._put((link.first, link.second), self._link_factor(link))

    def remove_link(self, first: int, second: int) -> None:
        """Take the odometry between two nodes out again."""
        self._drop((first, second))

    def add_closure(self, closure_id: int, edge: Edge) -> None:
        """Add a closure, as it is."""
        self._put(closure_id, self._closure_factor(edge, self._baseline(edge)))

    def remove_closure(self, closure_id: int) -> None:
        """Take a closure out again."""
        self._drop(closure_id)

    def settle(self) -> None:
        """Optimise until the cost stands."""
        try:
            self._update()
        except RuntimeError:  # ISAM2 met a system that it cannot solve from here
            self._optimize_afresh()

    def start_again(self, poses: np.ndarray) -> None:
        """Optimise everything from other poses (N, 4, 4) by key."""
        self._poses[: self._size] = poses
        self._begin()
        self.settle()

    def _begin(self) -> None:
        """Make a new ISAM2, to which everything will be given."""
        params = self._gtsam.ISAM2Params()
        params.setRelinearizeThreshold(_RELINEARIZE)
        params.relinearizeSkip = 1
        params.setFactorization('QR')  # Cholesky gives up where odometry has jumped
        self._isam = self._gtsam.ISAM2(params)
        self._indices = {}
        self._num_given = 0
        self._queue = dict(self._factors)
        self._removals = []
        self._new_keys = list(range(self._size))

    def _put(self, name: Any, factor: Any) -> None:
        self._factors[name] = self._queue[name] = factor

    def _drop(self, name: Any) -> None:
        del self._factors[name]
        if self._queue.pop(name, None) is None:
            self._removals.append(self._indices.pop(name))

    def _update(self) -> None:
        if not (self._queue or self._removals):
            return
        factors, values = self._gtsam.NonlinearFactorGraph(), self._gtsam.Values()
        for name, factor in self._queue.items():
            factors.add(factor)
            self._indices[name] = self._num_given  # ISAM2 numbers them in the order they come
            self._num_given += 1
        for key in self._new_keys:
            values.insert(key, self._pose3(self._poses[key]))
        removals = self._removals
        self._queue, self._removals, self._new_keys = {}, [], []
        self._isam.update(factors, values, removals)
        cost = self.cost
        for _ in range(_MAX_UPDATES):
            self._isam.update()
            before, cost = cost, self.cost
            if abs(before - cost) <= _SETTLED * max(1.0, cost):
                break
        self._take_over(self._isam.calculateEstimate())

    def _optimize_afresh(self) -> None:
        """Let Levenberg and Marquardt find the poses, then give everything to a new ISAM2."""
        factors, values = self._gtsam.NonlinearFactorGraph(), self._gtsam.Values()
        for factor in self._factors.values():
            factors.add(factor)
        for key in range(self._size):
            values.insert(key, self._pose3(self._poses[key]))
        self._take_over(self._gtsam.LevenbergMarquardtOptimizer(factors, values).optimize())
        self._begin()
        self._update()

    def _take_over(self, values: Any) -> None:
        rows = self._gtsam.utilities.extractPose3(values)  # R row by row, then t; by key
        self._poses[: self._size, :3, :3] = rows[:, :9].reshape(-1, 3, 3)
        self._poses[: self._size, :3, 3] = rows[:, 9:]

    # Factors.

    def _pose3(self, matrix: np.ndarray) -> Any:
        return self._gtsam.Pose3(matrix)

    def _link_factor(self, link: Link) -> Any:
        noise = self._gtsam.noiseModel.Gaussian.Covariance(link.covariance)
        measured = self._pose3(link.first_from_second)
        return self._gtsam.BetweenFactorPose3(link.first, link.second, measured, noise)

    def _baseline(self, edge: Edge) -> float:
        """Metres between the two nodes as the graph has them now."""
        ends = self._poses[[edge.match, edge.query], :3, 3]
        return float(np.linalg.norm(ends[1] - ends[0]))

    def _closure_factor(self, edge: Edge, baseline_m: float) -> Any:
        gtsam, closure = self._gtsam, edge.weighed
        if closure.kind is Kind.METRIC:
            measured, covariance = between_bases(closure, self._noise)
            return self._between(edge, measured, covariance)
        if closure.kind is Kind.PLACE:
            sigmas = np.repeat([_UNKNOWN_RAD, self._noise.place_radius], 3)
            noise = gtsam.noiseModel.Diagonal.Sigmas(sigmas)
            return gtsam.BetweenFactorPose3(edge.match, edge.query, gtsam.Pose3(), noise)
        return self._direction_factor(edge, baseline_m)

    def _direction_factor(self, edge: Edge, baseline_m: float) -> Any:
        """Rotation, and a line on which the query camera stands, in front or behind.

        GTSAM's EssentialMatrixConstraint says the same of the angle, but it is stuck where the
        drifted direction is opposite, and has no value without a baseline. A line has neither
        fault; how far beside it the camera may be grows with the baseline, which is unknown:
        the larger of the place's radius and what the graph has now.
        """
        closure, noise = edge.weighed, self._noise
        rotation_t = closure.match_from_query[:3, :3].T
        along = rotation_t @ closure.match_from_query[:3, 3]  # in the query's frame
        reach_m = max(noise.place_radius, baseline_m)
        covariance = edge_covariance(closure, replace(noise, translation=noise.rotation))
        covariance[3:] *= reach_m  # what was of a unit vector becomes metres
        covariance[:, 3:] *= reach_m
        covariance[3:, 3:] += _UNKNOWN_M**2 * np.outer(along, along)
        turn = np.eye(4)
        turn[:3, :3] = closure.match_from_query[:3, :3]
        by = closure.base_from_query
        measured = closure.base_from_match @ turn @ inverse(by)
        return self._between(edge, measured, moved_covariance(by, covariance))

    def _between(self, edge: Edge, measured: np.ndarray, covariance: np.ndarray) -> Any:
        noise = self._gtsam.noiseModel.Gaussian.Covariance(covariance)
        measurement = self._pose3(measured)
        return self._gtsam.BetweenFactorPose3(edge.match, edge.query, measurement, noise)

    # Who is wrong?

    def graduated(
        self, links: Sequence[Link], edges: Mapping[int, Edge], confidence: float
    ) -> tuple[dict[int, float], dict[int, np.ndarray]]:
        """Weigh closures against each other: graduated non-convexity, truncated least squares.

        Yang et al., Graduated Non-Convexity for Robust Spatial Perception, RA-L 2020, as GTSAM
        has it. What this graph holds at the moment decides only where the search begins.

        Args:
            links: A chain over all nodes of the edges; odometry is trusted.
            edges: The closures by id.
            confidence: 0..1, share of right closures within the threshold.

        Returns:
            Weight by id, 0 wrong to 1 right; poses (4, 4) by key of the chain's nodes.
        """
        gtsam = self._gtsam
        graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values()
        keys = _nodes_of(links)
        anchor = gtsam.noiseModel.Isotropic.Sigma(6, _ANCHOR_SIGMA)
        graph.add(gtsam.PriorFactorPose3(keys[0], self._pose3(self._poses[keys[0]]), anchor))
        for key in keys:
            values.insert(key, self._pose3(self._poses[key]))
        for link in links:
            graph.add(self._link_factor(link))
        num_trusted = graph.size()
        for edge in edges.values():
            graph.add(self._closure_factor(edge, self._baseline(edge)))
        params = gtsam.GncLMParams()
        params.setLossType(gtsam.GncLossType.TLS)
        params.setKnownInliers(list(range(num_trusted)))
        optimizer = gtsam.GncLMOptimizer(graph, values, params)
        optimizer.setInlierCostThresholdsAtProbability(confidence)
        result = optimizer.optimize()
        weights = optimizer.getWeights()[num_trusted:].tolist()
        poses = {key: np.asarray(result.atPose3(key).matrix()) for key in keys}
        return dict(zip(edges, weights, strict=True)), poses


def _nodes_of(links: Iterable[Link]) -> list[int]:
    return list(dict.fromkeys(key for link in links for key in (link.first, link.second)))
