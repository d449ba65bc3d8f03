# SPDX-License-Identifier: Apache-2.0
"""The training task for Lightning: a step, and recall on the validation split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from training.config import TrainConfig
from training.data import training_loader, validation_loader
from training.distillation import Distillation, ExportedTeacher
from training.models import Network
from training.objective import Objective, build_optimizer, learning_rate_factor
from training.places import Place
from vpr_ros.benchmarks.retrieval_set import RetrievalSet
from vpr_ros.evaluation.metrics import recall_at_k


class PlaceRecognition(lightning.LightningModule):
    """Learn descriptors in which views of one place are closer than any other place."""

    def __init__(
        self,
        network: Network,
        config: TrainConfig,
        places: Sequence[Place],
        sets: Sequence[RetrievalSet],
        *,
        teacher: Network | ExportedTeacher | None = None,
        processes: int = 1,
    ) -> None:
        """Join the network, its settings, the training places and the validation sets.

        Args:
            network: What learns.
            config: The settings.
            places: The training places.
            sets: The validation sets.
            teacher: What to learn from, too.
            processes: How many processes share each batch.
        """
        super().__init__()
        self.network = network
        self.config = config
        self._places = places
        self._sets = sets
        self._described: list[Tensor] = []
        network.backbone.freeze(config.frozen_stages)
        self.objective = Objective(config, processes=processes)
        self.distillation = Distillation(teacher, network, config) if teacher else None

    def train(self, mode: bool = True) -> PlaceRecognition:
        """Switch to training; batch norms keep their statistics if the settings say so.

        A batch of a few dozen places, half of them made nights, would only spoil them.
        """
        super().train(mode)
        if self.config.batch_norm == 'kept':
            self.network.backbone.eval()
        return self

    def on_fit_start(self) -> None:
        """Switch to training: Lightning leaves the modes as they came."""
        self.train()

    def train_dataloader(self) -> DataLoader:
        """Return this process's part of the batches from the step on that the run has reached."""
        return training_loader(
            self.config,
            self._places,
            start=self.global_step * self.config.accumulate,
            part=(self.global_rank, self.objective.processes),
        )

    def val_dataloader(self) -> DataLoader:
        """Return the pictures of the validation split."""
        return validation_loader(self.config, self._sets)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss of one batch: views (P, K, H, W, 3) uint8, labels (P, K)."""
        views, labels = batch
        rgb = views.flatten(0, 1)
        descriptors = self.network(rgb)
        loss, solved = self.objective(descriptors, labels.flatten())
        shown = {'train/loss': loss / self.objective.processes, 'train/solved': solved}
        if self.distillation is not None:
            shown['train/distillation'] = distance = self.distillation(descriptors, rgb)
            loss = loss + distance
        self.log_dict(shown, prog_bar=True)
        return loss

    def validation_step(self, pictures: Tensor, _: int) -> None:
        """Describe the next pictures of the validation split."""
        self._described.append(self.network(pictures).float().cpu())

    def on_validation_epoch_end(self) -> None:
        """Log recall@1 of each set, and their mean, by which the checkpoint is chosen."""
        descriptors = torch.cat(self._described).numpy()
        self._described.clear()
        recalls = {}
        for retrieval in self._sets:
            counts = len(retrieval.references), len(retrieval.queries)
            references, queries, descriptors = np.split(descriptors, np.cumsum(counts))
            best = (queries @ references.T).argmax(axis=1)[:, None]
            recalls[f'val/{retrieval.name}'] = recall_at_k(best, retrieval.truth, (1,))[1]
        recalls['val/recall'] = sum(recalls.values()) / len(recalls)
        self.log_dict(recalls, prog_bar=True)

    def configure_optimizers(self) -> dict[str, Any]:
        """Return optimiser and schedule; the schedule counts optimisation steps."""
        optimizer = build_optimizer(self.network, self.config, self.distillation)
        schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(step, self.config))
        return {
            'optimizer': optimizer,
            'lr_scheduler': {'scheduler': schedule, 'interval': 'step'},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write the settings into the checkpoint, as plain values."""
        checkpoint['config'] = self.config.to_dict()
