# SPDX-License-Identifier: Apache-2.0
"""Run train.py, alone or under torchrun, and write losses and a few weights as JSON."""

import json
import sys
from pathlib import Path

import torch
from lightning.pytorch.callbacks import Callback

from training import train
from training.module import PlaceRecognition


class Recorder(Callback):
    """Remembers the loss that is logged and the size of this process's batches."""

    def __init__(self):
        self.losses = []
        self.sizes = []

    def on_train_batch_end(self, trainer, module, outputs, batch, _):
        self.losses.append(float(trainer.callback_metrics['train/loss']))
        self.sizes.append(batch[1].numel())


def main():
    output, *settings = sys.argv[1:]
    recorder = Recorder()
    build = train._trainer

    def build_with_recorder(config, run):
        trainer = build(config, run)
        trainer.callbacks.append(recorder)
        return trainer

    train._trainer = build_with_recorder
    tasks = []
    original = PlaceRecognition.__init__

    def remember(self, *args, **kwargs):
        original(self, *args, **kwargs)
        tasks.append(self)

    PlaceRecognition.__init__ = remember
    train.main(['--runs', str(Path(output).with_suffix('')), *settings])
    weights = tasks[0].network.aggregator.channel_proj.weight.detach().flatten()[:50]
    sizes = [recorder.sizes[0]]
    if torch.distributed.is_initialized():
        gathered = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(gathered, recorder.sizes[0])
        sizes = gathered
    if tasks[0].global_rank == 0:
        result = {'loss': recorder.losses, 'weights': weights.tolist(), 'rank_batches': sizes}
        Path(output).write_text(json.dumps(result))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


main()
