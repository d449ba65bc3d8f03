# SPDX-License-Identifier: Apache-2.0
"""A student with and without a teacher, otherwise the same, from several seeds.

The student is Lightweight-MixVPR (MobileNetV2, its own tail), trained briefly at a small size on
the GSV-Cities layout at hand as in benchmarks/systems.py; the teacher is an exported model, by
default the shipped one. Recall@1 (%) on the validation split, mean of day and made night, at the
last step.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.systems import CONFIGS, SHARED, SYSTEMS
from training.curves import read_curves
from training.train import main as train
from vpr_ros.resources import default_model

ARMS = {
    'without': (),
    'relational': ('distillation=relational',),
    'projected': ('distillation=projected',),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--teacher', type=Path, help='checkpoint or exported model')
    parser.add_argument('--seeds', type=int, nargs='+', default=[1, 2, 3])
    parser.add_argument('--steps', type=int, default=120)
    parser.add_argument('--runs', type=Path, help='keep the run folders here')
    arguments = parser.parse_args()
    teacher = f'teacher={(arguments.teacher or default_model()).resolve()}'
    recipe, *own = SYSTEMS['Lightweight-MixVPR']
    recalls: dict[str, list[float]] = {arm: [] for arm in ARMS}
    with tempfile.TemporaryDirectory() as scratch:
        for seed in arguments.seeds:
            for arm, settings in ARMS.items():
                run = train([
                    '--config', str(CONFIGS / f'{recipe}.yaml'),
                    '--runs', str(arguments.runs or scratch),
                    *SHARED, *own, f'name={arm}-{seed}', f'seed={seed}',
                    f'steps={arguments.steps}', f'validate_every={arguments.steps}',
                    *([teacher, *settings] if settings else ()),
                ])  # fmt: skip
                _, values = read_curves(run / 'metrics.csv')['val/recall']
                recalls[arm].append(100 * values[-1])
    print(f'| seed | {" | ".join(ARMS)} |\n|---|{"---|" * len(ARMS)}')
    for row, seed in enumerate(arguments.seeds):
        print(f'| {seed} | {" | ".join(f"{recalls[arm][row]:.1f}" for arm in ARMS)} |')
    print(f'| mean | {" | ".join(f"{np.mean(values):.1f}" for values in recalls.values())} |')


if __name__ == '__main__':
    main()
