# SPDX-License-Identifier: Apache-2.0
"""`vpr replay` as a user runs it: in a terminal, against the node, ended by signals."""

import csv
import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy')
pytest.importorskip('vpr_msgs.msg')

import node_process
from node_process import free_domain, nodes_of
from sensor_msgs.msg import Image

from vpr_ros.bag_writer import BagWriter
from vpr_ros.cli import keyboard, main
from vpr_ros.conversions import stamp_ns_from_msg
from vpr_ros.live.listener import ros_node

pytestmark = pytest.mark.ros
REPOSITORY = Path(__file__).resolve().parents[1]
T0 = 1_700_000_000_000_000_000
STEP_NS = 100_000_000
PICTURES = 20


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    from conftest import textured_pictures

    path = tmp_path_factory.mktemp('bags') / 'bag'
    with BagWriter(path) as writer:
        for i, rgb in enumerate(textured_pictures(PICTURES)):
            writer.add_image('/cam', rgb, T0 + i * STEP_NS, 'cam')
            writer.add_odometry('/odom', [i, 0, 0], [0, 0, 0, 1], T0 + i * STEP_NS)
    return path


@pytest.fixture
def place_map(tiny_model, tmp_path, textured_pictures):
    return node_process.build_map(tiny_model, tmp_path / 'map', textured_pictures(PICTURES))


