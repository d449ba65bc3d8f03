# SPDX-License-Identifier: Apache-2.0
"""Average the weights of checkpoints of one line of training.

`python training/average.py A.ckpt B.ckpt ... OUT.ckpt`. Stages that went on from one another lie
in one valley; their mean often recognises places better than any of them (Wortsman et al., Model
Soups, ICML 2022).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from training.models.checkpoint import network_weights, read_checkpoint

# What shapes the network; the rest of the settings may differ from stage to stage.
SAME = (
    'backbone', 'resnet_layers', 'aggregator', 'height', 'width', 'out_channels', 'out_rows',
    'mix_depth', 'mlp_ratio', 'mixer_grid', 'pooled_grid', 'clusters', 'groups', 'projected_size',
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'checkpoints', nargs='+', type=Path, help='two or more of training/train.py'
    )
    parser.add_argument('output', type=Path)
    arguments = parser.parse_args(argv)
    if len(arguments.checkpoints) < 2:
        parser.error('name two checkpoints or more, then the file of their mean')
    if arguments.output.exists():
        parser.error(f'{arguments.output} is there already; choose another name for the mean')
    torch.save(average(arguments.checkpoints), arguments.output)
    return 0


def average(paths: Sequence[Path]) -> dict[str, Any]:
    """Return a checkpoint with the mean weights and the settings of the last.

    Raises:
        ValueError: The checkpoints are of different networks.
    """
    checkpoints = [read_checkpoint(path) for path in paths]
    configs = [checkpoint['config'] for checkpoint in checkpoints]
    for path, config in zip(paths, configs, strict=True):
        different = [key for key in SAME if config[key] != configs[0][key]]
        if different:
            raise ValueError(f'{path} is of another network than {paths[0]}: see {different}')
    stages = [network_weights(checkpoint) for checkpoint in checkpoints]
    mean = {
        key: torch.stack([stage[key].double() for stage in stages]).mean(dim=0).to(first.dtype)
        for key, first in stages[0].items()
    }
    return {'state_dict': mean, 'config': configs[-1]}


if __name__ == '__main__':
    sys.exit(main())
