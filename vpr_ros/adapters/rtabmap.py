# SPDX-License-Identifier: Apache-2.0
"""Which link between which of RTAB-Map's nodes says what a closure says; no ROS.

RTAB-Map makes a node about once a second, a closure joins two pictures at any time: the ways
from the nodes to the pictures are those of the odometry, with what they add to the covariance.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from vpr_ros.pose_graph.closure import Closure, Kind
from vpr_ros.pose_graph.odometry import OdometryNoise, OdometryPose, OdometryTrack
from vpr_ros.pose_graph.optimizer import ClosureNoise, between_bases
from vpr_ros.pose_graph.transforms import (
    inverse,
    moved_covariance,
    transform,
    translation_first,
)
from vpr_ros.poses import NS_PER_S

USER_CLOSURE = 4  # rtabmap::Link::kUserClosure
_SAME_NS = 1_000_000  # float64 seconds of today's stamps are exact to half a microsecond
_MAX_WAITING = 1000


@dataclass(frozen=True)
class LinkConfig:
    """How closures become links.

    Attributes:
        max_way_m: A picture further from the nearest node, by odometry, is not linked.
        max_odom_gap_s: A stamp between two odometry poses further apart is not placed.
        node_wait_s: How long a closure waits for RTAB-Map's node after its query.
        odometry: Noise of the odometry.
        closure: Noise added to closures.
    """

    max_way_m: float = 1.0
    max_odom_gap_s: float = 0.5
    node_wait_s: float = 10.0
    odometry: OdometryNoise = field(default_factory=OdometryNoise)
    closure: ClosureNoise = field(default_factory=ClosureNoise)


@dataclass(frozen=True, eq=False)
class MapLink:
    """A link as RTAB-Map takes it.

    Attributes:
        from_id: Node near the matched picture.
        to_id: Node near the query.
        from_to: (4, 4) pose of `to`'s base in the frame of `from`'s base.
        information: (6, 6) inverse covariance in the frame of `to`: x y z, then rotations.
    """

    from_id: int
    to_id: int
    from_to: np.ndarray
    information: np.ndarray

    @property
    def pair(self) -> frozenset[int]:
        """Both ids: RTAB-Map's links have no direction."""
        return frozenset((self.from_id, self.to_id))


class Fate(Enum):
    """What became of a closure."""

    SENT = 'sent'
    REFUSED = 'refused'  # never sent
    LINKED = 'linked'  # seen in RTAB-Map's graph
    NOT_TAKEN = 'not taken'  # sent, and not in RTAB-Map's graph


@dataclass(frozen=True, eq=False)
class Report:
    """What became of a closure, with a reason 'code: sentence' when nothing good did."""

    fate: Fate
    closure: Closure
    reason: str = ''
    link: MapLink | None = None


