# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of the published systems, with random weights in exactly their names and shapes."""

import pytest
import torch
from released_weights import released

from training.config import config_from_dict
from training.models import build_network
from training.models.checkpoint import (
    load_released,
    load_weights,
    network_weights,
    read_checkpoint,
)
from training.presets import PRESETS

# Entries of the published files: shapes as the reference lists them.
KNOWN_ENTRIES = {
    'mixvpr-resnet50-4096': {
        'backbone.model.conv1.weight': (64, 3, 7, 7),
        'backbone.model.layer3.5.bn3.num_batches_tracked': (),
        'aggregator.mix.3.mix.0.weight': (400,),
        'aggregator.mix.0.mix.1.weight': (400, 400),
        'aggregator.mix.0.mix.3.bias': (400,),
        'aggregator.channel_proj.weight': (1024, 1024),
        'aggregator.row_proj.weight': (4, 400),
    },
    'mixvpr-resnet50-128': {'aggregator.channel_proj.weight': (64, 1024)},
    'lightweight-efficientnet-b0-128': {
        'backbone.model.conv_stem.weight': (32, 3, 3, 3),
        'backbone.model.blocks.1.0.se.conv_reduce.weight': (4, 96, 1, 1),
        'backbone.model.conv_head.weight': (1280, 320, 1, 1),
        'backbone.model.classifier.weight': (1000, 1280),
        'aggregator.mix.3.mix.1.weight': (100, 100),
        'aggregator.channel_proj.weight': (32, 1280),
        'aggregator.row_proj.weight': (4, 100),
    },
    'lightweight-mobilenetv2-1024': {
        'backbone.model.features.0.0.weight': (32, 3, 3, 3),
        'backbone.model.features.18.weight': (512, 320, 1, 1),
        'backbone.model.features.18.bias': (512,),
        'backbone.model.features.19.running_var': (512,),
    },
    'lightweight-resnet18-512': {
        'backbone.model.layer3.1.conv2.weight': (256, 256, 3, 3),
        'aggregator.channel_proj.weight': (128, 256),
        'aggregator.row_proj.weight': (4, 400),
    },
    'dinomix-vitb14-4096': {
        'backbone.dino_model.cls_token': (1, 1, 768),
        'backbone.dino_model.pos_embed': (1, 1370, 768),
        'backbone.dino_model.mask_token': (1, 768),
        'backbone.dino_model.patch_embed.proj.weight': (768, 3, 14, 14),
        'backbone.dino_model.blocks.11.attn.qkv.weight': (2304, 768),
        'backbone.dino_model.blocks.11.ls1.gamma': (768,),
        'backbone.dino_model.blocks.0.mlp.fc1.weight': (3072, 768),
        'aggregator.mix.1.mix.0.weight': (256,),
        'aggregator.channel_proj.weight': (1024, 768),
        'aggregator.row_proj.weight': (4, 256),
    },
    'clusvpr-vgg16-4096': {
        'base_model.base.0.weight': (64, 3, 3, 3),
        'net_vlad.centroids': (64, 128),
        'net_vlad.linear1.weight': (1024, 512),
        'net_vlad.GeM_pool.p': (1200,),
        'net_vlad.conv.weight': (64, 128, 1, 1),
        'net_vlad.vit_layer.3.global_dwconv.weight': (256, 1, 3, 3),
        'net_vlad.vit_layer.0.global_cwt.transformer.embeddings.cls_token': (1, 1, 256),
        'net_vlad.vit_layer.0.global_cwt.transformer.embeddings.patch_embeddings.weight': (
            256, 256, 1, 1),
        'net_vlad.vit_layer.0.global_cwt.transformer.encoder.layer.0.ffn.fc1.weight': (512, 256),
        'net_vlad.vit_layer.0.global_cwt.transformer.encoder.layer.0.attn.out.weight': (256, 256),
        'net_vlad.vit_layer.0.global_cwt.transpose.weight': (256, 1, 2, 2),
        'net_vlad.vit_layer.0.global_cwt.point_conv.weight': (256, 256, 1, 1),
        'net_vlad.vit_layer.0.global_bn.running_mean': (256,),
    },
}  # fmt: skip


@pytest.mark.parametrize('name', KNOWN_ENTRIES)
def test_made_files_have_the_published_entries(name):
    weights = released(name, device='meta')
    shapes = {key: tuple(weights[key].shape) for key in KNOWN_ENTRIES[name]}
    assert shapes == KNOWN_ENTRIES[name]


