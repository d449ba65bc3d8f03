# SPDX-License-Identifier: Apache-2.0
import json

import cv2
import pytest
from tiny_model import write_tiny_model

from vpr_ros.cli import main


@pytest.fixture
def folders(tmp_path, textured_pictures):
    """The same 12 places twice, once darker; query 5 is black."""
    for name, factor in (('reference', 1.0), ('query', 0.7)):
        (tmp_path / name).mkdir()
        for i, rgb in enumerate(textured_pictures(12)):
            shown = rgb * 0 if name == 'query' and i == 5 else (rgb * factor).astype('uint8')
            cv2.imwrite(str(tmp_path / name / f'{i:03}.png'), shown[..., ::-1])
    return tmp_path


def evaluate(folders, model, *more):
    arguments = ['--reference', folders / 'reference', '--query', folders / 'query']
    out = ['--tolerance', '0', '--out', folders / 'out', '--model', model, '--device', 'cpu']
    return main(['evaluate', *map(str, [*arguments, *out, *more])])


def test_writes_what_it_measured(folders, tiny_model, capsys):
    assert evaluate(folders, tiny_model) == 0
    metrics = json.loads((folders / 'out' / 'metrics.json').read_text())
    assert metrics['recall@1'] == metrics['recall@10'] == pytest.approx(11 / 12)
    assert metrics['precision_at_threshold'] == 1.0 and metrics['num_queries'] == 12
    assert 'within 0 pictures' in metrics['protocol']
    for name in ('precision_recall.png', 'similarity_matrix.png'):
        assert cv2.imread(str(folders / 'out' / name)).std() > 5
    assert 'recall@1             0.9167' in capsys.readouterr().out


def test_a_map_in_the_folder_of_the_results_is_left_alone(folders, tiny_model):
    (folders / 'out' / 'map').mkdir(parents=True)
    (folders / 'out' / 'map' / 'mine').touch()
    assert evaluate(folders, tiny_model) == 0
    assert [path.name for path in (folders / 'out' / 'map').iterdir()] == ['mine']


def test_a_model_without_a_threshold_is_given_one(folders, capsys):
    bare = write_tiny_model(folders / 'bare.onnx', min_similarity=None)
    assert evaluate(folders, bare) == 2
    assert 'records no threshold' in capsys.readouterr().err
    assert evaluate(folders, bare, '--min-similarity', '0.5') == 0


def test_a_missing_folder_is_one_sentence(folders, tiny_model, capsys):
    assert evaluate(folders, tiny_model, '--query', folders / 'absent') == 2
    assert 'absent' in capsys.readouterr().err


def test_a_negative_tolerance_is_refused(folders, tiny_model, capsys):
    with pytest.raises(SystemExit):
        evaluate(folders, tiny_model, '--tolerance', '-1')
    assert '0 or more' in capsys.readouterr().err


@pytest.mark.parametrize('value', ['2', '-1.5', 'nan', 'x'])
def test_a_similarity_out_of_range_is_refused(folders, tiny_model, capsys, value):
    with pytest.raises(SystemExit) as stopped:
        evaluate(folders, tiny_model, '--min-similarity', value)
    assert stopped.value.code == 2
    assert f'must be a number from -1 to 1, not {value!r}' in capsys.readouterr().err


def test_model_info_shows_the_record(tiny_model, capsys):
    assert main(['model', 'info', str(tiny_model), '--device', 'cpu', '--runs', '2']) == 0
    printed = capsys.readouterr().out
    assert 'thumbnail-8x8' in printed and 'latency     p50' in printed
