# SPDX-License-Identifier: Apache-2.0
"""Train a network: `python training/train.py [--config FILE] [--resume RUN] [key=value ...]`."""

from __future__ import annotations

import argparse
import errno
import itertools
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import lightning
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    ModelCheckpoint,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor

from training.config import TrainConfig, config_from_dict, load_config, parse_overrides
from training.curves import Curves
from training.data import load_places, training_loader
from training.distillation import load_teacher
from training.head_start import start_as_pooling, start_from_clusters, start_projection
from training.models import Network, build_network
from training.models.aggregators import MixVPR, NetVLAD, Vlad
from training.models.checkpoint import (
    load_weights,
    network_weights,
    read_checkpoint,
)
from training.module import PlaceRecognition
from training.places import Place

POOLING_START_BATCHES = 48  # about 5,000 pictures
CLUSTER_START_BATCHES = 4  # 300,000 local descriptors and more

# What the optimiser and the weights of the interrupted run decide.
NOT_ON_RESUME = ('weights', 'pooling_start', 'head_lr', 'mixer_lr', 'backbone_lr', 'weight_decay')

logger = logging.getLogger(__name__)


class RunStoppedError(Exception):
    """A run ended before its end; the message says why and how to go on."""


class SaveWhenStopped(Callback):
    """Writes `last.ckpt` when a run is stopped, by hand or by an error.

    Ctrl-C ends the run after the next step, a second one at once. Python's own handler raises
    wherever it happens to be, and in a finaliser the exception would be lost.
    """

    def __init__(self, run: Path) -> None:
        """Remember the run folder."""
        self._path = run / 'last.ckpt'
        self._handler: Any = None
        self._is_asked_to_stop = False

    def on_fit_start(self, *_: object) -> None:
        """Listen to Ctrl-C."""
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, self._stop_after_this_step)

    def on_fit_end(self, *_: object) -> None:
        """Listen no more."""
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)

    def on_train_batch_end(self, *_: object) -> None:
        """Stop, if asked to."""
        if self._is_asked_to_stop:
            raise KeyboardInterrupt

    def on_exception(
        self, trainer: lightning.Trainer, _: lightning.LightningModule, exception: BaseException
    ) -> None:
        """Save, unless the disk is what stopped it: the last whole file stays, then.

        What was saved before a validation is of the same step, and with the weights in place.
        """
        self.on_fit_end()
        is_full = isinstance(exception, OSError) and exception.errno == errno.ENOSPC
        if trainer.global_step and not is_full and not trainer.validating:
            trainer.save_checkpoint(self._path)

    def _stop_after_this_step(self, *_: object) -> None:
        if self._is_asked_to_stop:
            raise KeyboardInterrupt
        self._is_asked_to_stop = True
        logger.info('\nstopping after the next step; Ctrl-C again stops at once')


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

    The folder holds `config.yaml`, `commit.txt`, `metrics.csv`, TensorBoard's events,
    `curves.png`, `best.ckpt` and `last.ckpt`. Under torchrun its processes share the batches.

    Raises:
        RunStoppedError: By hand or by a full disk; says which checkpoint there is to go on from.
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
    teacher = load_teacher(Path(config.teacher)) if config.teacher else None
    task = PlaceRecognition(
        network, config, places, sets, teacher=teacher, processes=trainer.world_size
    )
    try:
        if resume is None and sets:
            trainer.validate(task, verbose=False)  # what training starts from
        trainer.fit(task, ckpt_path=resume, weights_only=True)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise RunStoppedError(
            f'the disk with {run} is full; free some, then {_advice(run)}'
        ) from error
    except SystemExit as error:  # Lightning's answer to Ctrl-C
        step = trainer.global_step
        raise RunStoppedError(f'stopped by hand at step {step}; {_advice(run)}') from error
    return run


def _advice(run: Path) -> str:
    """Say how to go on with a run that stopped."""
    if (run / 'last.ckpt').exists():
        return f'go on with: python training/train.py --resume {run}'
    return 'there is no checkpoint yet: start again'


def _fill(network: Network, config: TrainConfig, places: Sequence[Place]) -> None:
    """Set the weights that the run starts from."""
    if config.weights:
        load_weights(network, network_weights(read_checkpoint(Path(config.weights))))
        return
    if config.pretrained:
        network.backbone.load_pretrained()
    # Batches that the run will not come to: those it starts from would teach it nothing.
    batches = training_loader(config, places, start=config.steps * config.accumulate)
    if isinstance(network.aggregator, MixVPR) and config.pooling_start:
        start_as_pooling(network, itertools.islice(batches, POOLING_START_BATCHES))
    if isinstance(network.aggregator, Vlad):
        start_from_clusters(network, itertools.islice(batches, CLUSTER_START_BATCHES))
    if isinstance(network.aggregator, NetVLAD) and network.projection and config.pooling_start:
        start_projection(network, itertools.islice(batches, POOLING_START_BATCHES))


def _trainer(config: TrainConfig, run: Path) -> lightning.Trainer:
    """Build the trainer: progress bar, metrics, curves, best and last checkpoint."""
    # torchrun says how many processes there are; without it there is one.
    processes = int(os.environ.get('WORLD_SIZE', '1'))
    on_this_machine = int(os.environ.get('LOCAL_WORLD_SIZE', '1'))
    callbacks: list[Callback] = [
        ModelCheckpoint(run, 'best', monitor='val/recall', mode='max'),
        ModelCheckpoint(run, 'last', every_n_train_steps=config.validate_every),
        SaveWhenStopped(run),
        Curves(run),
    ]
    if config.patience:
        callbacks.append(EarlyStopping('val/recall', mode='max', patience=config.patience))
    if config.average_decay:
        # Checkpoints and validation see the mean; the optimiser goes on with the weights.
        mean = partial(_running_mean, decay=config.average_decay)
        callbacks.append(WeightAveraging(avg_fn=mean, use_buffers=False))
    return lightning.Trainer(
        max_steps=config.steps,
        precision=config.precision,
        devices=on_this_machine,
        num_nodes=processes // on_this_machine,
        strategy='ddp' if processes > 1 else 'auto',
        use_distributed_sampler=False,  # each process takes its part of every batch itself
        accumulate_grad_batches=config.accumulate,
        gradient_clip_val=config.gradient_clip or None,
        gradient_clip_algorithm=config.gradient_clip_by,
        val_check_interval=config.validate_every * config.accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=config.log_every,
        callbacks=callbacks,
        logger=[CSVLogger(run, '', ''), TensorBoardLogger(run, '', '')],
        enable_model_summary=False,
        enable_progress_bar=sys.stdout.isatty(),  # a log file has no use for it
    )


def _running_mean(mean: Tensor, weights: Tensor, _: Tensor | int, *, decay: float) -> Tensor:
    """Move the mean towards the weights; what does not learn stays as it is, to the last bit."""
    return mean + (1.0 - decay) * (weights - mean)


def _make_run_folder(runs: Path, config: TrainConfig, resume: Path | None) -> Path:
    """Create the folder and write down what is run."""
    run = runs / f'{config.name}-{time.strftime("%Y%m%d-%H%M%S", time.gmtime())}'
    if int(os.environ.get('RANK', '0')):
        return run  # the first of the processes writes
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
    try:
        main()
    except RunStoppedError as stopped:
        sys.exit(f'\n{stopped}')
    finally:
        if torch.distributed.is_initialized():  # its threads abort a process that ends first
            torch.distributed.destroy_process_group()
