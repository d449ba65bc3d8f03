# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import onnx
import pytest
import torch

from training import export_onnx
from training.config import TrainConfig
from training.models import build_network
from training.models.checkpoint import load_network
from training.places import gsv_cities
from training.sample_pictures import made_picture, read_pictures
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


def save_checkpoint(path, config, rgbs=None):
    """Write a checkpoint of train.py with random weights."""
    torch.manual_seed(0)
    network = build_network(config).train()
    if rgbs is not None:  # moves the batch norms to their scale: features vary over the picture
        network(torch.from_numpy(np.stack(rgbs)))
    weights = {f'network.{key}': value for key, value in network.state_dict().items()}
    torch.save({'state_dict': weights, 'config': config.to_dict()}, path)
    return path


@pytest.fixture(scope='module')
def rgbs(rendered_gsv):
    return [read_picture(p.pictures[0])[:64, :64] for p in gsv_cities(rendered_gsv)]


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory, rgbs):
    return save_checkpoint(tmp_path_factory.mktemp('checkpoint') / 'best.ckpt', CONFIG, rgbs)


@pytest.fixture(scope='module')
def other_checkpoint(tmp_path_factory, rgbs):
    config = dataclasses.replace(CONFIG, name='other', out_channels=12)
    return save_checkpoint(tmp_path_factory.mktemp('other') / 'best.ckpt', config, rgbs)


def command(checkpoint, path, *more):
    return ['--checkpoint', str(checkpoint), '--out', str(path), *map(str, more)]


@pytest.fixture(scope='module')
def exported(tmp_path_factory, checkpoint, pictures):
    path = tmp_path_factory.mktemp('export') / 'small.onnx'
    assert export_onnx.main(command(checkpoint, path, '--pictures', pictures)) == 0
    return path


def test_the_runtime_takes_the_file(exported, checkpoint, pictures):
    model = extractor.DescriptorExtractor(exported, device='cpu')
    assert model.info.name == 'small'
    assert model.info.descriptor_size == 32
    assert (model.info.preprocess.height, model.info.preprocess.width) == (64, 64)
    assert model.info.metadata[extractor.KEY_SOURCE_SHA256] == file_sha256(checkpoint)
    assert 'gsv_cambridge' in model.info.metadata[extractor.KEY_TRAINING_DATA]
    assert model.info.min_similarity is None
    names = {path.name for path in exported.parent.iterdir()}
    assert names == {'small.onnx', 'small.golden.png', 'small.golden.npy'}


def test_torch_and_runtime_agree_on_real_pictures(exported, checkpoint, pictures):
    network, _ = export_onnx.load_trained(checkpoint)
    rgbs = read_pictures(pictures, count=5)
    assert len(rgbs) in (4, 5)
    assert export_onnx.parity(network, exported, rgbs) >= 0.99999


def test_no_file_when_the_answers_differ(checkpoint, pictures, tmp_path, monkeypatch):
    other, record = export_onnx.load_trained(checkpoint)
    rgbs = read_pictures(pictures, count=8)
    (tmp_path / 'model.onnx').write_text('the old one')
    monkeypatch.setattr(export_onnx, 'write_onnx', write_with_a_wrong_bias)
    with pytest.raises(ModelError, match='torch and onnxruntime disagree: cosine'):
        export_onnx.export(other, tmp_path / 'model.onnx', record, rgbs)
    assert (tmp_path / 'model.onnx').read_text() == 'the old one'
    assert len(list(tmp_path.iterdir())) == 1


WRITE_ONNX = export_onnx.write_onnx


@torch.no_grad()
def write_with_a_wrong_bias(network, path):
    """Export a network with a sign turned, as a mistaken exporter would."""
    bias = network.aggregator.channel_proj.bias
    bias.neg_()
    WRITE_ONNX(network, path)
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
    with pytest.raises(FileNotFoundError, match='the comparison needs some'):
        read_pictures(tmp_path, count=3)


def test_untrained_reference(tmp_path):
    path = tmp_path / 'untrained.onnx'
    export_onnx.main(['--pretrained', 'mobilenetv2', '--out', str(path)])
    info = extractor.read_model_info(path)
    assert (info.name, info.descriptor_size) == ('mobilenetv2_gem', 1280)
    assert info.metadata[extractor.KEY_TRAINING_DATA] == 'ImageNet'


def test_golden_descriptor_is_that_of_the_golden_picture(exported):
    model = extractor.DescriptorExtractor(exported, device='cpu')
    golden = read_picture(exported.with_suffix('.golden.png'))
    expected = np.load(exported.with_suffix('.golden.npy'), allow_pickle=False)
    assert np.array_equal(golden, made_picture(0))
    assert float(model.extract(golden) @ expected) > 0.99999


@pytest.mark.parametrize(('precision', 'least', 'smaller'), [
    ('fp16-weights', 0.9995, 0.6), ('fp16', 0.9995, 0.6), ('int8', 0.99, 0.4),
])  # fmt: skip
def test_lower_precision_is_smaller_and_answers_alike(
    precision, least, smaller, tmp_path, checkpoint, exported, pictures
):
    path = tmp_path / 'low.onnx'
    settings = ('--precision', precision, '--pictures', pictures)
    assert export_onnx.main(command(checkpoint, path, *settings)) == 0
    assert path.stat().st_size < smaller * exported.stat().st_size
    network, _ = load_network(checkpoint)
    rgbs = read_pictures(pictures, count=6)
    assert least <= export_onnx.parity(network.eval(), path, rgbs) < 1.0
    assert extractor.read_model_info(path).descriptor_size == 32


