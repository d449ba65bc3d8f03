# SPDX-License-Identifier: Apache-2.0
"""What RViz shows: the places of the map and where recent pictures were recognised; no rclpy."""

from __future__ import annotations

from collections import deque

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from vpr_ros.node.engine import Answer
from vpr_ros.place_map import PlaceMap
from vpr_ros.recognizer import Status

MAX_PLACES = 5000  # a larger map is shown thinned; more points would stall Python and RViz
_RECENT = 100
_MIN_DIAMETER_M = 0.1

_GREY = ColorRGBA(r=0.6, g=0.6, b=0.6, a=0.8)
_ORANGE = ColorRGBA(r=1.0, g=0.6, b=0.0, a=0.9)
_GREEN = ColorRGBA(r=0.1, g=0.8, b=0.2, a=1.0)
_RED = ColorRGBA(r=0.9, g=0.1, b=0.1, a=0.6)


class MarkerBoard:
    """Collects recent answers and draws them over the map.

    Namespaces: `places` (grey points), `candidates` (orange: the matches of the last picture),
    `accepted` and `rejected` (green and red edges from the last matches to the best one, and
    from there to the best one of the picture before).
    """

    def __init__(self) -> None:
        self._recent: deque[Answer] = deque(maxlen=_RECENT)

    def add(self, answer: Answer) -> None:
        """Remember an answer."""
        self._recent.append(answer)

    def clear(self) -> None:
        """Forget the answers: they are about another map or another time."""
        self._recent.clear()

    def draw(self, place_map: PlaceMap, frame_id: str, stamp: Time) -> MarkerArray:
        """Make ~/markers.

        Args:
            place_map: The map in use; what has no position is not drawn.
            frame_id: Frame of its poses.
            stamp: Now.
        """
        header = Header(stamp=stamp, frame_id=frame_id)
        markers = [Marker(header=header, action=Marker.DELETEALL)]
        if not place_map.num_positions:
            return MarkerArray(markers=markers)
        diameter = max(_MIN_DIAMETER_M, 0.3 * float(np.nan_to_num(place_map.spacing_m)))
        answers = [a for a in list(self._recent) if a.place_map is place_map]
        matches = answers[-1].recognition.matches if answers else ()
        last = _known(np.reshape([match.position for match in matches], (-1, 3)))
        markers += [
            _marker(header, 'places', Marker.SPHERE_LIST, diameter, _GREY, _thinned(place_map)),
            _marker(header, 'candidates', Marker.SPHERE_LIST, 1.5 * diameter, _ORANGE, last),
        ]
        for name, colour, rejected in (('accepted', _GREEN, False), ('rejected', _RED, True)):
            edges = _edges(answers, rejected=rejected)
            markers.append(_marker(header, name, Marker.LINE_LIST, diameter / 3, colour, edges))
        return MarkerArray(markers=[m for m in markers if m.points or m.action != Marker.ADD])


def _edges(answers: list[Answer], *, rejected: bool) -> list[np.ndarray]:
    """Ends of the edges, two positions each, of the answers that are rejected or are not."""
    ends: list[np.ndarray] = []
    previous: np.ndarray | None = None
    for answer in answers:
        found = answer.recognition
        if not found.matches or (found.status is Status.REJECTED) != rejected:
            previous = None
            continue
        best = found.matches[0].position
        if not np.isfinite(best).all():
            previous = None
            continue
        if previous is not None:
            ends += [previous, best]
        previous = best
    last = answers[-1].recognition if answers else None
    if last is not None and (last.status is Status.REJECTED) == rejected:
        for match in last.matches[1:]:
            edge = [last.matches[0].position, match.position]
            ends += edge if np.isfinite(edge).all() else []
    return ends


def _thinned(place_map: PlaceMap) -> np.ndarray:
    """At most MAX_PLACES known positions (N, 3), spread evenly over the map's order."""
    known = _known(place_map.places['position'])
    return known[:: -(-len(known) // MAX_PLACES)]


def _known(positions: np.ndarray) -> np.ndarray:
    return positions[np.isfinite(positions).all(axis=1)]


def _marker(
    header: Header,
    namespace: str,
    kind: int,
    size: float,
    colour: ColorRGBA,
    positions: np.ndarray | list[np.ndarray],
) -> Marker:
    marker = Marker(header=header, ns=namespace, type=kind, action=Marker.ADD, color=colour)
    marker.pose.orientation.w = 1.0
    marker.scale.x = marker.scale.y = marker.scale.z = size
    marker.points = [Point(x=x, y=y, z=z) for x, y, z in np.asarray(positions).tolist()]
    return marker
