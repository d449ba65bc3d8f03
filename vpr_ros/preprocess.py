# SPDX-License-Identifier: Apache-2.0
"""The one definition of how a picture becomes network input.

Training, export and the runtime import this module; the model file carries the record
(`Preprocess.to_json`), so that a robot cannot feed a network other pictures than it learned from.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

import numpy as np
from PIL import Image

RESIZE_PILLOW_BILINEAR = 'pillow-bilinear'


@dataclass(frozen=True)
class Preprocess:
    """Resize to a fixed size; the aspect ratio is not kept, as in MixVPR's training.

    `pillow-bilinear` is Pillow's antialiased triangle filter, the one that the released MixVPR
    weights were trained with. docs/resize.md holds the measurement behind this choice.

    Attributes:
        height: Network input height, pixels.
        width: Network input width, pixels.
        resize: Name of the algorithm; only `pillow-bilinear` exists.
    """

    height: int
    width: int
    resize: str = RESIZE_PILLOW_BILINEAR

    def __post_init__(self) -> None:
        """Refuse a record that no picture could satisfy."""
        for name in ('height', 'width'):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f'preprocess {name} must be a positive integer, not {value!r}')
        if self.resize != RESIZE_PILLOW_BILINEAR:
            raise ValueError(
                f'unknown resize {self.resize!r}; this version knows {RESIZE_PILLOW_BILINEAR!r}'
            )

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """Resize one picture.

        Args:
            rgb: uint8 RGB (H, W, 3).

        Returns:
            uint8 RGB (height, width, 3), C-contiguous.

        Raises:
            ValueError: The array is not a uint8 RGB picture.
        """
        check_rgb(rgb)
        if rgb.shape[:2] == (self.height, self.width):
            return np.ascontiguousarray(rgb)
        picture = Image.fromarray(np.ascontiguousarray(rgb))
        return np.array(picture.resize((self.width, self.height), Image.Resampling.BILINEAR))

    def to_json(self) -> str:
        """Return the record that is written into the model file."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Preprocess:
        """Read the record of a model file.

        Raises:
            ValueError: Not JSON, or with missing, unknown or impossible entries.
        """
        record = json.loads(text)
        names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(record, dict) or set(record) != names:
            raise ValueError(f'preprocess record must have exactly {sorted(names)}, not {text!r}')
        return cls(**record)


def check_rgb(rgb: np.ndarray) -> None:
    """Refuse what is not a picture.

    Raises:
        ValueError: `rgb` is not uint8 (H, W, 3) with H and W at least 1.
    """
    if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8:
        kind = getattr(rgb, 'dtype', type(rgb).__name__)
        raise ValueError(f'a picture must be a uint8 array (H, W, 3) in RGB order, not {kind}')
    if rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ValueError(f'a picture must have the shape (H, W, 3), not {rgb.shape}')
