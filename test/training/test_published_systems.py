# SPDX-License-Identifier: Apache-2.0
"""Each published system from the file that its authors release to the running node."""

import pytest
import torch
from released_weights import released

from training import export_onnx
from training.models.checkpoint import load_released, network_weights
from training.presets import PRESETS
from training.sample_pictures import made_pictures
from vpr_ros.errors import ModelError
from vpr_ros.extractor import DescriptorExtractor

pytest.importorskip('rclpy')
pytest.importorskip('vpr_msgs.msg')

from node_process import Client, NodeProcess, build_map, free_domain
from vpr_msgs.msg import LoopClosure

pytestmark = pytest.mark.ros
TOO_LARGE = 'dinomix-vitg14-4096'  # for one ONNX file


@pytest.mark.parametrize('name', sorted(set(PRESETS) - {TOO_LARGE}))
def test_from_the_released_file_to_the_node(name, tmp_path):
    torch.manual_seed(0)
    checkpoint = tmp_path / 'released.ckpt'
    torch.save({'state_dict': released(name, settle=True)}, checkpoint)
    network, record = export_onnx.load_trained(checkpoint)
    assert (network.input_size, network.descriptor_size) == (
        (PRESETS[name]['height'], PRESETS[name]['width']), network.aggregator.descriptor_size
    )  # fmt: skip
    checkpoint.unlink()
    pictures = made_pictures(2)
    model = tmp_path / 'model.onnx'
    assert export_onnx.export(network, model, record, pictures) >= 0.99999
    size = network.descriptor_size
    del network

    place_map = build_map(model, tmp_path / 'map', pictures)
    domain = free_domain()
    node = NodeProcess(
        tmp_path / 'node.log',
        *('-p', f'model:={model}', '-p', f'map:={place_map}', '-p', 'min_similarity:=0.99'),
        *('-p', 'device:=cpu'),
        domain=domain,
    )
    client = Client(domain)
    try:
        node.wait_for_log('inactive -> active', timeout_s=60.0)
        client.connect()
        for rgb in pictures:  # random weights hardly tell them apart: what counts is the value
            closure = client.ask(rgb)
            assert closure.status == LoopClosure.CANDIDATE
            assert closure.matches[0].similarity == pytest.approx(1.0, abs=1e-4)
    finally:
        client.close()
        assert node.stop() == 0, node.log()
    assert DescriptorExtractor(model, device='cpu').info.descriptor_size == size
    model.unlink()  # pytest keeps folders; some of these files are larger than a gigabyte


def test_what_does_not_fit_one_file_is_refused_before_any_work(tmp_path):
    with torch.device('meta'):
        network, _ = load_released(network_weights(released(TOO_LARGE, 'meta')))
    with pytest.raises(ModelError, match=r'4\.6 GB, an ONNX file holds 2 GB'):
        export_onnx.export(network, tmp_path / 'model.onnx', {}, made_pictures(1))
    assert not list(tmp_path.iterdir())
