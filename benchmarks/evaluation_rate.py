# SPDX-License-Identifier: Apache-2.0
"""What the recognition in `vpr evaluate` costs over the bare extractor, on a bag of JPEG.

Rounds that take turns: the pictures, decoded beforehand, through `DescriptorExtractor.extract` in
a loop; and the bag read, decoded and recognised against a map of its own places.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from vpr_ros.bag_writer import BagWriter
from vpr_ros.evaluation.offline import answer_queries
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.picture_folder import read_picture
from vpr_ros.place_map import PlaceMap
from vpr_ros.recognizer import PlaceRecognizer, RecognizerConfig
from vpr_ros.resources import default_model
from vpr_ros.sources import BagSource

SETS = {'tum_fr1_desk': 'rgb', 'gardens_point': 'day_left'}  # 640x480 and 960x540


def main() -> None:
    """Print a table for each set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--pictures', type=int, default=200)
    args = parser.parse_args()
    data = Path(os.environ.get('VPR_DATA', Path(__file__).parents[2] / 'shared' / 'data'))
    extractor = DescriptorExtractor(default_model(), device='cpu')
    for name, folder in SETS.items():
        files = sorted((data / name / folder).glob('*.jpg'))[: args.pictures]
        if not files:
            raise SystemExit(f'no pictures at {data / name / folder}; set VPR_DATA')
        with tempfile.TemporaryDirectory() as scratch:
            measure(name, files, extractor, args.rounds, Path(scratch) / 'bag')


def measure(
    name: str, files: list[Path], extractor: DescriptorExtractor, rounds: int, bag: Path
) -> None:
    """Print one table."""
    with BagWriter(bag) as writer:
        for i, file in enumerate(files):
            writer.add_compressed('/camera', file.read_bytes(), (i + 1) * 10**9, 'camera')
    pictures = [read_picture(file) for file in files]
    place_map = PlaceMap(extractor.info.ref)
    place_map.add(extractor.extract_batch(pictures), stamps_ns=np.arange(len(pictures)))
    height, width = pictures[0].shape[:2]
    print(f'{name}: {len(files)} JPEG of {width}x{height}, {os.cpu_count()} cores; pictures/s\n')
    print('| round | bare extractor | evaluation of the bag | ratio |\n|---|---|---|---|')
    ratios = []
    for number in range(1, rounds + 1):
        start = time.perf_counter()
        for rgb in pictures:
            extractor.extract(rgb)
        bare_hz = len(pictures) / (time.perf_counter() - start)
        recognizer = PlaceRecognizer(extractor, place_map, RecognizerConfig(top_k=20))
        start = time.perf_counter()
        answer_queries(BagSource(bag), recognizer)
        evaluated_hz = len(pictures) / (time.perf_counter() - start)
        ratios.append(evaluated_hz / bare_hz)
        print(f'| {number} | {bare_hz:.1f} | {evaluated_hz:.1f} | {ratios[-1]:.2f} |', flush=True)
    print(f'\nmedian ratio: {np.median(ratios):.2f}\n')


if __name__ == '__main__':
    main()
