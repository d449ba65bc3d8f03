# SPDX-License-Identifier: Apache-2.0
"""The topics that the node publishes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray
from vpr_msgs.msg import GlobalDescriptor, LoopClosure, MapInfo

from vpr_ros.conversions import image_from_rgb
from vpr_ros.node import debug_image, messages
from vpr_ros.node.engine import Answer, Engine
from vpr_ros.node.markers import MarkerBoard

if TYPE_CHECKING:
    from builtin_interfaces.msg import Time
    from rclpy.lifecycle import LifecycleNode

_RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
_LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
_BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class Outputs:
    """Publishers and what goes through them; silent while the node is not active.

    Attributes:
        map_info: What was last announced on ~/map_info.
    """

    def __init__(self, node: LifecycleNode, cameras: Sequence[str]) -> None:
        """Create the publishers.

        Args:
            node: The node that publishes.
            cameras: Their names by number, copied into the loop closures.
        """
        self._cameras = cameras
        self._board = MarkerBoard()
        create = node.create_lifecycle_publisher
        self._loop_closures = create(LoopClosure, '~/loop_closures', _RELIABLE)
        self._pose = create(PoseWithCovarianceStamped, '~/pose', _RELIABLE)
        self._descriptor = create(GlobalDescriptor, '~/descriptor', _RELIABLE)
        self._markers = create(MarkerArray, '~/markers', _RELIABLE)
        self._debug_image = create(Image, '~/debug_image', _BEST_EFFORT)
        # Not managed: the map can be looked at before the node is active.
        self._map_info = node.create_publisher(MapInfo, '~/map_info', _LATCHED)
        self.map_info = MapInfo()

    def publish_answers(
        self, answers: Sequence[Answer], header: Header, rgb: np.ndarray, *, age_s: float
    ) -> None:
        """Publish all that one picture gives rise to.

        Args:
            answers: What was found, one a map; the pose is of the first, and so are the drawings.
            header: The picture's stamp and frame.
            rgb: The picture, uint8 RGB (H, W, 3).
            age_s: From the picture's stamp to now, seconds.
        """
        for answer in answers:
            camera = self._cameras[answer.recognition.camera]
            closure = messages.loop_closure(
                answer, header, camera=camera, cameras=self._cameras, age_s=age_s
            )
            self._loop_closures.publish(closure)
        answer = answers[0]
        found = answer.recognition
        if found.pose is not None:
            self._pose.publish(messages.pose(found.pose, header.stamp, answer.map_frame_id))
        if found.query_id == 0:  # the count begins anew: what is drawn is of another time
            self._board.clear()
        self._board.add(answer)
        if found.descriptor is not None and self._descriptor.get_subscription_count():
            sha256 = answer.place_map.model.sha256
            self._descriptor.publish(messages.global_descriptor(found.descriptor, header, sha256))
        if self._debug_image.get_subscription_count():
            self._debug_image.publish(image_from_rgb(debug_image.draw(rgb, answer), header))

    def of_no_camera(self, answer: Answer, header: Header, age_s: float) -> LoopClosure:
        """Return the message of a picture that somebody sent, without publishing it.

        It has the name of the camera only where there is but one.
        """
        camera = self._cameras[0] if len(self._cameras) == 1 else ''
        return messages.loop_closure(
            answer, header, camera=camera, cameras=self._cameras, age_s=age_s
        )

    def publish_map_info(self, engine: Engine, stamp: Time) -> MapInfo:
        """Publish which map is in use, and return the message.

        The board is cleared by whoever changes the map; one that grows is still the same.
        """
        self.map_info = messages.map_info(engine.place_map, engine.map_frame_id, stamp)
        self._map_info.publish(self.map_info)
        return self.map_info

    def publish_markers(self, engine: Engine, stamp: Time) -> None:
        """Publish the map and the recent answers, if anybody looks."""
        if self._markers.get_subscription_count():
            drawing = self._board.draw(engine.place_map, engine.map_frame_id, stamp)
            self._markers.publish(drawing)

    def forget(self) -> None:
        """Drop the drawn answers, after a jump in time."""
        self._board.clear()
