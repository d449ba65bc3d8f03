# SPDX-License-Identifier: Apache-2.0
"""The published configurations against the figures measured from the published code."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from training.config import config_from_dict
from training.models import build_network
from training.presets import PRESETS

CLASSIFIER = 1_281_000  # of EfficientNet-B0, which the published files carry and never use
GEM = 1199  # of ClusVPR: the published exponent is one a position, 1,200; here it is one
# name: (descriptor size, backbone parameters, aggregator parameters, GMACs, entries of the file)
PUBLISHED = {
    'mixvpr-resnet50-4096': (4096, 8_543_296, 2_337_604, 6.69 + 1.73, 286),
    'mixvpr-resnet50-512': (512, 8_543_296, 1_549_602, 6.69 + 1.42, 286),
    'mixvpr-resnet50-128': (128, 8_543_296, 1_352_802, 6.69 + 1.34, 286),
    'lightweight-efficientnet-b0-128': (
        128, 5_288_548 - CLASSIFIER, 122_996, 0.784 + 0.107, 388 - 2),
    'lightweight-mobilenetv2-1024': (1024, 1_977_088, 1_419_332, 0.587 + 0.708, 341),
    'lightweight-resnet18-512': (512, 2_782_784, 1_320_900, 2.86 + 0.34, 118),
    # less the mask token, one number a channel, which nothing reads
    'dinomix-vits14-4096': (4096, 22_715_268 - 659_460 - 384, 659_460, None, None),
    'dinomix-vitb14-4096': (4096, 86_578_944 - 768, 1_052_676, None, 189 - 1),
    'dinomix-vitl14-4096': (4096, 305_681_412 - 1_314_820 - 1024, 1_314_820, None, 357 - 1),
    'dinomix-vitg14-4096': (4096, None, None, None, None),
    'clusvpr-vgg16-4096': (4096, 14_714_688, 3_208_368 - GEM, None, None),
}  # fmt: skip


def test_every_preset_is_compared():
    assert set(PUBLISHED) == set(PRESETS)


@pytest.mark.parametrize('name', PUBLISHED)
def test_sizes_parameters_and_operations_are_the_published_ones(name):
    size, backbone, aggregator, gmacs, entries = PUBLISHED[name]
    config = config_from_dict({'preset': name})
    with torch.device('meta'):  # nothing is computed: shapes alone
        network = build_network(config).eval()
        picture = torch.empty(1, 3, config.height, config.width)
    assert network.descriptor_size == size
    for part, expected in ((network.backbone, backbone), (network.aggregator, aggregator)):
        if expected is not None:
            assert sum(p.numel() for p in part.parameters()) == expected
    if entries is not None:
        assert len(network.state_dict()) == entries
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        descriptors = network.aggregator(network.backbone(picture))
    assert descriptors.shape == (1, network.aggregator.descriptor_size)
    if gmacs is not None:
        assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=0.005)


def test_clusvpr_projects_to_4096():
    with torch.device('meta'):
        network = build_network(config_from_dict({'preset': 'clusvpr-vgg16-4096'}))
    assert network.aggregator.descriptor_size == 8192
    assert sum(p.numel() for p in network.projection.parameters()) == 33_558_528  # 33.56 M


def test_a_file_or_an_argument_stands_above_the_preset():
    config = config_from_dict({'preset': 'mixvpr-resnet50-512', 'out_rows': 4})
    assert (config.out_channels, config.out_rows) == (256, 4)
    with pytest.raises(ValueError, match="unknown preset 'netvlad'; there are mixvpr-resnet50"):
        config_from_dict({'preset': 'netvlad'})