class LinkMaker:
    """Turns closures into links between nodes.

    Attributes:
        num_resets: How often the odometry's stamps jumped back.
    """

    def __init__(self, config: LinkConfig) -> None:
        """Begin without a node."""
        self._config = config
        self.num_resets = 0
        self._clear()

    def _clear(self) -> None:
        self._track = OdometryTrack(self._config.odometry)
        self._waiting: list[Closure] = []
        self._nodes: list[tuple[int, int]] = []  # stamp and id, in the order of time
        self._stamp_of: dict[int, int] = {}
        self._alive: frozenset[int] = frozenset()
        self._linked: set[frozenset[int]] = set()
        self._used: set[frozenset[int]] = set()

    @property
    def num_nodes(self) -> int:
        """Nodes in RTAB-Map's graph whose stamp is known."""
        return len(self._alive & self._stamp_of.keys())

    @property
    def num_waiting(self) -> int:
        """Closures that wait for odometry or a node."""
        return len(self._waiting)

    def add_odometry(
        self, stamp_ns: int, position: np.ndarray, orientation_xyzw: np.ndarray
    ) -> None:
        """Take over a pose of the base: (3,) metres, (4,) unit quaternion.

        Raises:
            ValueError: It is no pose.
        """
        transform(position, orientation_xyzw)
        if self._track.is_set_back(stamp_ns):
            self.num_resets += 1
            self._clear()
        self._track.add(stamp_ns, position, orientation_xyzw)

    def add_node(self, node_id: int, stamp_s: float) -> None:
        """Take over id and stamp of one of RTAB-Map's nodes."""
        if node_id > 0 and node_id not in self._stamp_of and stamp_s > 0:
            self._stamp_of[node_id] = stamp_ns = round(stamp_s * NS_PER_S)
            insort(self._nodes, (stamp_ns, node_id))

    def see_graph(self, ids: Iterable[int], pairs: Iterable[tuple[int, int]]) -> None:
        """Take over which nodes RTAB-Map's graph holds now, and which it has linked."""
        self._alive = frozenset(node_id for node_id in ids if node_id > 0)
        self._linked = {frozenset(pair) for pair in pairs}

    def is_linked(self, link: MapLink) -> bool:
        """Tell whether RTAB-Map's graph links the two nodes."""
        return link.pair in self._linked

    def add_closure(self, closure: Closure) -> None:
        """Take over a closure; `update` says what becomes of it."""
        self._waiting.append(closure)

    def update(self) -> list[Report]:
        """Return the closures about which something can be said, with links to send."""
        reports: list[Report] = []
        waiting: list[Closure] = []
        for closure in self._waiting:
            if self._waits(closure) and len(self._waiting) - len(reports) <= _MAX_WAITING:
                waiting.append(closure)
            else:
                reports.append(self._resolve(closure))
        self._waiting = waiting
        return reports

    def _waits(self, closure: Closure) -> bool:
        """Tell whether a closure's query may yet get odometry or a nearer node."""
        if closure.fault() or closure.kind is not Kind.METRIC:
            return False
        newest_ns = max(
            self._nodes[-1][0] if self._nodes else 0, self._track.last_ns if self._track else 0
        )
        if newest_ns == 0:
            return True
        late_ns = newest_ns - closure.query_stamp_ns
        if late_ns > self._config.node_wait_s * NS_PER_S:
            return False
        behind = bool(self._track) and self._track.last_ns < closure.query_stamp_ns
        return behind or not self._nodes or self._nodes[-1][0] < closure.query_stamp_ns - _SAME_NS

    def _resolve(self, closure: Closure) -> Report:
        """Say which link a closure is, or why none."""
        if fault := closure.fault():
            return Report(Fate.REFUSED, closure, f'malformed: {fault}')
        if closure.kind is not Kind.METRIC:
            return Report(
                Fate.REFUSED, closure, 'not_metric: RTAB-Map has no link without a length'
            )
        match = self._nearest('match', closure.match_stamp_ns)
        query = self._nearest('query', closure.query_stamp_ns)
        for found in (match, query):
            if isinstance(found, str):
                return Report(Fate.REFUSED, closure, found)
        assert not isinstance(match, str) and not isinstance(query, str)
        link = self._link(closure, match, query)
        if link.from_id == link.to_id:
            reason = f'same_node: node {link.from_id} is the nearest to both pictures'
        elif self.is_linked(link):
            reason = f'linked_already: nodes {link.from_id} and {link.to_id}'
        elif link.pair in self._used:
            reason = f'sent_already: nodes {link.from_id} and {link.to_id}'
        else:
            self._used.add(link.pair)
            return Report(Fate.SENT, closure, link=link)
        return Report(Fate.REFUSED, closure, reason, link)

    def _nearest(self, name: str, stamp_ns: int) -> _Placed | str:
        """Return the node with the shortest way to a picture, or why there is none."""
        after = bisect_left(self._nodes, (stamp_ns - _SAME_NS, 0))
        exact = [n for t, n in self._nodes[after : after + 2] if abs(t - stamp_ns) <= _SAME_NS]
        for node_id in exact:
            if node_id in self._alive:
                return _Placed(node_id, np.eye(4), np.zeros((6, 6)))
        pose = self._pose_at(stamp_ns)
        if isinstance(pose, str):
            return f'{pose.partition(":")[0]}: the {name} {pose.partition(": ")[2]}'
        found = [
            placed
            for node in (self._alive_before(after), self._alive_from(after))
            if node is not None and (placed := self._way(node, pose)) is not None
        ]
        if not found:
            return f'no_node: no node of RTAB-Map near the {name} has odometry'
        best = min(found, key=lambda placed: (float(np.trace(placed.covariance)), placed.way_m))
        way_m = best.way_m
        if way_m > self._config.max_way_m:
            return (
                f'far_from_node: the {name} was taken {way_m:.2f} m from node {best.node_id}, '
                f'more than max_way_m {self._config.max_way_m:g}'
            )
        return best

    def _alive_before(self, index: int) -> tuple[int, int] | None:
        return next((node for node in self._nodes[:index][::-1] if node[1] in self._alive), None)

    def _alive_from(self, index: int) -> tuple[int, int] | None:
        return next((node for node in self._nodes[index:] if node[1] in self._alive), None)

    def _way(self, node: tuple[int, int], picture: OdometryPose) -> _Placed | None:
        """Return a node with the way to a picture by odometry; None without odometry there."""
        pose = self._pose_at(node[0])
        if isinstance(pose, str):
            return None
        translation, rotation = np.abs(picture.variances - pose.variances)
        return _Placed(
            node[1],
            inverse(_matrix(pose)) @ _matrix(picture),
            np.diag(np.repeat([rotation, translation], 3)),
        )

    def _pose_at(self, stamp_ns: int) -> OdometryPose | str:
        """Return where the odometry was, or 'code: why not'."""
        if not len(self._track):
            return 'no_odometry: lies between nodes, and no odometry has come: remap odom'
        if stamp_ns < self._track.first_ns:
            return 'before_odometry: was taken before the first odometry pose'
        if stamp_ns > self._track.last_ns:
            return 'ahead_of_odometry: was taken after the newest odometry pose: one clock?'
        gap_s = self._track.gap_s(stamp_ns)
        if gap_s > self._config.max_odom_gap_s:
            return f'odometry_gap: lies in {gap_s:.3f} s without odometry'
        return self._track.at(stamp_ns)

    def _link(self, closure: Closure, match: _Placed, query: _Placed) -> MapLink:
        """Chain node, match, query, node; all covariances in the frame of the last node."""
        bases, of_bases = between_bases(closure, self._config.closure)
        node_from_query = query.node_from_picture
        node_from_match = node_from_query @ inverse(bases)
        covariance = (
            moved_covariance(node_from_match, match.covariance)
            + moved_covariance(node_from_query, of_bases)
            + moved_covariance(node_from_query, query.covariance)
        )
        information = np.linalg.inv(covariance)
        information = (information + information.T) / 2
        return MapLink(
            match.node_id,
            query.node_id,
            match.node_from_picture @ bases @ inverse(node_from_query),
            translation_first(information),
        )


@dataclass(frozen=True, eq=False)
class _Placed:
    """A node and the way to a picture: (4, 4), and its covariance (6, 6) at the picture."""

    node_id: int
    node_from_picture: np.ndarray
    covariance: np.ndarray

    @property
    def way_m(self) -> float:
        return float(np.linalg.norm(self.node_from_picture[:3, 3]))


def _matrix(pose: OdometryPose) -> np.ndarray:
    return transform(pose.position, pose.orientation_xyzw)
