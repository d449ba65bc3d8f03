# SPDX-License-Identifier: Apache-2.0
"""Which resize: speed against drift from Pillow's antialiased bilinear, on real pictures.

Drift is the difference of the resized uint8 pictures, in grey levels 0..255; time is a ratio to
Pillow, one thread, the best of several rounds in one run.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from vpr_ros.picture_folder import read_picture
from vpr_ros.preprocess import Preprocess

SIZE = 256
ROUNDS = 8


def candidates() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Return each way to resize by its name; the first is the reference."""

    def opencv(flag: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda rgb: cv2.resize(rgb, (SIZE, SIZE), interpolation=flag)

    def bicubic(rgb: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(rgb).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        return np.asarray(picture)

    return {
        'Pillow bilinear (ours)': Preprocess(SIZE, SIZE),
        'Pillow bicubic': bicubic,
        'OpenCV INTER_AREA': opencv(cv2.INTER_AREA),
        'OpenCV INTER_LINEAR': opencv(cv2.INTER_LINEAR),
    }


def best_time(resize: Callable[[np.ndarray], np.ndarray], pictures: list[np.ndarray]) -> float:
    """Seconds for all pictures, the best of several rounds."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for rgb in pictures:
            resize(rgb)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--json', type=Path, help='write the rows here, too')
    args = parser.parse_args()
    cv2.setNumThreads(1)
    data = Path(os.environ.get('VPR_DATA', Path(__file__).parents[2] / 'shared' / 'data'))
    paths = sorted(data.glob('gardens_point/day_left/*.jpg'))[::20]
    paths += sorted(data.glob('tum_fr1_desk/**/*.jpg'))[::60]
    if not paths:
        raise SystemExit(f'no pictures at {data}; set VPR_DATA')
    pictures = [read_picture(path) for path in paths]
    reference = [Preprocess(SIZE, SIZE)(rgb).astype(int) for rgb in pictures]
    rows = []
    for name, resize in candidates().items():
        drifts = [np.abs(resize(rgb) - ref) for rgb, ref in zip(pictures, reference, strict=True)]
        rows.append(
            {
                'resize': name,
                'seconds': best_time(resize, pictures),
                'mean_drift': float(np.mean([d.mean() for d in drifts])),
                'worst_drift': int(max(d.max() for d in drifts)),
            }
        )
    print(f'{len(pictures)} pictures of Gardens Point and fr1_desk to {SIZE}x{SIZE}\n')
    print('| resize | time, ours = 1 | mean drift | worst drift |\n|---|---|---|---|')
    for row in rows:
        ratio = float(row['seconds']) / float(rows[0]['seconds'])
        print(
            f'| {row["resize"]} | {ratio:.2f} | {row["mean_drift"]:.2f} | {row["worst_drift"]} |'
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main()
