# SPDX-License-Identifier: Apache-2.0
import numpy as np
import onnx
import pytest
import torch

from training import export_onnx
from training.config import TrainConfig
from training.models import build_network
from training.places import gsv_cities
from vpr_ros import extractor
from vpr_ros.errors import ModelError
from vpr_ros.hashing import file_sha256
from vpr_ros.picture_folder import read_picture

CONFIG = TrainConfig(
    name='small', backbone='mobilenetv2', height=64, width=64, out_channels=16, out_rows=2
)


@pytest.fixture(scope='module')
def pictures(rendered_gsv):
    return rendered_gsv / 'Images'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory, rendered_gsv):
    """A checkpoint of train.py with random weights whose features vary over the picture."""
    torch.manual_seed(0)
    network = build_network(CONFIG).train()
    rgbs = [read_picture(p.pictures[0])[:64, :64] for p in gsv_cities(rendered_gsv)]
    network(torch.from_numpy(np.stack(rgbs)))  # moves the batch norms to this scale
    path = tmp_path_factory.mktemp('checkpoint') / 'best.ckpt'
    weights = {f'network.{key}': value for key, value in network.state_dict().items()}
    torch.save({'state_dict': weights, 'config': CONFIG.to_dict()}, path)
    return path


@pytest.fixture(scope='module')
def exported(tmp_path_factory, checkpoint, pictures):
    path = tmp_path_factory.mktemp('export') / 'small.onnx'
    assert export_onnx.main([str(checkpoint), str(path), '--pictures', str(pictures)]) == 0
    return path


def test_the_runtime_takes_the_file(exported, checkpoint, pictures):
    model = extractor.DescriptorExtractor(exported, device='cpu')
    assert model.info.name == 'small'
    assert model.info.descriptor_size == 32
    assert (model.info.preprocess.height, model.info.preprocess.width) == (64, 64)
    assert model.info.metadata[extractor.KEY_SOURCE_SHA256] == file_sha256(checkpoint)
    assert 'gsv_cambridge' in model.info.metadata[extractor.KEY_TRAINING_DATA]
    assert model.info.min_similarity is None
    assert [path.name for path in exported.parent.iterdir()] == ['small.onnx']


def test_torch_and_runtime_agree_on_real_pictures(exported, checkpoint, pictures):
    network, _ = export_onnx.load_trained(checkpoint)
    rgbs = export_onnx.read_pictures(pictures, count=5)
    assert len(rgbs) in (4, 5)
    assert export_onnx.parity(network, exported, rgbs) >= 0.99999


def test_no_file_when_the_answers_differ(checkpoint, pictures, tmp_path, monkeypatch):
    other, record = export_onnx.load_trained(checkpoint)
    rgbs = export_onnx.read_pictures(pictures)
    (tmp_path / 'model.onnx').write_text('the old one')
    monkeypatch.setattr(export_onnx, 'write_onnx', write_with_a_wrong_bias)
    with pytest.raises(ModelError, match='torch and onnxruntime disagree: cosine'):
        export_onnx.export(other, tmp_path / 'model.onnx', record, rgbs)
    assert (tmp_path / 'model.onnx').read_text() == 'the old one'
    assert len(list(tmp_path.iterdir())) == 1


WRITE_ONNX = export_onnx.write_onnx


@torch.no_grad()
def write_with_a_wrong_bias(network, path, preprocess):
    """Export a network with a sign turned, as a mistaken exporter would."""
    bias = network.aggregator.channel_proj.bias
    bias.neg_()
    WRITE_ONNX(network, path, preprocess)
    bias.neg_()


def test_record_is_added_and_replaced(exported, tmp_path):
    path = tmp_path / 'copy.onnx'
    path.write_bytes(exported.read_bytes())
    export_onnx.write_record(path, {extractor.KEY_MIN_SIMILARITY: '0.5'})
    export_onnx.write_record(path, {extractor.KEY_MIN_SIMILARITY: '0.6'})
    info = extractor.read_model_info(path)
    assert info.min_similarity == 0.6
    assert info.name == 'small'
    assert onnx.load(path).graph == onnx.load(exported).graph


def test_parity_needs_pictures(tmp_path):
    with pytest.raises(FileNotFoundError, match='the parity check needs some'):
        export_onnx.read_pictures(tmp_path)


def test_untrained_reference(tmp_path, pictures):
    path = tmp_path / 'untrained.onnx'
    export_onnx.main(['imagenet:mobilenetv2', str(path), '--pictures', str(pictures)])
    info = extractor.read_model_info(path)
    assert (info.name, info.descriptor_size) == ('mobilenetv2_gem', 1280)
    assert info.metadata[extractor.KEY_TRAINING_DATA] == 'ImageNet'
