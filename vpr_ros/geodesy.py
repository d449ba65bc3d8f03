# SPDX-License-Identifier: Apache-2.0
"""GNSS fixes in local metres, by PROJ."""

from __future__ import annotations

import numpy as np
from pyproj import Transformer


def enu_from_geodetic(geodetic: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Place fixes in the plane that touches the earth at `origin`.

    Args:
        geodetic: (N, 3) latitude and longitude in degrees (WGS 84), altitude in metres.
        origin: (3,) likewise.

    Returns:
        (N, 3) metres: east, north, up of `origin`.
    """
    latitude, longitude, altitude = map(float, origin)
    transformer = Transformer.from_pipeline(
        '+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad +step +proj=cart '
        '+ellps=WGS84 +step +proj=topocentric +ellps=WGS84 '
        f'+lat_0={latitude!r} +lon_0={longitude!r} +h_0={altitude!r}'
    )
    fixes = np.asarray(geodetic, np.float64)
    return np.stack(transformer.transform(fixes[:, 1], fixes[:, 0], fixes[:, 2]), axis=1)
