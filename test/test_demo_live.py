# SPDX-License-Identifier: Apache-2.0
"""`vpr demo` as a user runs it: the real node, real DDS, a short drive; and what goes wrong."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('vpr_msgs.msg')

from node_process import nodes_of

from vpr_ros import bag_writer
from vpr_ros.bag_messages import header
from vpr_ros.bag_writer import BagWriter
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.map_builder import build_map
from vpr_ros.pose_lookup import PosesByTime
from vpr_ros.sources import BagSource

pytestmark = pytest.mark.ros
REPOSITORY = Path(__file__).resolve().parents[1]


def vpr(*arguments, **options):
    environment = {**os.environ, 'PYTHONPATH': str(REPOSITORY)}
    command = [sys.executable, '-m', 'vpr_ros.cli', *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def number(text, name):
    return float(re.search(rf'^ *{re.escape(name)} +([\d.]+)', text, re.MULTILINE)[1])


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """20 pictures and their twins, a little brighter: every one can be recognised."""
    from conftest import textured_pictures

    root = tmp_path_factory.mktemp('folders')
    for name, light in (('reference', 0), ('query', 12)):
        (root / name).mkdir()
        for i, rgb in enumerate(textured_pictures(20, height=240, width=320)):
            brighter = cv2.add(rgb, (light, light, light, 0))
            cv2.imwrite(str(root / name / f'{i:04d}.png'), brighter)
    return root


@pytest.fixture(scope='module')
def drive(tiny_model, tmp_path_factory):
    """A short drive through the town: output folder, exit status, printed text, errors."""
    out = tmp_path_factory.mktemp('drive') / 'out'
    process = vpr('demo', '--out', out, '--model', tiny_model, '--spacing', 8.0)
    text, errors = process.communicate(timeout=120)
    return out, process.returncode, text, errors


def test_a_short_drive_through_the_town(drive):
    out, status, text, errors = drive
    assert status in (0, 1), errors
    assert (status == 1) == ('is below' in errors)
    sent = number(text, 'pictures sent')
    assert 40 < sent < 60
    assert number(text, 'received') == number(text, 'processed') + number(text, 'dropped')
    assert number(text, 'received') + number(text, 'overtaken') == sent
    assert number(text, 'processed') > 0  # the machine may be busy
    assert 0 <= number(text, 'precision') <= 100
    assert cv2.imread(str(out / 'demo.png')).shape == (1000, 1600, 3)
    assert (out / 'map' / 'map.json').exists()
    assert 'inactive -> active' in (out / 'node.log').read_text()


def test_its_bag_against_its_map_gives_the_same_truth(drive, tiny_model, tmp_path):
    out, _, text, _ = drive
    process = vpr(
        'demo', '--out', tmp_path / 'out', '--model', tiny_model,
        '--bag', out / 'lap_2', '--map', out / 'map',
    )  # fmt: skip
    again, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert number(again, 'pictures sent') == number(text, 'pictures sent')
    for printed in (text, again):  # which pictures a busy machine answers differs from run to run
        assert 'a place within 15 m and 30 degrees of the picture is right' in printed
        assert 'not judged' not in printed
        assert 0 < number(printed, 'recall@1') <= 100
    assert (tmp_path / 'out' / 'demo.png').exists()


def test_two_folders_are_recognised(tiny_model, folders, tmp_path):
    process = vpr(
        'demo', '--out', tmp_path / 'out', '--model', tiny_model, '--rate', 20, '--tolerance', 0,
        '--reference', folders / 'reference', '--query', folders / 'query',
    )  # fmt: skip
    text, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert number(text, 'pictures sent') == 20
    assert number(text, 'recall@1') == 100.0
    assert number(text, 'precision') == 100.0
    assert number(text, 'processed') > 0
    assert number(text, 'oldest answer') < 60_000  # stamps and clock belong together


def test_real_pictures_are_recognised_by_the_shipped_model(vpr_data, tmp_path):
    for name in ('day_left', 'day_right'):
        (tmp_path / name).mkdir()
        for path in sorted((vpr_data / 'gardens_point' / name).iterdir())[60:80]:
            (tmp_path / name / path.name).symlink_to(path.resolve())
    process = vpr(
        'demo', '--out', tmp_path / 'out', '--rate', 5, '--tolerance', 2,
        '--reference', tmp_path / 'day_left', '--query', tmp_path / 'day_right',
    )  # fmt: skip
    text, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert 'map of 20 places' in text
    assert number(text, 'pictures sent') == 20
    processed = number(text, 'processed')
    assert processed >= 10  # the machine may be busy; none may be unaccounted for
    assert processed + number(text, 'dropped') + number(text, 'overtaken') == 20
    assert f'of the {processed:.0f} processed pictures of mapped places' in text
    assert 0 < number(text, 'candidates') <= processed
    assert number(text, 'precision') >= 90
    assert number(text, 'recall@1') >= 80
    assert cv2.imread(str(tmp_path / 'out' / 'demo.png')).shape == (1000, 1600, 3)
    assert json.loads((tmp_path / 'out' / 'map' / 'map.json').read_text())


def test_an_ordinary_bag_is_played_but_not_judged(
    tiny_model, textured_pictures, tmp_path, monkeypatch
):
    """Two cameras, no stamps, and odometry that begins at zero in every drive."""
    monkeypatch.setattr(bag_writer, 'header', lambda _, frame_id: header(0, frame_id))
    with BagWriter(tmp_path / 'bag') as bag:
        for i, rgb in enumerate(textured_pictures(10)):
            stamp_ns = 10**18 + i * 10**8
            for camera in ('/left', '/right'):
                bag.add_image(camera, rgb, stamp_ns, camera[1:])
            bag.add_odometry('/odom', [2.0 * i, 0, 0], [0, 0, 0, 1], stamp_ns)
    source = BagSource(tmp_path / 'bag', topic='/left', stamps='record')
    poses = PosesByTime(source.poses('/odom').trajectory, max_gap_s=1.0)
    build_map(source, DescriptorExtractor(tiny_model), tmp_path / 'map', poses=poses)
    process = vpr(
        'demo', '--out', tmp_path / 'out', '--model', tiny_model, '--map', tmp_path / 'map',
        '--bag', tmp_path / 'bag', '--topic', '/right', '--stamps', 'record',
    )  # fmt: skip
    text, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert number(text, 'pictures sent') == 10
    assert number(text, 'candidates') > 0
    assert 'not known' in text and '--truth-topic' in text
    assert 'precision' not in text and 'recall' not in text


def test_ended_by_a_signal_it_leaves_no_node_behind(tiny_model, folders, tmp_path):
    process = vpr(
        'demo', '--out', tmp_path / 'out', '--model', tiny_model, '--rate', 1,
        '--reference', folders / 'reference', '--query', folders / 'query',
    )  # fmt: skip
    deadline = time.monotonic() + 60
    log = tmp_path / 'out' / 'node.log'
    while not (log.exists() and 'inactive -> active' in log.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    assert nodes_of(tiny_model)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert not nodes_of(tiny_model)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--reference', '.'], '--reference needs --query'),
        (['--map', '.'], '--map needs --bag'),
        (['--rate', '0'], '--rate must be positive'),
        (['--reference', '/nowhere', '--query', '.'], 'no folder at /nowhere'),
        (['--out', 'test'], 'holds other things than an earlier demo'),
    ],
)
def test_mistakes_are_one_line(arguments, message, tiny_model):
    process = vpr('demo', '--model', tiny_model, *arguments, cwd=REPOSITORY)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
