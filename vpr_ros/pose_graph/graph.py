# SPDX-License-Identifier: Apache-2.0
"""Odometry and loop closures in, a corrected trajectory out, and a reason for every closure.

A closure passes three questions, each with its own reason:

1. Can its stamps be found in the odometry?
2. Does it agree with odometry alone, within what odometry may have drifted between the two?
   This does not depend on other closures, nor on their order.
3. Does it agree with the graph as it is? What it adds to the cost is a chi-square. If it does
   not, one of the closures is wrong, not always the new one: graduated non-convexity over all of
   them says which, and may take back what was accepted earlier.

Transforms: `start` is the first odometry pose of the camera, `odom` and `base` are the frames of
the odometry, `map` is `odom` without its drift (the same at the start).
"""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from scipy.special import chdtri

from vpr_ros.pose_graph.closure import Closure, Decision, Kind, Outcome
from vpr_ros.pose_graph.odometry import (
    Arrival,
    OdometryNoise,
    OdometryPose,
    OdometryTrack,
    has_moved,
)
from vpr_ros.pose_graph.optimizer import (
    ClosureNoise,
    Edge,
    Link,
    Optimizer,
    between_bases,
)
from vpr_ros.pose_graph.transforms import (
    difference,
    inverse,
    moved_covariance,
    quaternion_xyzw,
    transform,
)
from vpr_ros.poses import NS_PER_S, Trajectory

_logger = logging.getLogger(__name__)

_SAME_NODE_NS = 1_000_000
_MAX_WAITING = 1000
_RIGHT = 0.5  # weight from which graduated non-convexity calls a closure right
_ASK_AGAIN = 0.1  # disputed closures for every accepted one until all are weighed again
_PER_STRETCH = 20  # closures between the same two stretches of the way: fewer cost accuracy
_REDUNDANT = (
    'redundant: the graph has such closures from the same short stretch of the way to the same'
)
_TINY = 1e-10 * np.eye(6)
_FREEDOMS = {Kind.METRIC: 6, Kind.DIRECTION: 5, Kind.PLACE: 3}


@dataclass(frozen=True)
class PoseGraphConfig:
    """How the graph is built and what is believed.

    Attributes:
        keyframe_distance_m: A node after so many metres,
        keyframe_angle_rad: or so much turn.
        max_odom_gap_s: A stamp between two odometry poses further apart is not placed.
        stamp_tolerance_s: A stamp so little before the first odometry pose is placed there.
        closure_wait_s: How far ahead of odometry a closure may be to wait for it.
        gate: Probability with which a right closure agrees with odometry alone.
        confidence: Probability with which a right closure agrees with the others.
        odometry: Noise of the odometry.
        closure: Noise added to closures.
    """

    keyframe_distance_m: float = 0.2
    keyframe_angle_rad: float = 0.2
    max_odom_gap_s: float = 0.5
    stamp_tolerance_s: float = 0.05
    closure_wait_s: float = 10.0
    gate: float = 0.9999
    confidence: float = 0.999
    odometry: OdometryNoise = field(default_factory=OdometryNoise)
    closure: ClosureNoise = field(default_factory=ClosureNoise)


@dataclass(frozen=True)
class Node:
    """A moment of the trajectory.

    Attributes:
        stamp_ns: When.
        key: Its number in the optimiser.
        start_from_base: (4, 4) by odometry alone.
        variances: (2,) of the odometry so far, as OdometryPose has them.
        covariance: (6, 6) of the odometry so far, as a small motion in the frame `start`.
    """

    stamp_ns: int
    key: int
    start_from_base: np.ndarray
    variances: np.ndarray
    covariance: np.ndarray


