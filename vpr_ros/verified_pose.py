# SPDX-License-Identifier: Apache-2.0
"""What verified geometry knows about the pose in the map."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from vpr_ros.place_map import Match
from vpr_ros.retrieval_pose import PoseEstimate
from vpr_ros.verification.verifier import Verification


def verified_pose(match: Match, found: Verification, *, camera: int) -> PoseEstimate | None:
    """Return the pose of what the map's poses are of (the camera, or the body that carries it).

    The map's pose of the place and its camera's pose together say how the camera is mounted; a
    query of another camera is mounted otherwise, so nothing is known then.

    Args:
        match: The verified place.
        found: What geometry found; its errors are those of the relative pose, the map's own are
            in them.
        camera: Number of the query's camera.

    Returns:
        The pose in the map's frame; None where the relative pose is not metric or the map does not
        know the pose of the place.
    """
    map_from_match, map_from_query = found.map_from_match, found.map_from_query
    if map_from_match is None or map_from_query is None or match.camera != camera:
        return None
    if not (np.isfinite(match.position).all() and np.isfinite(match.orientation_xyzw).all()):
        return None
    assert found.covariance is not None  # known with the rotation
    body = Rotation.from_quat(match.orientation_xyzw).as_matrix()
    camera_from_body = map_from_match[:3, :3].T @ body
    of_body = map_from_match[:3, :3].T @ (match.position - map_from_match[:3, 3])
    lever = map_from_query[:3, :3] @ of_body
    # The errors are given in the match's frame; turning by d moves what stands off by d x lever.
    jacobian = np.zeros((6, 6))
    jacobian[:3, :3] = jacobian[3:, 3:] = map_from_match[:3, :3]
    x, y, z = lever
    jacobian[:3, 3:] = np.array([[0, z, -y], [-z, 0, x], [y, -x, 0]]) @ map_from_match[:3, :3]
    return PoseEstimate(
        map_from_query[:3, 3] + lever,
        Rotation.from_matrix(map_from_query[:3, :3] @ camera_from_body).as_quat(),
        jacobian @ found.covariance @ jacobian.T,
    )
