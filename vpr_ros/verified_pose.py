# SPDX-License-Identifier: Apache-2.0
"""What verified geometry knows about the pose in the map."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from vpr_ros.place_map import Match
from vpr_ros.poses import matrix_of_pose
from vpr_ros.retrieval_pose import PoseEstimate
from vpr_ros.verification.verifier import Verification


def verified_pose(
    match: Match, found: Verification, *, camera: int, mounting: np.ndarray | None = None
) -> PoseEstimate | None:
    """Return the pose of what the map's poses are of (the camera, or the body that carries it).

    The map's pose of the place and its camera's pose together say how the camera is mounted; a
    query of another camera is mounted otherwise.

    Args:
        match: The verified place.
        found: What geometry found; its errors are those of the relative pose, the map's own are
            in them.
        camera: Number of the query's camera.
        mounting: (4, 4) pose of that camera in what the map's poses are of; None: unknown.

    Returns:
        The pose in the map's frame; None where the relative pose is not metric, or it is not known
        how the camera is mounted.
    """
    map_from_match, map_from_query = found.map_from_match, found.map_from_query
    if map_from_match is None or map_from_query is None:
        return None
    pose = np.concatenate([match.position, match.orientation_xyzw])
    if match.camera == camera and np.isfinite(pose).all():
        camera_from_body = np.linalg.inv(map_from_match) @ matrix_of_pose(pose)
    elif match.camera != camera and mounting is not None:
        camera_from_body = np.linalg.inv(mounting)
    else:
        return None
    assert found.covariance is not None  # known with the rotation
    lever = map_from_query[:3, :3] @ camera_from_body[:3, 3]
    # The errors are given in the match's frame; turning by d moves what stands off by d x lever.
    jacobian = np.zeros((6, 6))
    jacobian[:3, :3] = jacobian[3:, 3:] = map_from_match[:3, :3]
    x, y, z = lever
    jacobian[:3, 3:] = np.array([[0, z, -y], [-z, 0, x], [y, -x, 0]]) @ map_from_match[:3, :3]
    return PoseEstimate(
        map_from_query[:3, 3] + lever,
        Rotation.from_matrix(map_from_query[:3, :3] @ camera_from_body[:3, :3]).as_quat(),
        jacobian @ found.covariance @ jacobian.T,
    )