class PoseGraph:
    """One run: from the first odometry pose to `reset`.

    Attributes:
        config: As given.
        decisions: The newest decision on every closure, by id.
        num_resets: How often the run began anew.
        num_late: Odometry poses that came after a newer one and were left out.
        num_jumps: Odometry steps faster than can be.
    """

    def __init__(self, config: PoseGraphConfig | None = None) -> None:
        """Begin without a pose.

        Raises:
            PoseGraphError: GTSAM is not installed.
        """
        self.config = config or PoseGraphConfig()
        self.num_resets = 0
        self._next_id = 0
        self._clear()

    def reset(self, cause: str) -> None:
        """Forget the run and begin anew, and say why."""
        _logger.warning(
            '%s: forgetting %d nodes and %d closures', cause, len(self.nodes), len(self.decisions)
        )
        self.num_resets += 1
        self._clear()

    def _clear(self) -> None:
        self._track = OdometryTrack(self.config.odometry)
        self._optimizer = Optimizer(self.config.closure)
        self._odom_from_start = np.eye(4)
        self.nodes: list[Node] = []
        self._stamps_ns: list[int] = []
        self._keyframes_ns: list[int] = []
        self._edges: dict[int, Edge] = {}  # of the closures that passed the gate
        self._accepted_in: Counter[tuple[int, int]] = Counter()  # by stretch of match and query
        self._accepted_of: Counter[int] = Counter()  # closures that lead to a node, by its key
        self._disputed = 0  # since all closures were weighed
        self._waiting: dict[int, Closure] = {}
        self.decisions: dict[int, Decision] = {}
        self.num_late = 0
        self.num_jumps = 0

    # In.

    def add_odometry(
        self, stamp_ns: int, position: np.ndarray, orientation_xyzw: np.ndarray
    ) -> None:
        """Take over a pose of the base in the odometry's frame.

        A stamp more than a second before the newest one is a clock that was set back (a bag that
        loops): the run begins anew.

        Args:
            stamp_ns: Nanoseconds.
            position: (3,) metres.
            orientation_xyzw: (4,) unit quaternion.

        Raises:
            ValueError: It is no pose.
        """
        odom_from_base = transform(position, orientation_xyzw)
        if self._track.is_set_back(stamp_ns):
            back_s = (self._track.last_ns - stamp_ns) / NS_PER_S
            self.reset(f'odometry stamps jumped back by {back_s:.3f} s')
        arrival = self._track.add(stamp_ns, position, quaternion_xyzw(odom_from_base))
        if arrival is Arrival.LATE:
            self.num_late += 1
        elif arrival is Arrival.JUMPED:
            self.num_jumps += 1
            _logger.warning(
                'odometry jumped before %.3f s, faster than %g m/s: this step is not believed',
                stamp_ns / NS_PER_S,
                self.config.odometry.max_speed,
            )
        if arrival in (Arrival.KEPT, Arrival.JUMPED):
            self._make_keyframe(self._track[len(self._track) - 1])

    def add_closure(self, closure: Closure) -> int:
        """Take over a closure and return its id; `update` decides."""
        closure_id, self._next_id = self._next_id, self._next_id + 1
        self._waiting[closure_id] = closure
        return closure_id

    def update(self) -> list[Decision]:
        """Optimise with what has come since the last time.

        Returns:
            The decisions that are new or have changed, also on earlier closures.
        """
        before = dict(self.decisions)
        self._optimizer.settle()
        while passed := self._place_waiting():
            self._judge(passed)
        if self._disputed > _ASK_AGAIN * len(self._optimizer.closure_ids()):
            self._weigh_all()
        return self._changed(before)

    def settle(self) -> list[Decision]:
        """As `update`, and weigh all closures again if any is disputed."""
        before = dict(self.decisions)
        self.update()
        if self._disputed:
            self._weigh_all()
        return self._changed(before)

    def _changed(self, before: dict[int, Decision]) -> list[Decision]:
        """Return the decisions that say something else than before."""
        return [
            decision
            for closure_id, decision in self.decisions.items()
            if closure_id not in before or before[closure_id].verdict != decision.verdict
        ]

    # Out.

    @property
    def map_from_odom(self) -> np.ndarray:
        """(4, 4) what takes the newest odometry pose to the corrected one."""
        if not self.nodes:
            return np.eye(4)
        node = self.nodes[-1]
        start = self._odom_from_start
        estimate = self._optimizer.poses()[node.key]
        return start @ estimate @ inverse(node.start_from_base) @ inverse(start)

    @property
    def last_odometry_ns(self) -> int | None:
        """Stamp of the newest odometry pose."""
        return self._track.last_ns if len(self._track) else None

    def map_from_base(self) -> np.ndarray:
        """Return the corrected poses of the nodes (N, 4, 4), in the order of time."""
        poses = self._optimizer.poses()[[node.key for node in self.nodes]]
        return self._odom_from_start @ poses

    def trajectory(self) -> Trajectory:
        """Return the corrected poses of the base in `map`, one a node."""
        return _trajectory(self._stamps_ns, self.map_from_base())

    def odometry(self) -> Trajectory:
        """Return the poses of the same nodes by odometry alone, of the base in `odom`."""
        poses = np.array([n.start_from_base for n in self.nodes]).reshape(-1, 4, 4)
        return _trajectory(self._stamps_ns, self._odom_from_start @ poses)

    def links(self) -> list[tuple[int, int, np.ndarray, np.ndarray]]:
        """Return the odometry edges of the base.

        Returns:
            Numbers of two nodes, first_from_second (4, 4), and the covariance (6, 6) of a small
            motion of the second.
        """
        found = []
        for i, (first, second) in enumerate(pairwise(self.nodes)):
            link = self._link(first, second)
            found.append((i, i + 1, link.first_from_second, link.covariance))
        return found

    def closures(self) -> list[tuple[int, int, np.ndarray, np.ndarray]]:
        """Return the accepted METRIC closures as `links` returns odometry."""
        number = {node.key: i for i, node in enumerate(self.nodes)}
        found = []
        for closure_id in sorted(self._optimizer.closure_ids()):
            edge = self._edges[closure_id]
            if edge.closure.kind is Kind.METRIC:
                measured = between_bases(edge.weighed, self.config.closure)
                found.append((number[edge.match], number[edge.query], *measured))
        return found

    def edges(self) -> list[tuple[int, int, bool]]:
        """Return the closures that were compared: keys of match and query, whether accepted."""
        accepted = self._optimizer.closure_ids()
        return [(e.match, e.query, i in accepted) for i, e in self._edges.items()]

    # Nodes.

    def _make_keyframe(self, pose: OdometryPose) -> None:
        """Append a node if the newest odometry pose is far enough from the last one."""
        if not self.nodes:
            self._odom_from_start = transform(pose.position, pose.orientation_xyzw)
            self._insert_keyframe(pose)
            return
        config = self.config
        if has_moved(
            self.nodes[-1].start_from_base,
            self._start_from_base(pose),
            config.keyframe_distance_m,
            config.keyframe_angle_rad,
        ):
            self._insert_keyframe(pose)

    def _insert_keyframe(self, pose: OdometryPose) -> None:
        self._insert(pose)
        self._keyframes_ns.append(pose.stamp_ns)

    def _start_from_base(self, pose: OdometryPose) -> np.ndarray:
        odom_from_base = transform(pose.position, pose.orientation_xyzw)
        return inverse(self._odom_from_start) @ odom_from_base

    def _node_at(self, stamp_ns: int) -> Node:
        """Return the node at a stamp within the odometry, a new one if need be."""
        after = bisect_left(self._stamps_ns, stamp_ns)
        for i in (after - 1, after):
            if 0 <= i < len(self.nodes) and (abs(self._stamps_ns[i] - stamp_ns) <= _SAME_NODE_NS):
                return self.nodes[i]
        return self._insert(self._track.at(stamp_ns))

    def _insert(self, pose: OdometryPose) -> Node:
        """Make a node where the odometry was; the link it falls into is parted in two."""
        place = bisect_right(self._stamps_ns, pose.stamp_ns)
        base = self._start_from_base(pose)
        if place == 0:
            node = Node(
                pose.stamp_ns,
                self._optimizer.add_node(np.eye(4)),
                base,
                pose.variances,
                np.zeros((6, 6)),
            )
        else:
            previous = self.nodes[place - 1]
            motion = inverse(previous.start_from_base) @ base
            key = self._optimizer.add_node(self._optimizer.poses()[previous.key] @ motion)
            following = self.nodes[place] if place < len(self.nodes) else None
            summed = self._summed_covariance(previous, pose, base, following)
            node = Node(pose.stamp_ns, key, base, pose.variances, summed)
            self._optimizer.add_link(self._link(previous, node))
            if following is not None:
                self._optimizer.remove_link(previous.key, following.key)
                self._optimizer.add_link(self._link(node, following))
        self.nodes.insert(place, node)
        self._stamps_ns.insert(place, pose.stamp_ns)
        return node

    def _summed_covariance(
        self, previous: Node, pose: OdometryPose, base: np.ndarray, following: Node | None
    ) -> np.ndarray:
        """Return a new node's `Node.covariance`; never less than before it or more than after."""
        if following is not None:
            whole = float(np.sum(following.variances - previous.variances))
            part = float(np.sum(pose.variances - previous.variances))
            share = part / whole if whole > 0 else 0.0
            return previous.covariance + share * (following.covariance - previous.covariance)
        translation, rotation = pose.variances - previous.variances
        of_base = np.diag(np.repeat([rotation, translation], 3))
        return previous.covariance + moved_covariance(base, of_base)

    def _link(self, first: Node, second: Node) -> Link:
        """Return the odometry between two nodes, with all that lies between them."""
        covariance = moved_covariance(
            inverse(second.start_from_base), second.covariance - first.covariance
        )
        return Link(
            first.key,
            second.key,
            inverse(first.start_from_base) @ second.start_from_base,
            (covariance + covariance.T) / 2 + _TINY,
        )

    # Closures.

    def _place_waiting(self) -> list[int]:
        """Find the nodes of the closures that wait; returns those that passed the gate.

        No more between the same two stretches than may be accepted: the others wait for that.
        """
        passed: list[int] = []
        new_in: Counter[tuple[int, int]] = Counter()
        for closure_id, closure in list(self._waiting.items()):
            reason, waits = self._where(closure)
            if waits and len(self._waiting) <= _MAX_WAITING:
                self._decide(closure_id, closure, Outcome.WAITING, reason)
                continue
            stretches = self._stretches(closure)
            if not reason and 0 < new_in[stretches] >= _PER_STRETCH - self._accepted_in[stretches]:
                continue
            del self._waiting[closure_id]
            if reason:
                self._decide(closure_id, closure, Outcome.REJECTED, reason)
            elif self._is_redundant(closure):
                self._decide(closure_id, closure, Outcome.REDUNDANT, _REDUNDANT)
            elif self._passes_gate(closure_id, closure):
                passed.append(closure_id)
                new_in[stretches] += 1
        return passed

    def _where(self, closure: Closure) -> tuple[str, bool]:
        """Say why a closure cannot be placed ('' if it can), and whether waiting may help."""
        if fault := closure.fault():
            return f'malformed: {fault}', False
        if not len(self._track):
            return 'no_odometry: no odometry has come yet', True
        stamps = {'query': closure.query_stamp_ns, 'match': closure.match_stamp_ns}
        for name, stamp_ns in stamps.items():
            reason, waits = self._where_stamp(name, stamp_ns)
            if reason:
                return reason, waits
        if abs(closure.query_stamp_ns - closure.match_stamp_ns) <= _SAME_NODE_NS:
            return 'same_picture: query and match have the same stamp', False
        return '', False

    def _where_stamp(self, name: str, stamp_ns: int) -> tuple[str, bool]:
        """Say the same of the stamp of its `name`, query or match."""
        config, track = self.config, self._track
        before_s = (track.first_ns - stamp_ns) / NS_PER_S
        if before_s > config.stamp_tolerance_s:
            return (
                f'before_odometry: the {name} was taken {before_s:.3f} s before the first '
                'odometry pose (a map of another run?)',
                False,
            )
        ahead_s = (stamp_ns - track.last_ns) / NS_PER_S
        if ahead_s > config.closure_wait_s:
            return (
                f'ahead_of_odometry: the {name} was taken {ahead_s:.3f} s after the newest '
                'odometry pose; do odometry and camera use the same clock?',
                False,
            )
        if ahead_s > 0:
            return f'waits: odometry is {ahead_s:.3f} s behind the {name}', True
        gap_s = track.gap_s(max(stamp_ns, track.first_ns))
        if gap_s > config.max_odom_gap_s:
            return (
                f'odometry_gap: the {name} lies in {gap_s:.3f} s without odometry, more than '
                f'max_odom_gap_s {config.max_odom_gap_s:g}',
                False,
            )
        return '', False

    def _stretches(self, closure: Closure) -> tuple[int, int]:
        """Return between which keyframes match and query lie, by the numbers of those before."""
        return (
            bisect_right(self._keyframes_ns, closure.match_stamp_ns),
            bisect_right(self._keyframes_ns, closure.query_stamp_ns),
        )

    def _is_redundant(self, closure: Closure) -> bool:
        """Tell whether a closure adds a node to a robot that stands, and nothing else.

        One that contradicts the graph is never redundant: what is in there may be wrong.
        """
        if self._accepted_in[self._stretches(closure)] < _PER_STRETCH:
            return False
        if closure.kind is Kind.PLACE:
            return True
        expected = inverse(self._now(closure.match_stamp_ns)) @ self._now(closure.query_stamp_ns)
        measured, covariance = between_bases(closure, self.config.closure)
        error = difference(measured, expected)
        used = slice(0, 6 if closure.kind is Kind.METRIC else 3)
        error, covariance = error[used], covariance[used, used]
        squared = float(error @ np.linalg.solve(covariance, error))
        return squared <= _limit(self.config.confidence, len(error))

    def _now(self, stamp_ns: int) -> np.ndarray:
        """Return start_from_base (4, 4) at a stamp as the graph has it, without a new node."""
        pose = self._track.at(max(stamp_ns, self._track.first_ns))
        node = self.nodes[bisect_right(self._stamps_ns, pose.stamp_ns) - 1]
        motion = inverse(node.start_from_base) @ self._start_from_base(pose)
        return self._optimizer.poses()[node.key] @ motion

    def _passes_gate(self, closure_id: int, closure: Closure) -> bool:
        """Make the nodes, and compare the closure with what odometry alone says."""
        first_ns = self._track.first_ns
        match = self._node_at(max(closure.match_stamp_ns, first_ns))
        query = self._node_at(max(closure.query_stamp_ns, first_ns))
        edge = Edge(match.key, query.key, closure)
        squared, freedoms = self._against_odometry(match, query, closure)
        limit = _limit(self.config.gate, freedoms)
        if squared > limit:
            reason = (
                f'against_odometry: chi-square {squared:.1f} above {limit:.1f}: odometry would '
                'have to be off by far more than its noise parameters say'
            )
            self._decide(closure_id, closure, Outcome.REJECTED, reason, squared=squared)
            return False
        self._edges[closure_id] = edge
        return True

    def _against_odometry(self, match: Node, query: Node, closure: Closure) -> tuple[float, int]:
        """Return the squared Mahalanobis distance to odometry, and how many values it has."""
        first, second = sorted((match, query), key=lambda node: node.stamp_ns)
        link = self._link(first, second)
        odometry, covariance = link.first_from_second, link.covariance
        if first is query:  # the match is the later one: turn the link round
            covariance = moved_covariance(odometry, covariance)
            odometry = inverse(odometry)
        if closure.kind is Kind.PLACE:
            apart = odometry[:3, 3]
            rotation = odometry[:3, :3]
            spread = rotation @ covariance[3:, 3:] @ rotation.T
            spread = spread + self.config.closure.place_radius**2 * np.eye(3)
            return float(apart @ np.linalg.solve(spread, apart)), 3
        measured, of_closure = between_bases(closure, self.config.closure)
        error, total = difference(measured, odometry), covariance + of_closure
        used = slice(0, 6 if closure.kind is Kind.METRIC else 3)  # a direction says too little
        error, total = error[used], total[used, used]
        return float(error @ np.linalg.solve(total, error)), len(error)

    def _judge(self, closure_ids: list[int]) -> None:
        """Add closures that agree with the graph; the others are disputed."""
        if closure_ids:
            self._optimizer.settle()  # the nodes that were made for them
        for closure_id in closure_ids:
            if not self._agrees(closure_id):
                self._disputed += 1

    def _agrees(self, closure_id: int) -> bool:
        """Add a closure and keep it if it costs no more than a right one would."""
        optimizer, edge = self._optimizer, self._edges[closure_id]
        edge = self._ranked(edge)
        poses, cost = optimizer.poses().copy(), optimizer.cost
        optimizer.add_closure(closure_id, edge)
        optimizer.settle()
        added = optimizer.cost - cost
        limit = _limit(self.config.confidence, _FREEDOMS[edge.closure.kind])
        agreed = bool(added <= limit)  # False also for NaN
        if agreed:
            self._take(closure_id, edge)
        else:
            optimizer.remove_closure(closure_id)
            optimizer.start_again(poses)
        self._decide(
            closure_id,
            edge.closure,
            Outcome.ACCEPTED if agreed else Outcome.REJECTED,
            '' if agreed else _against_closures(added, limit),
            squared=added,
        )
        return agreed

    def _ranked(self, edge: Edge) -> Edge:
        """Return an edge as the next that is accepted of those that lead to its match."""
        return replace(edge, rank=self._accepted_of[edge.match] + 1)

    def _take(self, closure_id: int, edge: Edge) -> None:
        self._edges[closure_id] = edge
        self._accepted_of[edge.match] += 1
        self._accepted_in[self._stretches(edge.closure)] += 1

    def _take_back(self, closure_id: int) -> None:
        self._optimizer.remove_closure(closure_id)
        edge = self._edges[closure_id]
        self._accepted_of[edge.match] -= 1
        self._accepted_in[self._stretches(edge.closure)] -= 1

    def _weigh_all(self) -> None:
        """Let graduated non-convexity say which closures are right, and begin again with these."""
        self._disputed = 0
        ends = {key for edge in self._edges.values() for key in (edge.match, edge.query)}
        chain = [node for i, node in enumerate(self.nodes) if i == 0 or node.key in ends]
        links = [self._link(a, b) for a, b in pairwise(chain)]
        weights, poses = self._optimizer.graduated(links, self._edges, self.config.confidence)
        right = {closure_id for closure_id, weight in weights.items() if weight >= _RIGHT}
        accepted = self._optimizer.closure_ids()
        for closure_id in accepted - right:
            self._take_back(closure_id)
        for closure_id in sorted(right - accepted):
            edge = self._ranked(self._edges[closure_id])
            self._optimizer.add_closure(closure_id, edge)
            self._take(closure_id, edge)
        for closure_id, weight in weights.items():
            self._redecide(closure_id, weight, closure_id in right)
        if right != accepted:
            self._optimizer.start_again(self._spread(poses))

    def _spread(self, poses: dict[int, np.ndarray]) -> np.ndarray:
        """Return poses (N, 4, 4) by key of all nodes, from those of some: odometry in between."""
        spread = np.empty_like(self._optimizer.poses())
        anchor = self.nodes[0]
        for node in self.nodes:
            if node.key in poses:
                anchor = node
            motion = inverse(anchor.start_from_base) @ node.start_from_base
            spread[node.key] = poses[anchor.key] @ motion
        return spread

    def _redecide(self, closure_id: int, weight: float, right: bool) -> None:
        old = self.decisions[closure_id]
        if right:
            reason = ''
        elif old.outcome is Outcome.REJECTED:
            reason = old.reason.partition('; weight')[0]
        else:
            reason = 'against_closures: later closures agree with each other and not with it'
        if not right:
            reason += f'; weight {weight:.2f} among all closures'
        outcome = Outcome.ACCEPTED if right else Outcome.REJECTED
        self.decisions[closure_id] = replace(old, outcome=outcome, reason=reason, weight=weight)

    def _decide(
        self,
        closure_id: int,
        closure: Closure,
        outcome: Outcome,
        reason: str = '',
        *,
        squared: float = float('nan'),
    ) -> None:
        self.decisions[closure_id] = Decision(closure_id, closure, outcome, reason, squared)


def _limit(probability: float, freedoms: int) -> float:
    """Return the chi-square below which so many of the right ones lie."""
    return float(chdtri(freedoms, 1 - probability))


def _against_closures(squared: float, limit: float) -> str:
    return (
        f'against_closures: chi-square {squared:.1f} above {limit:.1f} against odometry and the '
        'closures accepted so far'
    )


def _trajectory(stamps_ns: list[int], poses: np.ndarray) -> Trajectory:
    quaternions = quaternion_xyzw(poses) if len(poses) else np.zeros((0, 4))
    return Trajectory(np.array(stamps_ns, np.int64), poses[:, :3, 3].copy(), quaternions)
