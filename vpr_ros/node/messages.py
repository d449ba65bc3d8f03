# SPDX-License-Identifier: Apache-2.0
"""Recognitions and maps as the messages that the node publishes; no rclpy."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseWithCovariance, PoseWithCovarianceStamped
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header
from vpr_msgs.msg import GlobalDescriptor, LoopClosure, MapInfo, PlaceMatch

from vpr_ros.conversions import pose_msg, stamp_msg_from_ns
from vpr_ros.node.engine import Answer
from vpr_ros.place_map import SCHEMA_VERSION, Match, PlaceMap
from vpr_ros.recognizer import RelativePose
from vpr_ros.retrieval_pose import PoseEstimate

# Whoever overlooks has_relative_pose learns nothing from it, instead of something wrong.
_NOT_ESTIMATED = 1e9 * np.eye(6)


def loop_closure(
    answer: Answer, header: Header, *, camera: str, cameras: Sequence[str], age_s: float
) -> LoopClosure:
    """Make ~/loop_closures.

    Args:
        answer: What was found.
        header: Stamp and frame of the query picture.
        camera: Name of the camera.
        cameras: Names of all cameras, by number.
        age_s: From the picture's stamp to now, seconds.
    """
    found, relative = answer.recognition, answer.recognition.relative_pose
    return LoopClosure(
        header=header,
        camera=camera,
        query_id=found.query_id,
        map_frame_id=answer.map_frame_id,
        matches=[_place_match(match, cameras) for match in found.matches],
        status=int(found.status),
        reason=found.reason,
        has_relative_pose=relative is not None,
        metric=relative is not None and relative.metric,
        match_from_query=_relative_pose(relative),
        consistent_count=found.consistent_count,
        num_correspondences=found.num_correspondences,
        num_inliers=found.num_inliers,
        age_s=age_s,
    )


def pose(estimate: PoseEstimate, stamp: Time, map_frame_id: str) -> PoseWithCovarianceStamped:
    """Make ~/pose, in the map's frame at the picture's stamp."""
    return PoseWithCovarianceStamped(
        header=Header(stamp=stamp, frame_id=map_frame_id),
        pose=PoseWithCovariance(
            pose=pose_msg(estimate.position, estimate.orientation_xyzw),
            covariance=estimate.covariance.ravel(),
        ),
    )


def global_descriptor(
    descriptor: np.ndarray, header: Header, model_sha256: str
) -> GlobalDescriptor:
    """Make ~/descriptor from (D,) float32, unit norm."""
    data = array('f')
    data.frombytes(np.ascontiguousarray(descriptor, np.float32).tobytes())
    return GlobalDescriptor(header=header, model_sha256=model_sha256, data=data)


def map_info(place_map: PlaceMap, map_frame_id: str, stamp: Time) -> MapInfo:
    """Make ~/map_info."""
    return MapInfo(
        header=Header(stamp=stamp, frame_id=map_frame_id),
        url=place_map.url,
        num_places=len(place_map),
        descriptor_size=place_map.model.descriptor_size,
        model_name=place_map.model.name,
        model_sha256=place_map.model.sha256,
        schema_version=SCHEMA_VERSION,
    )


def _relative_pose(relative: RelativePose | None) -> PoseWithCovariance:
    if relative is None:
        return PoseWithCovariance(covariance=_NOT_ESTIMATED.ravel())
    return PoseWithCovariance(
        pose=pose_msg(relative.translation, Rotation.from_matrix(relative.rotation).as_quat()),
        covariance=relative.covariance.ravel(),
    )


def _place_match(match: Match, cameras: Sequence[str]) -> PlaceMatch:
    return PlaceMatch(
        place_id=match.place_id,
        stamp=stamp_msg_from_ns(match.stamp_ns),
        camera=cameras[match.camera] if match.camera < len(cameras) else '',
        image=match.image,
        similarity=match.similarity,
        probability=match.probability,
        pose=pose_msg(match.position, match.orientation_xyzw),
    )
