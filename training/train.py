# SPDX-License-Identifier: Apache-2.0
"""Train a network: `python training/train.py [--config FILE] [--resume RUN] [key=value ...]`."""

from __future__ import annotations

import argparse
import itertools
import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from training.config import TrainConfig, config_from_dict, load_config, parse_overrides
from training.data import load_places, training_loader
from training.models import Network, build_network
from training.models.checkpoint import network_weights, read_checkpoint
from training.module import PlaceRecognition
from training.places import Place
from training.pooling_start import start_as_pooling

POOLING_START_BATCHES = 48  # about 5,000 pictures

# What the optimiser and the weights of the interrupted run decide.
NOT_ON_RESUME = ('weights', 'pooling_start', 'head_lr', 'mixer_lr', 'backbone_lr', 'weight_decay')

logger = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> Path:
    """Run the command; returns the run folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--config', type=Path, help='YAML file with what differs from defaults')
    parser.add_argument('--resume', type=Path, help='run folder or checkpoint to go on from')
    parser.add_argument('--runs', type=Path, default=Path('runs'), help='where run folders go')
    parser.add_argument('overrides', nargs='*', metavar='key=value', help='e.g. steps=200')
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    if arguments.resume is None:
        return train(load_config(arguments.config, arguments.overrides), arguments.runs)
    if arguments.config is not None:
        parser.error('--resume takes its settings from the checkpoint: drop --config')
    checkpoint = arguments.resume
    if checkpoint.is_dir():
        checkpoint = checkpoint / 'last.ckpt'
    before = config_from_dict(read_checkpoint(checkpoint)['config'])
    overrides = parse_overrides(arguments.overrides)
    if fixed := sorted(set(overrides) & set(NOT_ON_RESUME)):
        parser.error(
            f'{", ".join(fixed)} cannot change with --resume; start a new run with '
            f'weights={checkpoint}'
        )
    config = config_from_dict(overrides, before)
    return train(config, arguments.runs, resume=checkpoint)


def train(config: TrainConfig, runs: Path, *, resume: Path | None = None) -> Path:
    """Train, or go on training, and return the run folder.

    The folder holds `config.yaml`, `commit.txt`, `metrics.csv`, `best.ckpt` and `last.ckpt`.
    """
    lightning.seed_everything(config.seed, verbose=False)
    torch.set_num_threads(config.threads)
    places, sets = load_places(config)
    network = build_network(config).to(memory_format=torch.channels_last)
    if resume is None:
        _fill(network, config, places)
    run = _make_run_folder(runs, config, resume)
    logger.info('%d training places; run folder %s', len(places), run)
    trainer = _trainer(config, run)
    task = PlaceRecognition(network, config, places, sets)
    trainer.fit(task, ckpt_path=resume, weights_only=True)
    return run


def _fill(network: Network, config: TrainConfig, places: Sequence[Place]) -> None:
    """Set the weights that the run starts from."""
    if config.weights:
        network.load_state_dict(network_weights(read_checkpoint(Path(config.weights))))
        return
    network.backbone.load_imagenet()
    if config.pooling_start and config.aggregator == 'mixvpr':
        # Batches that the run will not come to: those it starts from would teach it nothing.
        batches = training_loader(config, places, start=config.steps)
        start_as_pooling(network, itertools.islice(batches, POOLING_START_BATCHES))


def _trainer(config: TrainConfig, run: Path) -> lightning.Trainer:
    """Build the trainer: progress bar, metrics file, best and last checkpoint."""
    best = ModelCheckpoint(run, 'best', monitor='val/recall', mode='max')
    last = ModelCheckpoint(run, 'last', every_n_train_steps=config.validate_every)
    callbacks: list[Callback] = [best, last]
    if config.average_decay:
        # Checkpoints and validation see the mean; the optimiser goes on with the weights.
        mean = partial(_running_mean, decay=config.average_decay)
        callbacks.append(WeightAveraging(avg_fn=mean, use_buffers=False))
    return lightning.Trainer(
        max_steps=config.steps,
        precision=config.precision,
        val_check_interval=config.validate_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        callbacks=callbacks,
        logger=CSVLogger(run, name='', version=''),
        enable_model_summary=False,
    )


def _running_mean(mean: Tensor, weights: Tensor, _: Tensor | int, *, decay: float) -> Tensor:
    """Move the mean towards the weights; what does not learn stays as it is, to the last bit."""
    return mean + (1.0 - decay) * (weights - mean)


def _make_run_folder(runs: Path, config: TrainConfig, resume: Path | None) -> Path:
    """Create the folder and write down what is run."""
    run = runs / f'{config.name}-{time.strftime("%Y%m%d-%H%M%S", time.gmtime())}'
    run.mkdir(parents=True)
    (run / 'config.yaml').write_text(config.to_yaml())
    (run / 'commit.txt').write_text(f'{_git_commit()}\n')
    if resume is not None:
        (run / 'resumed_from.txt').write_text(f'{resume.resolve()}\n')
    return run


def _git_commit() -> str:
    """Return the commit of this source tree, with `-dirty` when files differ from it."""
    describe = ['git', 'describe', '--always', '--abbrev=40', '--dirty', '--exclude=*']
    folder = Path(__file__).resolve().parent
    try:
        result = subprocess.run(describe, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return f'unknown ({error})'
    return result.stdout.strip()


if __name__ == '__main__':
    main()
