# SPDX-License-Identifier: Apache-2.0
"""The picture of a run: `python training/curves.py RUN` draws `RUN/curves.png`."""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

import lightning
from lightning.pytorch.callbacks import Callback

Curve = tuple[list[int], list[float]]


class Curves(Callback):
    """Draws the curves anew after each validation."""

    def __init__(self, run: Path) -> None:
        """Remember the run folder."""
        self._run = run

    def on_validation_end(self, trainer: lightning.Trainer, *_: object) -> None:
        """Draw what has been measured so far."""
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.save()
            draw_curves(self._run)


def read_curves(metrics: Path) -> dict[str, Curve]:
    """Read `metrics.csv`: for each metric the steps and its values there."""
    curves: dict[str, Curve] = defaultdict(lambda: ([], []))
    with metrics.open(newline='') as table:
        for row in csv.DictReader(table):
            for name, value in row.items():
                if value and '/' in name:
                    steps, values = curves[name]
                    steps.append(int(row['step']) + 1)
                    values.append(float(value))
    return dict(curves)


def draw_curves(run: Path) -> Path:
    """Draw loss, solved share and validation recall over the steps.

    Raises:
        FileNotFoundError: The folder has no metrics.
    """
    from matplotlib.figure import Figure

    curves = read_curves(run / 'metrics.csv')
    figure = Figure(figsize=(10, 4), layout='constrained')
    loss, recall = figure.subplots(1, 2)
    for axes, group, title in ((loss, 'train', 'training'), (recall, 'val', 'validation')):
        for name, (steps, values) in sorted(curves.items()):
            kind, _, label = name.partition('/')
            if kind == group:
                is_mean = label == 'recall'
                axes.plot(steps, values, label='mean' if is_mean else label,
                          color='black' if is_mean else None, linewidth=2 if is_mean else 1,
                          marker='.' if group == 'val' else None)  # fmt: skip
        axes.set(title=title, xlabel='step')
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize='small')
    recall.set_ylabel('recall@1')
    path = run / 'curves.png'
    figure.savefig(path, dpi=100)
    return path


if __name__ == '__main__':
    print(draw_curves(Path(sys.argv[1])))
