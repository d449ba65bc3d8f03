# SPDX-License-Identifier: Apache-2.0
"""From the messages that the node publishes back to what the recognizer said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vpr_ros.conversions import pose_from_msg, stamp_ns_from_msg
from vpr_ros.errors import VprError
from vpr_ros.place_map import Match, PlaceMap
from vpr_ros.recognizer import Recognition, Status
from vpr_ros.retrieval_pose import PoseEstimate

if TYPE_CHECKING:
    from geometry_msgs.msg import PoseWithCovarianceStamped
    from vpr_msgs.msg import LoopClosure, PlaceMatch


class AnswerError(VprError):
    """An answer that does not belong to the map."""


class AnswerReader:
    """Reads loop closures that are about one map."""

    def __init__(self, place_map: PlaceMap) -> None:
        """Index the places by their numbers.

        Args:
            place_map: The map of the node.
        """
        places = place_map.places
        self._map = place_map
        self._row_of = {int(place_id): row for row, place_id in enumerate(places['place_id'])}

    def recognition(self, msg: LoopClosure, stamp_ns: int) -> Recognition:
        """Return what the recognizer said, without pose and descriptor, which come apart.

        Args:
            msg: What the node published.
            stamp_ns: Stamp of the picture in its source, nanoseconds.

        Raises:
            AnswerError: A match is no place of the map.
        """
        return Recognition(
            query_id=msg.query_id,
            stamp_ns=stamp_ns,
            camera=0,
            status=Status(msg.status),
            reason=msg.reason,
            matches=tuple(self._match(match) for match in msg.matches),
            descriptor=None,
            pose=None,
            consistent_count=msg.consistent_count,
            num_correspondences=msg.num_correspondences,
            num_inliers=msg.num_inliers,
        )

    def _match(self, msg: PlaceMatch) -> Match:
        row = self._row_of.get(msg.place_id)
        if row is None:
            raise AnswerError(
                f'the node answers with place {msg.place_id}, which the map '
                f'{self._map.directory} does not have: it runs with another map'
            )
        position, orientation_xyzw = pose_from_msg(msg.pose)
        place = self._map.places[row]
        same_time = stamp_ns_from_msg(msg.stamp) == place['stamp_ns']
        if not same_time or not np.array_equal(position, place['position'], equal_nan=True):
            raise AnswerError(
                f'the node answers with place {msg.place_id}, which has another time or position '
                f'in the map {self._map.directory}: it runs with another map'
            )
        return Match(
            row=row,
            place_id=msg.place_id,
            similarity=msg.similarity,
            stamp_ns=stamp_ns_from_msg(msg.stamp),
            image=msg.image,
            position=position,
            orientation_xyzw=orientation_xyzw,
            camera=int(self._map.places['camera'][row]),
            probability=msg.probability,
        )


def pose_estimate(msg: PoseWithCovarianceStamped) -> PoseEstimate:
    """Return the pose of ~/pose, with its covariance."""
    return PoseEstimate(*pose_from_msg(msg.pose.pose), np.reshape(msg.pose.covariance, (6, 6)))
