# SPDX-License-Identifier: Apache-2.0
"""What a run minimises and how: loss, miner, optimiser, schedule, by the names in the settings."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from types import ModuleType

import torch
from pytorch_metric_learning import losses, miners
from pytorch_metric_learning.utils import distributed
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from training.config import TrainConfig
from training.models import Network


class Objective(nn.Module):
    """Loss over the pairs that the miner chooses.

    Multi-similarity (Wang et al., CVPR 2019) is what GSV-Cities and all that follow it use. Among
    several processes the pairs are those of all their batches together, as if it were one.
    """

    def __init__(self, config: TrainConfig, *, processes: int = 1) -> None:
        """Build loss and miner of pytorch-metric-learning by their exact names.

        Args:
            config: The settings.
            processes: How many processes' descriptors make the pairs.

        Raises:
            ValueError: There is no such loss or miner, or it takes other arguments.
        """
        super().__init__()
        self.loss = _build(losses, 'loss', config.loss, config.loss_args)
        self.miner = (
            _build(miners, 'miner', config.miner, config.miner_args) if config.miner else None
        )
        self.processes = processes
        if processes > 1:
            self.loss = distributed.DistributedLossWrapper(self.loss)
            if self.miner is not None:
                self.miner = distributed.DistributedMinerWrapper(self.miner)

    def forward(self, descriptors: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the loss of descriptors (N, D) with labels (N,).

        Returns:
            The loss, times the number of processes (what they average has the gradient of one),
            and the share of the descriptors that no mined pair holds: those are solved.
        """
        if self.miner is None:
            return self.loss(descriptors, labels), torch.zeros(())
        pairs = self.miner(descriptors, labels)
        loss = self.loss(descriptors, labels, pairs)
        # Pairs are (anchors, positives, anchors, negatives), triplets (anchors, p, n).
        anchors = torch.cat((pairs[0], pairs[2])) if len(pairs) == 4 else pairs[0]
        return loss, 1.0 - anchors.unique().numel() / (labels.numel() * self.processes)


def _build(module: ModuleType, kind: str, name: str, args: Mapping[str, float]) -> nn.Module:
    """Build a loss or a miner by its name."""
    known = sorted(n for n in vars(module) if n.endswith(kind.capitalize()) and n[0].isupper())
    if name not in known:
        raise ValueError(f'unknown {kind} {name!r}; there are {", ".join(known)}')
    try:
        return getattr(module, name)(**args)
    except TypeError as error:
        raise ValueError(f'{kind}_args does not suit {name}: {error}') from error


def build_optimizer(
    network: Network, config: TrainConfig, extra: nn.Module | None = None
) -> Optimizer:
    """Build the optimiser over everything that learns; the backbone has its own rate.

    Args:
        network: The network.
        config: The settings.
        extra: What learns beside the network, at the head's rate.
    """
    rates = {
        'backbone.': config.backbone_lr,
        'aggregator.mix.': config.mixer_lr,
        'aggregator.row_proj.': config.mixer_lr,
    }
    named = [*network.named_parameters(), *(extra.named_parameters() if extra else ())]
    parts: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in named:
        if parameter.requires_grad:
            matching = (rate for part, rate in rates.items() if name.startswith(part))
            is_decayed = config.decay_all or parameter.ndim > 1
            decay = config.weight_decay if is_decayed else 0.0
            parts[next(matching, config.head_lr), decay].append(parameter)
    groups = [
        {'params': parameters, 'lr': rate, 'weight_decay': decay}
        for (rate, decay), parameters in parts.items()
    ]
    if config.optimizer == 'sgd':
        return SGD(groups, momentum=config.momentum)
    return (AdamW if config.optimizer == 'adamw' else Adam)(groups)


def learning_rate_factor(step: int, config: TrainConfig) -> float:
    """Return what the rates are multiplied with: a straight rise, then the schedule."""
    rise = min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.schedule == 'milestones':
        return rise * config.gamma ** sum(step >= milestone for milestone in config.milestones)
    left = (config.steps - step) / max(1.0, config.decay_fraction * config.steps)
    left = min(1.0, max(0.0, left))
    if config.schedule == 'cosine':
        left = (1.0 - math.cos(math.pi * left)) / 2.0
    return min(rise, left)