@pytest.mark.parametrize('shares', [(), (2, 1)])
def test_several_networks_become_one_model(
    shares, tmp_path, checkpoint, other_checkpoint, pictures
):
    path = tmp_path / 'both.onnx'
    given = ['--shares', *map(str, shares)] if shares else []
    assert export_onnx.main([
        '--checkpoint', str(checkpoint), str(other_checkpoint), *given, '--out', str(path),
        '--pictures', str(pictures),
    ]) == 0  # fmt: skip
    model = extractor.DescriptorExtractor(path, device='cpu')
    assert model.info.name == 'small+other'
    assert model.info.descriptor_size == 32 + 24
    rgbs = read_pictures(pictures, count=4)
    resized = np.stack([model.info.preprocess(rgb) for rgb in rgbs])
    with torch.no_grad():
        parts = [
            load_network(file)[0].eval()(torch.from_numpy(resized)).numpy()
            for file in (checkpoint, other_checkpoint)
        ]
    similarities = model.extract_batch(rgbs) @ model.extract_batch(rgbs).T
    of_parts = np.average([part @ part.T for part in parts], axis=0, weights=shares or None)
    assert similarities == pytest.approx(of_parts, abs=1e-5)


def test_sizes_belong_to_the_model_or_to_each_checkpoint(checkpoint, tmp_path, capsys):
    with pytest.raises(SystemExit):
        export_onnx.main(command(checkpoint, tmp_path / 'x.onnx', '--size', '3', '0'))
    assert '--size wants one number, or one for each --checkpoint' in capsys.readouterr().err


def test_a_share_belongs_to_each_checkpoint(checkpoint, tmp_path, capsys):
    with pytest.raises(SystemExit):
        export_onnx.main(command(checkpoint, tmp_path / 'x.onnx', '--shares', '1', '2'))
    assert '--shares wants one number for each --checkpoint' in capsys.readouterr().err


def test_networks_of_different_sizes_are_not_joined(checkpoint, tmp_path):
    wide = save_checkpoint(tmp_path / 'wide.ckpt', dataclasses.replace(CONFIG, width=96))
    with pytest.raises(ValueError, match=r'\(height, width\) of \[\(64, 64\), \(64, 96\)\]'):
        export_onnx.load_ensemble([checkpoint, wide])


def test_descriptors_are_projected_at_export(tmp_path, pictures):
    path = tmp_path / 'three.onnx'
    source = ['--pretrained', 'mobilenetv2', '--out', str(path)]
    assert export_onnx.main([*source, '--size', '3', '--pictures', str(pictures)]) == 0
    model = extractor.DescriptorExtractor(path, device='cpu')
    assert model.info.descriptor_size == 3
    descriptors = model.extract_batch(read_pictures(pictures, count=8))
    assert np.allclose(np.linalg.norm(descriptors, axis=1), 1.0, atol=1e-5)
    assert np.std(descriptors, axis=0).min() > 0.01


def test_each_network_has_a_size_of_its_own(tmp_path, pictures):
    """Trained backbones: descriptors of random ones are too alike for a projection."""
    members = []
    for name in ('first', 'second'):
        config = dataclasses.replace(CONFIG, name=name, aggregator='gem')
        network = build_network(config)
        network.backbone.load_pretrained()
        weights = {f'network.{key}': value for key, value in network.state_dict().items()}
        members.append(tmp_path / f'{name}.ckpt')
        torch.save({'state_dict': weights, 'config': config.to_dict()}, members[-1])
    out, alone = tmp_path / 'both.onnx', tmp_path / 'alone.onnx'
    assert export_onnx.main([
        '--checkpoint', *map(str, members), '--size', '3', '2', '--out', str(out),
        '--pictures', str(pictures),
    ]) == 0  # fmt: skip
    given = command(members[0], alone, '--size', 3, '--pictures', pictures)
    assert export_onnx.main(given) == 0
    rgbs = read_pictures(pictures, count=8)
    both, first = (
        extractor.DescriptorExtractor(path, device='cpu').extract_batch(rgbs)
        for path in (out, alone)
    )
    assert both.shape == (8, 5)
    assert np.sqrt(2) * both[:, :3] == pytest.approx(first, abs=1e-4)  # half of the similarity


def test_whitening_is_of_a_projection(checkpoint, tmp_path, capsys):
    with pytest.raises(SystemExit):
        export_onnx.main(command(checkpoint, tmp_path / 'x.onnx', '--whitening', '0'))
    assert 'give --size D' in capsys.readouterr().err


@pytest.mark.parametrize('more', [('--precision', 'int8'), ('--size', '8')])
def test_what_learns_from_pictures_asks_for_them(more, checkpoint, tmp_path, capsys):
    with pytest.raises(SystemExit):
        export_onnx.main(command(checkpoint, tmp_path / 'x.onnx', *more))
    assert 'give --pictures DIR' in capsys.readouterr().err
