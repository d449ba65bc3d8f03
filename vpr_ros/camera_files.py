# SPDX-License-Identifier: Apache-2.0
"""Calibrations as ROS's `camera_calibration` writes them: a YAML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from vpr_ros.camera_info import CalibrationError, checked_distortion, checked_intrinsics
from vpr_ros.cameras import Calibration
from vpr_ros.errors import SourceError


def read_calibration(path: Path) -> Calibration:
    """Read a file as ROS's `camera_calibration` writes it (`ost.yaml`).

    Raises:
        FileNotFoundError: No such file.
        SourceError: Another kind of file, a lens that is not supported, or no calibration.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise SourceError(
            f'{path} is not YAML as `camera_calibration` writes it: {first}'
        ) from error
    if not isinstance(found, dict):
        raise SourceError(f'{path} is no calibration: it holds no keys such as camera_matrix')
    for key, kind in (
        ('image_width', int),
        ('image_height', int),
        ('camera_matrix', dict),
        ('distortion_coefficients', dict),
    ):
        if type(found.get(key)) is not kind:
            raise SourceError(
                f'{path} has no {key} as `camera_calibration` writes it: {found.get(key)!r}'
            )
    return _calibration(
        str(path),
        (found['image_width'], found['image_height']),
        found['camera_matrix'].get('data'),
        found['distortion_coefficients'].get('data'),
        found.get('distortion_model', 'plumb_bob'),
    )


def _calibration(
    where: str,
    size: tuple[int, int],
    matrix: Sequence[float] | np.ndarray | None,
    distortion: Sequence[float] | np.ndarray | None,
    model: str,
) -> Calibration:
    try:
        coefficients = np.asarray(distortion, np.float64).ravel()
        values = np.asarray(matrix, np.float64).ravel()
    except (TypeError, ValueError) as error:
        raise SourceError(f'{where}: matrix or distortion are not numbers: {error}') from error
    if len(values) != 9:
        raise SourceError(f'{where}: the camera matrix has {len(values)} values, not 9')
    try:
        intrinsics = checked_intrinsics(
            values.reshape(3, 3), checked_distortion(coefficients, model)
        )
        return Calibration(intrinsics, *map(int, size))
    except (CalibrationError, ValueError) as error:
        raise SourceError(f'{where}: {error}') from error
