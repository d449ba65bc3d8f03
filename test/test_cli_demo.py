# SPDX-License-Identifier: Apache-2.0
"""`vpr demo` as it is typed: what it deletes, what it refuses, what it hands on; no node runs."""

import cv2
import pytest

from vpr_ros.bag_writer import BagWriter
from vpr_ros.cli import main
from vpr_ros.demo import trials
from vpr_ros.errors import SourceError
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.map_builder import build_map
from vpr_ros.sources import BagSource

T0 = 1_700_000_000_000_000_000


class ReachedError(SourceError):
    """Raised where the node would start."""


@pytest.fixture
def demo(tiny_model, monkeypatch):
    """`vpr demo --model tiny …` up to the start of the node, returning the exit code."""

    def play(*_):
        raise ReachedError('the node would start now')

    monkeypatch.setattr('vpr_ros.cli.demo._play', play)
    return lambda *words: main(['demo', '--model', str(tiny_model), *map(str, words)])


@pytest.fixture
def earlier(tmp_path, tiny_model, textured_pictures):
    """The output of an earlier demo, small: two bags, a map, the marker."""
    out = tmp_path / 'demo_output'
    out.mkdir()
    (out / 'vpr_demo').touch()
    for lap in ('lap_1', 'lap_2'):
        with BagWriter(out / lap) as bag:
            for i, rgb in enumerate(textured_pictures(3)):
                bag.add_image('/image', rgb, T0 + i * 10**8, 'camera')
    build_map(BagSource(out / 'lap_1'), DescriptorExtractor(tiny_model, device='cpu'), out / 'map')
    return out


@pytest.fixture
def pictures(tmp_path, textured_pictures):
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for i, rgb in enumerate(textured_pictures(3, seed=1)):
        cv2.imwrite(str(folder / f'{i}.png'), rgb)
    return folder


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_a_bag_against_a_map_removes_nothing_of_the_demo_before(demo, earlier, capsys):
    before = content(earlier)
    assert demo('--out', earlier, '--bag', earlier / 'lap_2', '--map', earlier / 'map') == 2
    assert 'the node would start now' in capsys.readouterr().err
    assert content(earlier) == before


def test_two_folders_replace_the_map_alone(demo, earlier, pictures, capsys):
    before = content(earlier)
    assert demo('--out', earlier, '--reference', pictures, '--query', pictures) == 2
    assert 'the node would start now' in capsys.readouterr().err
    after = content(earlier)
    assert before.keys() - after.keys() == set()
    changed = {path for path in before if before[path] != after[path]}
    assert changed and all(path.is_relative_to(earlier / 'map') for path in changed)


@pytest.mark.parametrize('option', ['--reference', '--query', '--model'])
def test_an_input_in_what_is_replaced_is_refused_and_kept(
    demo, earlier, pictures, tiny_model, tmp_path, option, capsys
):
    (earlier / 'map' / 'mine').mkdir()
    (earlier / 'map' / 'mine' / 'tiny.onnx').write_bytes(tiny_model.read_bytes())
    (tmp_path / 'link').symlink_to(earlier / 'map' / 'mine')
    before = content(earlier)
    given = tmp_path / 'link'
    inputs = {'--reference': pictures, '--query': pictures, '--model': tiny_model}
    inputs[option] = given / 'tiny.onnx' if option == '--model' else given
    assert demo('--out', earlier, *(word for pair in inputs.items() for word in pair)) == 2
    message = f'{inputs[option]} ({option}) lies in {earlier / "map"}, which this demo replaces'
    assert message in capsys.readouterr().err
    assert content(earlier) == before


@pytest.mark.parametrize('value', ['-1', 'two', '1.5'])
def test_a_wrong_tolerance_is_refused_at_once(demo, pictures, tmp_path, value, capsys):
    out = tmp_path / 'out'
    with pytest.raises(SystemExit) as stopped:
        demo('--out', out, '--reference', pictures, '--query', pictures, '--tolerance', value)
    assert stopped.value.code == 2
    assert f'must be a number of pictures, 0 or more, not {value!r}' in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize('option', ['--topic', '--stamps', '--truth-topic'])
def test_options_of_a_bag_need_a_bag(demo, pictures, tmp_path, option, capsys):
    words = ['--reference', pictures, '--query', pictures, option, 'record']
    assert demo('--out', tmp_path / 'out', *words) == 2
    assert f'{option} is for --bag, which is not given' in capsys.readouterr().err


def test_options_of_a_bag_are_handed_on(demo, earlier, tmp_path, monkeypatch):
    seen = {}

    def bag_trial(*_, **options):
        seen.update(options)
        raise ReachedError

    monkeypatch.setattr(trials, 'bag_trial', bag_trial)
    words = ['--out', tmp_path / 'out', '--bag', earlier / 'lap_2', '--map', earlier / 'map']
    demo(*words)
    assert seen == {'topic': None, 'stamps': 'header', 'truth_topic': None}
    demo(*words, '--topic', '/left', '--stamps', 'record', '--truth-topic', '/pose')
    assert seen == {'topic': '/left', 'stamps': 'record', 'truth_topic': '/pose'}
