# SPDX-License-Identifier: Apache-2.0
"""One run through a place that is seen again: has the robot been here before?

What loop closure asks: each picture is looked up among those taken a good while earlier.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vpr_ros.benchmarks.assembly import subfolder
from vpr_ros.benchmarks.retrieval_set import RetrievalSet, pictures_of
from vpr_ros.errors import SourceError
from vpr_ros.evaluation.truth import PositivesByPose, Track
from vpr_ros.picture_folder import PictureFolder
from vpr_ros.pose_files import read_poses
from vpr_ros.pose_lookup import lookup_in_table

RADIUS_M = 0.5
ANGLE_DEG = 30.0
MAX_POSE_GAP_S = 0.1


def revisit_set(
    pictures: Path,
    poses: Path,
    *,
    apart: int,
    radius_m: float = RADIUS_M,
    angle_deg: float = ANGLE_DEG,
) -> RetrievalSet:
    """Ask for each picture that revisits an earlier one, among all that are old enough.

    Args:
        pictures: Folder of one run.
        poses: Pose file (TUM, KITTI or CSV) of the camera, with orientations.
        apart: A picture is looked up among those more than so many before it.
        radius_m: Largest distance of a hit, metres.
        angle_deg: Largest difference of orientation of a hit, degrees.

    Raises:
        SourceError: The poses do not fit the pictures, lack orientations, or nothing is revisited.
        ValueError: A negative `apart`.
    """
    if apart < 0:
        raise ValueError(f'pictures apart must be 0 or more, not {apart}')
    folder = PictureFolder(pictures)
    lookup = lookup_in_table(read_poses(poses), folder, max_gap_s=MAX_POSE_GAP_S)
    numbers, positions, orientations = [], [], []
    for frame in folder.frames():
        position, orientation = lookup.pose_of(frame)
        if np.isfinite(position).all() and np.isfinite(orientation).all():
            numbers.append(frame.index)
            positions.append(position)
            orientations.append(orientation)
    if not numbers:
        raise SourceError(
            f'{poses} gives no picture of {pictures} a pose with an orientation; '
            f'{lookup.coverage()}'
        )
    track = Track(np.array(positions), np.array(orientations))
    near = PositivesByPose(track, track, within_m=radius_m, within_deg=angle_deg)
    earlier = np.searchsorted(numbers, np.array(numbers) - apart)  # how many are old enough
    truth = [
        rows[rows < count] for rows, count in zip(near, earlier, strict=True) if rows is not None
    ]
    asked = [i for i, rows in enumerate(truth) if len(rows)]
    if not asked:
        raise SourceError(
            f'no picture of {pictures} lies within {radius_m:g} m and {angle_deg:g} degrees of '
            f'one more than {apart} before it; lower apart, or take another run'
        )
    files = [folder.files[number] for number in numbers]
    unknown = folder.num_frames - len(files)
    left_out = f'; {unknown} pictures without a pose are left out' if unknown else ''
    return RetrievalSet(
        f'{pictures.parent.name} revisits',
        f'each picture with one more than {apart} before it within {radius_m:g} m and '
        f'{angle_deg:g} degrees, among all more than {apart} before it; a hit is such a one'
        f'{left_out}',
        pictures_of(files),
        pictures_of([files[i] for i in asked]),
        [truth[i] for i in asked],
        [truth[i] for i in asked],
        searched=earlier[asked],
    )


def read_run(root: Path, *, poses: str, apart: int, radius_m: float = RADIUS_M) -> RetrievalSet:
    """Read the revisits of a folder that holds `rgb/` and a pose file of that name.

    Raises:
        FileNotFoundError: One of both is not there.
        SourceError: As `revisit_set`.
        ValueError: The same.
    """
    return revisit_set(subfolder(root, 'rgb'), root / poses, apart=apart, radius_m=radius_m)
