# SPDX-License-Identifier: Apache-2.0
"""Light over the town: what the sun, the sky and the lamps do to a surface."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """One time of day. Colours are factors, or RGB values 0..255 where a picture is meant."""

    name: str
    sun_direction: tuple[float, float, float]  # from the surface to the sun, world axes
    sun: Colour  # factor on an albedo facing the sun
    ambient: Colour  # factor on every albedo
    zenith: Colour  # RGB 0..255 of the sky overhead
    horizon: Colour  # RGB 0..255 of the sky at the horizon, and of distant haze
    cloud: Colour  # RGB 0..255
    shadow: float  # factor on ground in the shadow of a house, 0..1
    lit_windows: float  # fraction of the windows with a lamp behind them, 0..1
    lamps_on: bool
    noise: float  # standard deviation of sensor noise, grey levels

    def shade(self, normal: np.ndarray) -> np.ndarray:
        """Factor (3,) on the albedo of a surface with the unit normal (3,)."""
        sun_direction = np.asarray(self.sun_direction) / np.linalg.norm(self.sun_direction)
        facing = max(0.0, float(np.dot(normal, sun_direction)))
        return np.asarray(self.ambient) + facing * np.asarray(self.sun)


DAY = Light(
    name='day',
    sun_direction=(0.45, -0.60, 0.75),
    sun=(0.62, 0.59, 0.52),
    ambient=(0.56, 0.59, 0.65),
    zenith=(96, 146, 208),
    horizon=(202, 217, 230),
    cloud=(246, 246, 246),
    shadow=0.62,
    lit_windows=0.0,
    lamps_on=False,
    noise=2.0,
)

EVENING = Light(
    name='evening',
    sun_direction=(-0.80, 0.35, 0.30),
    sun=(0.31, 0.20, 0.09),
    ambient=(0.38, 0.365, 0.44),
    zenith=(60, 74, 120),
    horizon=(224, 158, 116),
    cloud=(160, 122, 128),
    shadow=0.85,
    lit_windows=0.22,
    lamps_on=True,
    noise=4.0,
)
