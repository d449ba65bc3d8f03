# SPDX-License-Identifier: Apache-2.0
"""The training task for Lightning: loss, optimiser and recall on the validation split."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import lightning
import numpy as np
import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from training.config import TrainConfig
from training.data import training_loader, validation_loader
from training.models import Network
from training.places import Place
from training.validation import RetrievalSet
from vpr_ros.evaluation import recall_at_k


class PlaceRecognition(lightning.LightningModule):
    """Learn descriptors in which views of one place are closer than any other place.

    Multi-similarity loss and miner: Wang et al., CVPR 2019; GSV-Cities' recipe uses them.
    """

    def __init__(
        self,
        network: Network,
        config: TrainConfig,
        places: Sequence[Place],
        sets: Sequence[RetrievalSet],
    ) -> None:
        """Join the network, its settings, the training places and the validation sets."""
        super().__init__()
        self.network = network
        self.config = config
        self._places = places
        self._sets = sets
        self._described: list[Tensor] = []
        network.backbone.freeze(config.frozen_stages)
        self.miner = MultiSimilarityMiner(epsilon=config.miner_epsilon)
        self.loss = MultiSimilarityLoss(
            alpha=config.loss_alpha, beta=config.loss_beta, base=config.loss_base
        )

    def train(self, mode: bool = True) -> PlaceRecognition:
        """Switch to training; batch norms keep the statistics that their weights came with.

        A batch of a few dozen places, half of them made nights, would only spoil them.
        """
        super().train(mode)
        self.network.backbone.eval()
        return self

    def on_fit_start(self) -> None:
        """Switch to training: Lightning leaves the modes as they came."""
        self.train()

    def train_dataloader(self) -> DataLoader:
        """Return the batches from the step on that the run has reached."""
        return training_loader(self.config, self._places, start=self.global_step)

    def val_dataloader(self) -> DataLoader:
        """Return the pictures of the validation split."""
        return validation_loader(self.config, self._sets)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """Return the loss of one batch: views (P, K, H, W, 3) uint8, labels (P, K)."""
        views, labels = batch
        descriptors = self.network(views.flatten(0, 1))
        labels = labels.flatten()
        pairs = self.miner(descriptors, labels)
        loss = self.loss(descriptors, labels, pairs)
        solved = 1.0 - torch.cat((pairs[0], pairs[2])).unique().numel() / labels.numel()
        self.log_dict({'train/loss': loss, 'train/solved': solved}, prog_bar=True)
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
        """AdamW: slow for backbone and mixers, no decay for biases and norms."""
        config = self.config
        rates = {
            'backbone.': config.backbone_lr,
            'aggregator.mix.': config.mixer_lr,
            'aggregator.row_proj.': config.mixer_lr,
        }
        groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
        for name, parameter in self.network.named_parameters():
            if parameter.requires_grad:
                matching = (rate for part, rate in rates.items() if name.startswith(part))
                decay = config.weight_decay if parameter.ndim > 1 else 0.0
                groups[next(matching, config.head_lr), decay].append(parameter)
        optimizer = AdamW(
            {'params': parameters, 'lr': rate, 'weight_decay': decay}
            for (rate, decay), parameters in groups.items()
        )
        schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(step, config))
        return {
            'optimizer': optimizer,
            'lr_scheduler': {'scheduler': schedule, 'interval': 'step'},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write the settings into the checkpoint, as plain values."""
        checkpoint['config'] = self.config.to_dict()


def learning_rate_factor(step: int, config: TrainConfig) -> float:
    """Rise over the warm-up, stay at one, then fall to zero in a straight line."""
    rise = (step + 1) / max(1, config.warmup_steps)
    fall = (config.steps - step) / max(1.0, config.decay_fraction * config.steps)
    return max(0.0, min(1.0, rise, fall))
