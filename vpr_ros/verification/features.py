# SPDX-License-Identifier: Apache-2.0
"""Local features: points of a picture that can be found again, and what they look like."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from vpr_ros.verification.local_features import FeatureExtractor, LocalFeatures
from vpr_ros.verification.picture import WorkingPicture, working_picture
from vpr_ros.verification.xfeat import XFeatFeatures

DEFAULT_FEATURES = 'sift'
DEFAULT_MAX_FEATURES = 1000
DEFAULT_MAX_HEIGHT = 288


class SiftFeatures:
    """SIFT (Lowe 2004) through OpenCV, compared as RootSIFT (Arandjelović and Zisserman 2012)."""

    kind = 'sift'

    def __init__(self, max_features: int, max_height: int = 0) -> None:
        """Keep the `max_features` of most contrast, of a picture of `max_height` rows; 0: any."""
        self._max_features = max_features
        self._max_height = max_height
        self._sift = cv2.SIFT_create(nfeatures=max_features)

    def extract(self, rgb: np.ndarray) -> LocalFeatures:
        """Find the features of a picture, uint8 RGB (H, W, 3)."""
        picture = working_picture(rgb, self._max_height)
        keypoints, found = self._sift.detectAndCompute(_grey(picture), None)
        histograms = np.zeros((0, 128), np.float32) if found is None else found
        sums = np.maximum(histograms.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        roots = np.sqrt(histograms / sums)
        return _features(self.kind, picture, keypoints, roots, rgb, self._max_features)


class OrbFeatures:
    """ORB (Rublee et al. 2011) through OpenCV."""

    kind = 'orb'

    def __init__(self, max_features: int, max_height: int = 0) -> None:
        """Keep the `max_features` strongest corners, of a picture of `max_height` rows; 0: any."""
        self._max_features = max_features
        self._max_height = max_height
        self._orb = cv2.ORB_create(nfeatures=max_features, fastThreshold=7)

    def extract(self, rgb: np.ndarray) -> LocalFeatures:
        """Find the features of a picture, uint8 RGB (H, W, 3)."""
        picture = working_picture(rgb, self._max_height)
        keypoints, found = self._orb.detectAndCompute(_grey(picture), None)
        bits = np.zeros((0, 32), np.uint8) if found is None else found
        return _features(self.kind, picture, keypoints, bits, rgb, self._max_features)


_EXTRACTORS: dict[str, Callable[[int, int], FeatureExtractor]] = {
    'sift': SiftFeatures,
    'orb': OrbFeatures,
    'xfeat': XFeatFeatures,
}
FEATURE_KINDS = tuple(_EXTRACTORS)


def create_feature_extractor(
    name: str = DEFAULT_FEATURES,
    max_features: int = DEFAULT_MAX_FEATURES,
    max_height: int = DEFAULT_MAX_HEIGHT,
) -> FeatureExtractor:
    """Return what finds local features.

    Args:
        name: One of `FEATURE_KINDS`.
        max_features: Features a picture at most.
        max_height: Rows to which a larger picture is shrunk first, which costs less time;
            keypoints are in pixels of the camera's picture all the same. 0: never.

    Raises:
        ValueError: No such features, or a number out of range.
        ModelError: XFeat's network is not there; the message names the command that makes it.
    """
    if name not in _EXTRACTORS:
        raise ValueError(f'features must be one of {", ".join(_EXTRACTORS)}, not {name!r}')
    if max_features < 1:
        raise ValueError(f'max_features must be 1 or more, not {max_features}')
    if max_height < 0:
        raise ValueError(f'max_height must be 0 or more, not {max_height}')
    return _EXTRACTORS[name](max_features, max_height)


def _grey(picture: WorkingPicture) -> np.ndarray:
    return cv2.cvtColor(picture.rgb, cv2.COLOR_RGB2GRAY)


def _features(
    kind: str,
    picture: WorkingPicture,
    found: tuple[cv2.KeyPoint, ...],
    descriptors: np.ndarray,
    rgb: np.ndarray,
    max_features: int,
) -> LocalFeatures:
    responses = np.array([keypoint.response for keypoint in found])
    strongest = np.argsort(-responses, kind='stable')[:max_features]
    positions = np.array(cv2.KeyPoint_convert(found), np.float32).reshape(-1, 2)
    return LocalFeatures(
        kind=kind,
        keypoints=picture.to_camera(positions[strongest]),
        descriptors=descriptors[strongest],
        width=rgb.shape[1],
        height=rgb.shape[0],
    )
