# SPDX-License-Identifier: Apache-2.0
"""`vpr model info`: what a model file is, and how fast it runs here."""

from __future__ import annotations

import argparse
from pathlib import Path

from vpr_ros.cli.arguments import positive


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add `vpr model …`."""
    model = commands.add_parser('model', help='look into model files')
    actions = model.add_subparsers(dest='action', required=True, metavar='ACTION')
    info = actions.add_parser('info', help='record, shapes, devices and latency of a model file')
    info.add_argument('file', type=Path, nargs='?', help='ONNX file (default: the shipped model)')
    info.add_argument('--device', default='auto', choices=('auto', 'cpu', 'cuda', 'tensorrt'))
    info.add_argument('--runs', type=positive, default=50, help='pictures to time (default 50)')
    info.set_defaults(run=run_info)


def run_info(args: argparse.Namespace) -> int:
    """Print the record of a model and time it on this machine."""
    import numpy as np

    from vpr_ros.extractor import DescriptorExtractor, available_providers
    from vpr_ros.latency import time_calls
    from vpr_ros.resources import default_model

    extractor = DescriptorExtractor(args.file or default_model(), device=args.device)
    info = extractor.info
    size = info.preprocess
    print(f'file        {info.path} ({info.path.stat().st_size / 1e6:.1f} MB)')
    print(f'sha256      {info.sha256}')
    print(
        f'input       image: uint8 RGB (B, {size.height}, {size.width}, 3), {size.resize} resize'
    )
    print(f'output      descriptor: float32 (B, {info.descriptor_size}), unit norm')
    for key, value in sorted(info.metadata.items()):
        print(f'{key:24} {value}')
    print(f'providers   {", ".join(available_providers())}')
    print(f'in use      {extractor.provider}: {extractor.provider_reason}')
    rgb = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    latency = time_calls(lambda: extractor.extract(rgb), runs=args.runs)
    print(f'latency     {latency} a 640x480 picture, resize included, {args.runs} runs')
    return 0
