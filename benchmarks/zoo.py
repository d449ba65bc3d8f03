# SPDX-License-Identifier: Apache-2.0
"""The published configurations in one table: size, cost, latency here, recall as published.

Parameters and operations are counted on the network of each preset. Latency is that of one
picture through the exported file and the runtime, resize included, the median of several; the
weights are random. Recall@1 (%) is what the authors state, on Pittsburgh30k-test (6,816 queries
among 10,000, 25 m) and MSLS-val (740 queries among 18,871, 25 m); nothing of it was measured here.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from training.config import TrainConfig, config_from_dict
from training.export_onnx import LARGEST_FILE, new_record, write_onnx, write_record
from training.models import build_network
from training.presets import PRESETS
from training.sample_pictures import made_picture
from vpr_ros.extractor import DescriptorExtractor

REPEATS = 9

# name: (Pittsburgh30k-test, MSLS-val), and who says so
PUBLISHED: dict[str, tuple[float | None, float | None, str]] = {
    'mixvpr-resnet50-4096': (91.6, 88.2, 'MixVPR'),
    'mixvpr-resnet50-512': (90.7, 84.1, 'MixVPR'),
    'mixvpr-resnet50-128': (87.8, 78.5, 'MixVPR'),
    'lightweight-efficientnet-b0-128': (81.51, 65.00, 'Lightweight-MixVPR'),
    'lightweight-mobilenetv2-1024': (86.30, 70.14, 'Lightweight-MixVPR'),
    'lightweight-resnet18-512': (89.00, 81.49, 'Lightweight-MixVPR'),
    'dinomix-vits14-4096': (90.61, None, 'DINO-Mix'),
    'dinomix-vitb14-4096': (92.03, None, 'DINO-Mix'),
    'dinomix-vitl14-4096': (91.27, None, 'DINO-Mix'),
    'dinomix-vitg14-4096': (87.71, None, 'DINO-Mix'),
    'clusvpr-vgg16-4096': (90.8, 82.7, 'ClusVPR, MSLS protocol not stated'),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('names', nargs='*', metavar='PRESET', help='default: all')
    parser.add_argument('--no-latency', action='store_true', help='count only')
    arguments = parser.parse_args()
    print(
        '| preset | input | D | parameters, M | GMACs | latency, ms | Pitts30k-test | MSLS-val '
        '| stated by |\n|---|---|---|---|---|---|---|---|---|'
    )
    for name in arguments.names or PRESETS:
        config = config_from_dict({'preset': name, 'name': name})
        descriptor_size, parameters, gmacs = count(config)
        latency = None
        if not arguments.no_latency and 4 * parameters <= LARGEST_FILE:
            latency = latency_ms(config)
        *recalls, source = PUBLISHED[name]
        figures = ' | '.join('-' if value is None else f'{value:.1f}' for value in recalls)
        shown = '-' if latency is None else f'{latency:.0f}'
        print(
            f'| `{name}` | {config.width}x{config.height} | {descriptor_size} '
            f'| {parameters / 1e6:.1f} | {gmacs:.1f} | {shown} | {figures} | {source} |',
            flush=True,
        )


def count(config: TrainConfig) -> tuple[int, int, float]:
    """Return descriptor size, number of parameters and 10^9 multiplications with addition."""
    with torch.device('meta'):  # nothing is computed: shapes alone
        network = build_network(config).eval()
        picture = torch.empty(1, 3, config.height, config.width)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        descriptor = network.aggregator(network.backbone(picture))
        if network.projection is not None:
            network.projection(descriptor)
    parameters = sum(value.numel() for value in network.parameters())
    return network.descriptor_size, parameters, counter.get_total_flops() / 2e9


def latency_ms(config: TrainConfig) -> float:
    """Return the median time of one 640x480 picture through the runtime, milliseconds."""
    torch.manual_seed(0)
    network = build_network(config).eval()
    picture = made_picture(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'model.onnx'
        write_onnx(network, path)
        write_record(path, new_record(network, config.name, 'nothing', '0' * 64))
        del network
        model = DescriptorExtractor(path, device='cpu')
        times = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            model.extract(picture)
            times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


if __name__ == '__main__':
    main()
