# SPDX-License-Identifier: Apache-2.0
"""Losses by which a student learns what a teacher says of the same pictures.

Teacher and student may describe with different widths. (The published Lightweight-MixVPR code
adds the teacher's own loss, which has no gradient in the student: nothing is distilled there.)
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.config import TrainConfig
from training.models import Network
from training.models.checkpoint import load_network
from vpr_ros.extractor import DescriptorExtractor

TEACHER_BATCH = 8  # pictures of one inference of an exported teacher


class RelationalLoss(nn.Module):
    """How alike the teacher finds the pictures of a batch, the student shall find them.

    For each picture the similarities to all others become a distribution; the loss is the
    Kullback-Leibler divergence of the student's from the teacher's (Park et al., Relational
    Knowledge Distillation, CVPR 2019; with a softmax as in Fang et al., SEED, ICLR 2021).
    """

    def __init__(self, temperature: float) -> None:
        """Build the loss; at a small `temperature` the nearest pictures alone count."""
        super().__init__()
        self.temperature = temperature

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare descriptors (N, D) of unit norm with (N, E) of the same pictures."""
        divergence = functional.kl_div(
            self._relations(student), self._relations(teacher), log_target=True, reduction='sum'
        )
        return divergence / len(student)

    def _relations(self, descriptors: Tensor) -> Tensor:
        """Return (N, N - 1) logarithms of shares, a picture's similarity to itself left out."""
        count = len(descriptors)
        similarity = descriptors @ descriptors.T / self.temperature
        others = ~torch.eye(count, dtype=torch.bool, device=descriptors.device)
        return similarity[others].view(count, count - 1).log_softmax(dim=1)


class ProjectedLoss(nn.Module):
    """A linear map of the student's descriptor shall be the teacher's; one minus their cosine.

    The map is learnt with the student and dropped after training (as in hfnet's distillation).
    """

    def __init__(self, student_size: int, teacher_size: int) -> None:
        """Build the map from `student_size` to `teacher_size` values."""
        super().__init__()
        self.projection = nn.Linear(student_size, teacher_size)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare descriptors (N, D) of unit norm with (N, E) of the same pictures."""
        return (1.0 - functional.cosine_similarity(self.projection(student), teacher)).mean()


class ExportedTeacher(nn.Module):
    """A model that was exported, as the robot runs it: a teacher needs no gradient."""

    def __init__(self, model: Path) -> None:
        """Load an ONNX file of ours; see `DescriptorExtractor` for what it raises."""
        super().__init__()
        self._extractor = DescriptorExtractor(model)
        self.descriptor_size = self._extractor.info.descriptor_size
        preprocess = self._extractor.info.preprocess
        self.input_size = preprocess.height, preprocess.width

    def forward(self, rgb: Tensor) -> Tensor:
        """Describe pictures: uint8 RGB (N, H, W, 3) to float32 (N, D) of unit norm."""
        pictures = list(rgb.cpu().numpy())
        parts = [pictures[i : i + TEACHER_BATCH] for i in range(0, len(pictures), TEACHER_BATCH)]
        described = [torch.from_numpy(self._extractor.extract_batch(part)) for part in parts]
        return torch.cat(described).to(rgb.device)


def load_teacher(path: Path) -> Network | ExportedTeacher:
    """Load a teacher from a checkpoint, ours or released, or from an exported model (.onnx)."""
    return ExportedTeacher(path) if path.suffix == '.onnx' else load_network(path)[0]


class _Held:
    """A module that is no part of its holder: no checkpoint has it, no running mean copies it."""

    def __init__(self, module: Network | ExportedTeacher) -> None:
        self.module = module

    def __deepcopy__(self, _: object) -> _Held:
        return self


class Distillation(nn.Module):
    """The teacher, which learns nothing, and the loss that compares with it."""

    def __init__(
        self, teacher: Network | ExportedTeacher, student: Network, config: TrainConfig
    ) -> None:
        """Join teacher and loss.

        Args:
            teacher: Trained network.
            student: The network that learns; only its descriptor size is read.
            config: Of the student: kind, weight and temperature of the distillation.
        """
        super().__init__()
        self._teacher = _Held(teacher.eval().requires_grad_(False))
        self.weight = config.distillation_weight
        self.loss: nn.Module = RelationalLoss(config.distillation_temperature)
        if config.distillation == 'projected':
            self.loss = ProjectedLoss(student.descriptor_size, teacher.descriptor_size)

    def forward(self, descriptors: Tensor, rgb: Tensor) -> Tensor:
        """Return the weighted loss of the student's descriptors (N, D).

        Args:
            descriptors: Of the student.
            rgb: The same pictures, uint8 (N, H, W, 3), of the student's input size.
        """
        teacher = self._teacher.module.to(rgb.device)
        with torch.no_grad():
            expected = teacher(_resized(rgb, teacher.input_size))
        return self.weight * self.loss(descriptors, expected)


def _resized(rgb: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring pictures (N, H, W, 3) to another size, antialiased as the runtime's resize is."""
    if tuple(rgb.shape[1:3]) == size:
        return rgb
    planes = rgb.permute(0, 3, 1, 2).float()
    resized = functional.interpolate(planes, size, mode='bilinear', antialias=True)
    return resized.round().to(torch.uint8).permute(0, 2, 3, 1)