@pytest.mark.parametrize('name', sorted(PRESETS))
def test_every_published_file_is_recognised_by_what_it_holds(name):
    with torch.device('meta' if 'vitl' in name or 'vitg' in name else 'cpu'):
        network, config = load_released(
            network_weights(released(name, torch.get_default_device()))
        )
    wanted = {**PRESETS[name], 'projected_size': 0}
    wanted.pop('frozen_stages')
    assert {key: getattr(config, key) for key in wanted} == wanted
    assert network.descriptor_size == network.aggregator.descriptor_size


@pytest.mark.parametrize('wrap', [
    lambda weights: weights,
    lambda weights: {'state_dict': weights, 'epoch': 3},
    lambda weights: {f'module.{k}': v for k, v in weights.items()},
    lambda weights: {'state_dict': {f'model.{k}': v for k, v in weights.items()}},
    lambda weights: {'state_dict': {f'module.model.{k}': v for k, v in weights.items()}},
], ids=['bare', 'lightning', 'module', 'model', 'module.model'])  # fmt: skip
def test_wrappers_are_taken_off_and_the_weights_are_those(wrap, tmp_path):
    weights = released('lightweight-resnet18-512')
    torch.save(wrap(weights), tmp_path / 'file.ckpt')
    network, _ = load_released(network_weights(read_checkpoint(tmp_path / 'file.ckpt')))
    assert network.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize('unfrozen', [1, 2, 4])
def test_openvprlab_names_are_understood(unfrozen):
    weights = released('mixvpr-resnet50-512')
    parts = ['stem', 'layer1', 'layer2', 'layer3']
    renamed = {}
    for key, value in weights.items():
        name = key
        if key.startswith('backbone.model.'):
            part, _, rest = key.removeprefix('backbone.model.').partition('.')
            index = 0 if part in ('conv1', 'bn1') else parts.index(part)
            if index == 0:
                rest = f'{("conv1", "bn1").index(part)}.{rest}'
            frozen = len(parts) - unfrozen
            group = f'frozen_layers.{index}' if index < frozen else (
                f'unfrozen_layers.{index - frozen}')  # fmt: skip
            name = f'backbone.{group}.{rest}'
        renamed[name] = value
    assert unfrozen == 4 or 'backbone.frozen_layers.0.0.weight' in renamed
    network, config = load_released(network_weights({'state_dict': renamed}))
    assert (config.backbone, config.resnet_layers) == ('resnet50', 3)
    assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())


def test_what_does_not_fit_is_listed_key_by_key():
    network = build_network(config_from_dict({'preset': 'lightweight-resnet18-512'}))
    weights = dict(network.state_dict())
    del weights['aggregator.row_proj.bias']
    weights['aggregator.extra'] = torch.zeros(2, 3)
    weights['aggregator.channel_proj.weight'] = torch.zeros(128, 255)
    with pytest.raises(ValueError, match='do not fit') as caught:
        load_weights(network, weights)
    assert 'missing aggregator.row_proj.bias (4,)' in str(caught.value)
    assert 'unexpected aggregator.extra (2, 3)' in str(caught.value)
    assert 'aggregator.channel_proj.weight is (128, 255), not (128, 256)' in str(caught.value)
    with pytest.raises(ValueError, match=r'and 106 more'):
        load_weights(network, {})


@pytest.mark.parametrize(('weights', 'message'), [
    ({'net.weight': 1}, r'no weights called backbone\.\* or aggregator\.\* among 1 keys'),
    ({'backbone.stages.0.weight': 1}, 'no published system has a backbone with these weights: '
     'backbone.stages.0.weight'),
    ({'backbone.model.conv_stem.weight': 1, 'aggregator.cluster': 1},
     'no published system has an aggregator with these weights: aggregator.cluster'),
])  # fmt: skip
def test_other_files_are_refused_by_what_they_hold(weights, message):
    tensors = {key: torch.zeros(size) for key, size in weights.items()}
    with pytest.raises(ValueError, match=message):
        load_released(network_weights(tensors))


def test_damaged_and_dangerous_files_are_refused(tmp_path):
    whole = tmp_path / 'whole.ckpt'
    torch.save({'state_dict': {'backbone.a': torch.zeros(1000)}}, whole)
    cut = tmp_path / 'cut.ckpt'
    cut.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r'cut\.ckpt cannot be read as a checkpoint of tensors'):
        read_checkpoint(cut)
    touched = tmp_path / 'touched'
    torch.save({'state_dict': Runs(touched)}, whole)
    with pytest.raises(ValueError, match=r'whole\.ckpt cannot be read as a checkpoint of tensors'):
        read_checkpoint(whole)
    assert not touched.exists()
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / 'absent.ckpt')


class Runs:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), 'w'))