@pytest.fixture(autouse=True)
def hangup_as_usual():
    """Processes started here obey SIGHUP, also where `nohup` runs the tests."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def domain(monkeypatch):
    number = free_domain()
    monkeypatch.setenv('ROS_DOMAIN_ID', str(number))
    return number


def vpr(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, '-m', 'vpr_ros.cli', 'replay', *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(REPOSITORY)},
        **({'stdin': subprocess.DEVNULL} | options),
    )


def wait_for(condition, timeout_s=30.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, 'timed out'
        time.sleep(0.02)


@pytest.fixture
def heard(domain):
    """Stamps of the pictures on /cam, in seconds of the recording, as they come."""
    stamps = []
    with ros_node('ears', domain) as node:

        def note(msg):
            stamps.append((stamp_ns_from_msg(msg.header.stamp) - T0) / 1e9)

        node.create_subscription(Image, '/cam', note, 20)
        yield stamps


def test_plays_a_part_to_whoever_listens(bag, heard):
    process = vpr(bag, '--start', 0.5, '--duration', 1.0, '--rate', 2, '--clock')
    text, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert 'nobody subscribes to /odom, /clock\n' in text
    assert re.search(r'^22 messages in \d+\.\d s$', text, re.MULTILINE)
    wait_for(lambda: len(heard) >= 11)
    assert heard == pytest.approx([0.5 + 0.1 * i for i in range(11)])


def test_chooses_renames_and_restamps(bag, heard):
    before = time.time()
    process = vpr(bag, '--topics', '/cam', '--rate', 5, '--restamp')
    text, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert 'nobody' not in text
    wait_for(lambda: len(heard) >= PICTURES)
    assert before < heard[0] + T0 / 1e9 < time.time()
    process = vpr(bag, '--topics', '/cam', '--remap', '/cam:=/front', '--rate', 10)
    text, _ = process.communicate(timeout=60)
    assert 'nobody subscribes to /front\n' in text
    assert len(heard) == PICTURES


class Terminal:
    """A command whose stdin is a terminal of its own."""

    def __init__(self, *arguments):
        self.controller, self._terminal = pty.openpty()
        self.before = termios.tcgetattr(self._terminal)
        self.process = vpr(
            *arguments,
            stdin=self._terminal,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def press(self, keys):
        os.write(self.controller, keys)

    def wait_for_line(self, text):
        assert any(text in line for line in self.process.stderr)

    def end(self):
        """Wait for the end; returns the exit status, and whether the terminal is as it was."""
        self.process.communicate(timeout=30)
        same = termios.tcgetattr(self._terminal) == self.before
        os.close(self.controller)
        os.close(self._terminal)
        return self.process.returncode, same


def test_the_space_key_pauses_and_goes_on(bag, heard):
    terminal = Terminal(bag, '--start-paused', '--topics', '/cam', '--rate', 0.4)
    terminal.wait_for_line('paused, space goes on')
    terminal.press(b'x')  # other keys do nothing
    time.sleep(1.0)
    assert heard == []
    terminal.press(b' ')
    wait_for(lambda: len(heard) >= 2)
    terminal.press(b' ')
    terminal.wait_for_line('paused, space goes on')
    time.sleep(0.5)  # for what was on its way
    stood_at = len(heard)
    time.sleep(0.6)
    assert len(heard) == stood_at < PICTURES
    terminal.press(b' ')
    assert terminal.end() == (0, True)
    wait_for(lambda: len(heard) == PICTURES)
    assert heard == pytest.approx([0.1 * i for i in range(PICTURES)])


def test_a_key_that_is_pressed_early_is_not_lost(bag, heard):
    terminal = Terminal(bag, '--start-paused', '--topics', '/cam', '--rate', 10)
    terminal.press(b' ')  # before Python has started
    assert terminal.end() == (0, True)
    wait_for(lambda: len(heard) == PICTURES)


def test_a_second_ctrl_c_leaves_the_terminal_as_it_was(monkeypatch):
    controller, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    monkeypatch.setattr(keyboard, 'has_keys', lambda: True)
    monkeypatch.setattr(sys, 'stdin', os.fdopen(terminal, 'r', closefd=False))

    def interrupted(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch, keyboard.keys({}):
        patch.setattr(threading.Thread, 'join', interrupted)
        assert termios.tcgetattr(terminal) != before
        raise KeyboardInterrupt
    assert termios.tcgetattr(terminal) == before
    for thread in threading.enumerate():
        if thread.name == 'keyboard':
            thread.join()
    os.close(controller)
    os.close(terminal)


def test_ctrl_c_ends_a_loop_and_leaves_the_terminal_as_it_was(bag, heard):
    terminal = Terminal(bag, '--loop', '--rate', 10)
    wait_for(lambda: len(heard) > 2 * PICTURES)  # in its third round
    terminal.press(b'\x03')
    assert terminal.end() == (130, True)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_the_terminal_as_it_was(bag, heard, number):
    terminal = Terminal(bag, '--loop')
    wait_for(lambda: heard)
    terminal.process.send_signal(number)
    assert terminal.end() == (128 + number, True)


def test_a_background_process_leaves_the_terminal_alone(bag, heard):
    """The shell would stop it for changing the terminal."""
    controller, terminal = pty.openpty()
    process = vpr(bag, '--rate', 4, stdin=terminal)  # no terminal of its session
    process.communicate(timeout=30)
    assert process.returncode == 0
    wait_for(lambda: len(heard) == PICTURES)
    os.close(controller)
    os.close(terminal)


def rows(path):
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def sustained(*arguments):
    """Play at half the speed, and ever slower where this machine was too busy for it just now."""
    for rate in (0.5, 0.1, 0.05):
        process = vpr(*arguments, '--rate', rate)
        text, errors = process.communicate(timeout=90)
        assert process.returncode == 0, errors
        if f'{PICTURES} answered, 0 dropped' in text:
            break
    return text, errors


def test_through_a_node_of_its_own(bag, place_map, tiny_model, tmp_path):
    out = tmp_path / 'out'
    text, _ = sustained(
        bag, '--map', place_map, '--out', out, '--model', tiny_model,
        '--tolerance', 0, '--fail-under', 'recall@20=1',
    )  # fmt: skip
    assert '20 pictures of /cam sent' in text
    assert '20 answered, 0 dropped' in text
    found = rows(out / 'queries.csv')
    assert [int(row['place_ids'].split()[0]) for row in found] == list(range(PICTURES))
    assert {row['status'] for row in found} <= {'CANDIDATE', 'CONSISTENT'}
    assert all(float(row['similarity']) > 0.99 for row in found)
    assert not nodes_of(tiny_model)
    metrics = json.loads((out / 'metrics.json').read_text())
    assert metrics['is_live'] and metrics['recall@1'] == 1.0
    assert metrics['counts']['sent'] == metrics['num_answered'] == PICTURES
    assert metrics['provider'] == 'CPUExecutionProvider'
    assert metrics['latency_ms']['total']['p50'] > 0
    assert 'live over DDS' in (out / 'report.html').read_text()
    assert (out / 'similarity_matrix.png').exists()  # the node told its descriptors
    offline = ['--bag', bag, '--map', place_map, '--out', tmp_path / 'offline']
    given = [*offline, '--model', tiny_model, '--tolerance', 0]
    assert main(['evaluate', *map(str, given)]) == 0
    for live, expected in zip(found, rows(tmp_path / 'offline' / 'queries.csv'), strict=True):
        assert float(live.pop('similarity')) == pytest.approx(float(expected.pop('similarity')))
        # The filter goes by the time between pictures, which playing changes a little.
        assert float(live.pop('probability')) == pytest.approx(
            float(expected.pop('probability')), abs=0.1
        )
        assert live.pop('latency_s') and expected.pop('latency_s')
        assert live == expected


def test_through_a_node_that_runs_already(bag, place_map, tiny_model, tmp_path, domain):
    arguments = ('-p', f'model:={tiny_model}', '-p', f'map:={place_map}', '-r', 'image:=/cam')
    node = node_process.NodeProcess(tmp_path / 'log', *arguments, domain=domain)
    try:
        node.wait_for_log('inactive -> active')
        out = tmp_path / 'out'
        _, errors = sustained(
            bag, '--node', 'localizer', '--map', place_map, '--out', out, '--no-truth'
        )
        assert 'recall@10 and recall@20 are not known: `ros2 param set' in errors
        found = [int(row['place_ids'].split()[0]) for row in rows(out / 'queries.csv')]
        assert found == list(range(PICTURES))
        assert node.process.poll() is None
    finally:
        node.stop()


@pytest.mark.parametrize(
    ('number', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals_leave_no_node_behind(bag, place_map, tiny_model, tmp_path, number, status):
    out = tmp_path / 'out'
    process = vpr(
        bag, '--map', place_map, '--out', out, '--model', tiny_model, '--rate', 0.1, '--no-truth'
    )
    log = out / 'node.log'
    wait_for(lambda: log.exists() and 'inactive -> active' in log.read_text())
    assert nodes_of(tiny_model)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == status
    assert not nodes_of(tiny_model)
    assert sorted(path.name for path in out.iterdir()) == ['node.log']


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--map', '.'], '--map needs --out'),
        (['--out', 'x'], '--out needs --map'),
        (['--node', '/localizer'], '--node needs --map'),
        (['--topic', '/cam'], '--topic needs --map beside it; --topics chooses'),
        (['--stamps', 'header'], '--stamps header needs --map'),
        (['--pose-topic', '/odom'], '--pose-topic needs --map'),
        (['--no-truth'], '--no-truth needs --map'),
        (['--within', '4'], '--within needs --map'),
        (['--max-pose-gap', '2'], '--max-pose-gap needs --map'),
        (['--fail-under', 'recall@1=0.9'], '--fail-under needs --map'),
        (['--pairs', 'x.csv'], '--pairs needs --map'),
        (['--restamp', '--clock'], '--restamp moves stamps to the present'),
        (['--restamp', '--map', '.', '--out', 'x'], '--restamp moves stamps to the present'),
        (['--loop', '--map', '.', '--out', 'x'], '--loop has no end'),
        (
            ['--map', '.', '--out', 'x', '--node', 'n', '--model', 'm'],
            '--model is of the node that runs already',
        ),
        (['--start-paused'], 'stdin is no terminal'),
        (['--topics', '/nothing'], 'has no topic /nothing; it holds'),
        (['--start', '60'], 'from second 60 on; the recording is 1.9 s long'),
        (['--map', 'nowhere', '--out', 'x', '--topic', '/cam'], 'nowhere'),
        (['--map', '.', '--out', 'x', '--topic', '/odom'], '/odom is a nav_msgs/msg/Odometry'),
    ],
)
def test_mistakes_are_named(bag, arguments, message, domain, tmp_path):
    process = vpr(bag, *arguments, cwd=tmp_path)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert message in errors
    assert 'Traceback' not in errors
    assert not (tmp_path / 'x').exists()


@pytest.mark.parametrize('option', ['--rate=0', '--duration=-1', '--start=nan', '--remap=/cam'])
def test_values_that_mean_nothing_are_refused(bag, option):
    process = vpr(bag, option)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f'argument {option.partition("=")[0]}: must be' in errors


def test_a_bag_without_pictures_has_nothing_to_recognise(tmp_path, place_map):
    with BagWriter(tmp_path / 'bag') as writer:
        writer.add_odometry('/odom', np.zeros(3), np.array([0, 0, 0, 1.0]), T0)
    process = vpr(tmp_path / 'bag', '--map', place_map, '--out', tmp_path / 'out')
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert 'has no picture topic with messages; it holds\n  /odom' in errors
