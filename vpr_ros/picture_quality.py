# SPDX-License-Identifier: Apache-2.0
"""Refuse pictures that show nothing: covered lens, darkness, glare, a blank wall.

MixVPR's mixers normalise each channel over space; on a flat picture that amplifies rounding
noise by up to 316 per mixer, so its descriptor means nothing and differs between devices.
Limits are in grey levels 0..255 of a 32x32 thumbnail; `test/test_picture_quality.py` holds them
against real pictures by day and night, indoors and out, of which none is refused.
"""

from __future__ import annotations

import cv2
import numpy as np

MIN_CONTRAST = 4.0
_DARK = 10.0
_SATURATED = 250.0
_SATURATED_SHARE = 0.9
_THUMBNAIL = 32
_STRIDE = 4  # reading every fourth pixel is enough for a thumbnail and costs a tenth


def thumbnail(rgb: np.ndarray) -> np.ndarray:
    """Return a float32 (32, 32) grey thumbnail, 0..255, of an RGB uint8 (H, W, 3) picture."""
    stride = max(1, min(_STRIDE, min(rgb.shape[:2]) // _THUMBNAIL))
    sparse = np.ascontiguousarray(rgb[::stride, ::stride])
    small = cv2.resize(sparse, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)


def unusable_reason(rgb: np.ndarray, *, min_contrast: float = MIN_CONTRAST) -> str | None:
    """Say why a picture cannot be recognised, or None if it can be tried.

    Args:
        rgb: uint8 RGB (H, W, 3).
        min_contrast: Smallest standard deviation of the thumbnail, grey levels; 0 accepts all.

    Returns:
        `code: sentence with the values`, with code `dark`, `saturated` or `blank`.
    """
    if min_contrast <= 0:
        return None
    grey = thumbnail(rgb)
    bright = float(np.percentile(grey, 95))
    if bright < _DARK:
        return f'dark: 95 % of the picture is below {bright:.0f} of 255 (lens covered? exposure?)'
    share = float((grey >= _SATURATED).mean())
    if share > _SATURATED_SHARE:
        return f'saturated: {share:.0%} of the picture is white (glare? exposure?)'
    contrast = float(grey.std())
    if contrast < min_contrast:
        return f'blank: contrast {contrast:.1f} is below {min_contrast:.1f} grey levels'
    return None
