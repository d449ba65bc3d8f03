# SPDX-License-Identifier: Apache-2.0
"""One short training of each published system on the pictures at hand: does it learn?

Each takes its own recipe (training/configs) but for what two CPU cores and 955 places ask for:
small pictures and batches, AdamW, few steps. Loss is the mean of the first and of the last tenth
of the steps, recall@1 (%) the mean over the validation sets before the first step and at the best
validation. Backbones whose pretrained weights are on no package index start at random, and their
recall with them: these are no figures to compare systems by.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from training.config import load_config
from training.curves import read_curves
from training.train import main as train

CONFIGS = Path(__file__).resolve().parents[1] / 'training' / 'configs'
SYSTEMS = {
    # A random ResNet-50 is not learned in minutes: it stays as it is.
    'MixVPR': (
        'mixvpr_resnet50', 'pretrained=false', 'frozen_stages=4', 'batch_norm=kept',
        'height=128', 'width=128',
    ),
    'Lightweight-MixVPR': ('lightweight_mobilenetv2', 'height=160', 'width=160'),
    'DINO-Mix': (
        'dinomix_vitb14', 'preset=dinomix-vits14-4096', 'pretrained=false', 'frozen_stages=0',
        'height=112', 'width=112', 'gradient_clip=0', 'accumulate=1',
    ),
    'ClusVPR': ('clusvpr_vgg16', 'pretrained=false', 'frozen_stages=0', 'height=96', 'width=128'),
}  # fmt: skip
SHARED = (
    'optimizer=adamw', 'head_lr=3e-4', 'mixer_lr=3e-4', 'backbone_lr=1e-4', 'schedule=linear',
    'warmup_steps=5', 'precision=32-true', 'min_pictures=2', 'gsv_places=12', 'workers=2',
    'log_every=1',
)  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--only', choices=SYSTEMS, help='one of them')
    parser.add_argument('--steps', type=int, default=120)
    parser.add_argument('--runs', type=Path, help='keep the run folders here')
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in [arguments.only] if arguments.only else SYSTEMS:
            recipe, *own = SYSTEMS[name]
            run = train([
                '--config', str(CONFIGS / f'{recipe}.yaml'),
                '--runs', str(arguments.runs or scratch),
                *SHARED, *own,
                f'steps={arguments.steps}', f'validate_every={arguments.steps // 4}',
            ])  # fmt: skip
            rows.append(f'| {name} | `{recipe}.yaml` | {summary(run)} |')
    print(
        '| system | recipe | picture | loss | recall@1, start | best |\n|---|---|---|---|---|---|'
    )
    print('\n'.join(rows))


def summary(run: Path) -> str:
    """Return the cells of one run: size, loss at both ends, recall before and at best."""
    curves = read_curves(run / 'metrics.csv')
    _, losses = curves['train/loss']
    _, recalls = curves['val/recall']
    tenth = max(1, len(losses) // 10)
    first, last = np.mean(losses[:tenth]), np.mean(losses[-tenth:])
    settings = load_config(run / 'config.yaml')
    return (
        f'{settings.width}x{settings.height} | {first:.2f} to {last:.2f} '
        f'| {100 * recalls[0]:.1f} | {100 * max(recalls[1:]):.1f}'
    )


if __name__ == '__main__':
    main()
