# SPDX-License-Identifier: Apache-2.0
"""XFeat (Potje et al., XFeat: Accelerated Features for Lightweight Image Matching, CVPR 2024).

The network is a file in the user's cache; `vpr features export xfeat` makes it from the published
weights. It takes the picture and answers with the strongest points, so that nothing but
onnxruntime is needed here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vpr_ros.errors import ModelError
from vpr_ros.onnx_session import CPU_PROVIDER, create_session, session_options
from vpr_ros.resources import user_cache
from vpr_ros.verification.local_features import LocalFeatures
from vpr_ros.verification.picture import working_picture

IMAGE, MAX_FEATURES = 'image', 'max_features'  # inputs: uint8 RGB (h, w, 3); int64 (1,)
KEYPOINTS, SCORES, DESCRIPTORS = 'keypoints', 'scores', 'descriptors'  # outputs, best first
SIZE_MULTIPLE = 32  # of the picture's height and width
DESCRIPTOR_SIZE = 64
EXPORT_COMMAND = 'vpr features export xfeat'

_REMEDY = f'run `{EXPORT_COMMAND}`'


def default_file() -> Path:
    """Return where `vpr features export xfeat` writes the network."""
    return user_cache('xfeat.onnx')


class XFeatFeatures:
    """XFeat's points and descriptors, through onnxruntime on the CPU."""

    kind = 'xfeat'

    def __init__(
        self, max_features: int, max_height: int = 0, *, file: Path | None = None
    ) -> None:
        """Load the network.

        Args:
            max_features: Points a picture, the strongest.
            max_height: Rows beyond which a picture is made smaller first; 0: never.
            file: The network; None: that in the user's cache.

        Raises:
            ModelError: There is no such file, or it is none that the command wrote.
        """
        path = default_file() if file is None else file
        if not path.is_file():
            raise ModelError(f'no XFeat network at {path}; {_REMEDY}, which makes it')
        self._max_features = max_features
        self._max_height = max_height
        self._session = create_session(path, [CPU_PROVIDER], session_options(0), remedy=_REMEDY)
        names = {node.name for node in self._session.get_inputs()}
        answers = {node.name for node in self._session.get_outputs()}
        if names != {IMAGE, MAX_FEATURES} or answers != {KEYPOINTS, SCORES, DESCRIPTORS}:
            raise ModelError(
                f'{path} is not the XFeat of this vpr_ros: it takes {sorted(names)} and answers '
                f'{sorted(answers)}; {_REMEDY}'
            )

    def extract(self, rgb: np.ndarray) -> LocalFeatures:
        """Find the features of a picture, uint8 RGB (H, W, 3)."""
        picture = working_picture(rgb, self._max_height, multiple=SIZE_MULTIPLE)
        height, width = picture.rgb.shape[:2]
        most = min(self._max_features, height * width)
        keypoints, scores, descriptors = self._session.run(
            [KEYPOINTS, SCORES, DESCRIPTORS],
            {IMAGE: picture.rgb, MAX_FEATURES: np.array([most], np.int64)},
        )
        found = scores > 0
        return LocalFeatures(
            kind=self.kind,
            keypoints=picture.to_camera(keypoints[found]),
            descriptors=descriptors[found],
            width=rgb.shape[1],
            height=rgb.shape[0],
        )
