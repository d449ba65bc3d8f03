# SPDX-License-Identifier: Apache-2.0
"""How much of the reading a map build hides behind the network, on Gardens Point day_left.

Times, in one run, reading and resizing alone, the network alone, and a whole build, which does
both at once; the build is also told as a ratio to the sum of the two.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.map_builder import BuildOptions, build_map
from vpr_ros.picture_folder import PictureFolder
from vpr_ros.resources import default_model


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=5)
    args = parser.parse_args()
    data = Path(os.environ.get('VPR_DATA', Path(__file__).parents[2] / 'shared' / 'data'))
    folder = data / 'gardens_point' / 'day_left'
    if not folder.is_dir():
        raise SystemExit(f'no pictures at {folder}; set VPR_DATA')
    source = PictureFolder(folder)
    extractor = DescriptorExtractor(default_model(), device='cpu')
    options = BuildOptions(picture_height=0)
    ratios = []
    print(f'{source.num_frames} pictures, {os.cpu_count()} cores; seconds\n')
    print('| round | reading | network | build | build / (reading + network) |')
    print('|---|---|---|---|---|')
    for number in range(1, args.rounds + 1):
        start = time.perf_counter()
        pictures = [extractor.info.preprocess(frame.rgb) for frame in source.frames()]
        read_s = time.perf_counter() - start
        start = time.perf_counter()
        for i in range(0, len(pictures), options.batch_size):
            extractor.extract_batch(pictures[i : i + options.batch_size])
        network_s = time.perf_counter() - start
        with tempfile.TemporaryDirectory() as scratch:
            start = time.perf_counter()
            build_map(source, extractor, Path(scratch) / 'map', options=options)
            build_s = time.perf_counter() - start
        ratios.append(build_s / (read_s + network_s))
        cells = f'{read_s:.2f} | {network_s:.2f} | {build_s:.2f} | {ratios[-1]:.2f}'
        print(f'| {number} | {cells} |', flush=True)
    print(f'\nmedian ratio: {np.median(ratios):.2f}')


if __name__ == '__main__':
    main()
