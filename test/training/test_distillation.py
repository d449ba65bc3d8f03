# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from tiny_model import INPUT_SIZE, write_tiny_model
from torch.nn import functional

from training.config import load_config
from training.curves import read_curves
from training.distill import main as distill
from training.distillation import (
    TEACHER_BATCH,
    Distillation,
    ExportedTeacher,
    ProjectedLoss,
    RelationalLoss,
    load_teacher,
)
from training.models import build_network
from vpr_ros.extractor import DescriptorExtractor


def unit(*shape):
    return functional.normalize(torch.randn(*shape, dtype=torch.float64), dim=1)


def rotated(descriptors):
    basis, _ = torch.linalg.qr(torch.randn(descriptors.shape[1], 12, dtype=torch.float64).T)
    return descriptors @ basis.T


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_relations_are_those_of_the_batch_without_the_picture_itself():
    student, teacher = unit(5, 4), unit(5, 7)
    loss = RelationalLoss(0.2)(student, teacher)
    expected = 0.0
    for i in range(5):
        others = [j for j in range(5) if j != i]
        p = torch.softmax(teacher[others] @ teacher[i] / 0.2, dim=0)
        q = torch.softmax(student[others] @ student[i] / 0.2, dim=0)
        expected += (p * (p / q).log()).sum() / 5
    assert torch.allclose(loss, expected)


def test_a_rotated_student_says_the_same():
    """Only similarities count, so widths may differ."""
    teacher = unit(8, 6)
    wider = rotated(teacher)
    assert wider.shape == (8, 12)
    assert RelationalLoss(0.1)(wider, teacher).abs() < 1e-12
    assert RelationalLoss(0.1)(unit(8, 12), teacher) > 0.1


def test_the_projected_student_is_compared_by_angle():
    loss = ProjectedLoss(3, 3).double()
    with torch.no_grad():
        loss.projection.weight.copy_(2 * torch.eye(3))
        loss.projection.bias.zero_()
    teacher = unit(4, 3)
    assert loss(teacher, teacher).abs() < 1e-12
    assert loss(-teacher, teacher).item() == pytest.approx(2.0)


@pytest.mark.parametrize('kind', ['relational', 'projected'])
def test_the_gradient_reaches_the_student_and_not_the_teacher(kind, small_run):
    """The published code's teacher term fails this: its gradient is zero."""
    config = load_config(None, [*small_run, f'distillation={kind}', 'distillation_weight=2'])
    student = build_network(config)
    teacher = build_network(load_config(None, [*small_run, 'out_channels=48', 'width=96']))
    distillation = Distillation(teacher, student, config)
    rgb = torch.randint(0, 255, (6, 64, 64, 3), dtype=torch.uint8)
    student.eval()
    distillation(student(rgb), rgb).backward()
    for name, parameter in student.aggregator.named_parameters():
        assert parameter.grad is not None, name
    assert student.aggregator.channel_proj.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not [key for key in distillation.state_dict() if 'backbone' in key]


@pytest.mark.parametrize('kind', ['relational', 'projected'])
def test_the_student_comes_nearer_to_its_teacher(kind):
    """By the distillation alone, labels aside, on descriptors that a matrix makes."""
    pictures, to_teacher = unit(64, 10).float(), torch.randn(10, 24)
    teacher = functional.normalize(pictures @ to_teacher, dim=1)
    student = torch.nn.Linear(10, 6)
    loss = RelationalLoss(0.1) if kind == 'relational' else ProjectedLoss(6, 24)
    optimizer = torch.optim.Adam([*student.parameters(), *loss.parameters()], lr=0.02)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        value = loss(functional.normalize(student(pictures), dim=1), teacher)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize('kind', ['relational', 'projected'])
def test_an_exported_model_teaches(kind, small_run, tmp_path):
    path = write_tiny_model(tmp_path / 'teacher.onnx')
    teacher = load_teacher(path)
    assert isinstance(teacher, ExportedTeacher)
    rgb = torch.randint(0, 255, (TEACHER_BATCH + 3, INPUT_SIZE, INPUT_SIZE, 3), dtype=torch.uint8)
    expected = DescriptorExtractor(path).extract_batch(list(rgb.numpy()))
    assert torch.equal(teacher(rgb), torch.from_numpy(expected))

    config = load_config(None, [*small_run, f'distillation={kind}'])
    student = build_network(config).eval()
    Distillation(teacher, student, config)(student(rgb), rgb).backward()
    assert student.aggregator.channel_proj.weight.grad.abs().sum() > 0


def test_the_command_learns_from_an_exported_model(small_run, tmp_path):
    teacher = write_tiny_model(tmp_path / 'teacher.onnx')
    settings = [*small_run, 'steps=2', 'log_every=1', 'distillation_weight=3']
    run = distill(['--teacher', str(teacher), '--runs', str(tmp_path), *settings])
    _, distances = read_curves(run / 'metrics.csv')['train/distillation']
    assert len(distances) == 2
    assert min(distances) > 0
