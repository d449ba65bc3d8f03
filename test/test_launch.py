# SPDX-License-Identifier: Apache-2.0
"""The launch files: every argument described; run for real where `ros2 launch` exists."""

import ast
import csv
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from vpr_ros.launch_arguments import LISTS

ROOT = Path(__file__).resolve().parents[1]
LOCALIZE = ROOT / 'launch' / 'localize.launch.py'
REPLAY = ROOT / 'launch' / 'replay.launch.py'
SLAM = ROOT / 'launch' / 'slam.launch.py'
ARGUMENTS = {
    *('map', 'model', 'image', 'image_transport', 'device', 'params_file', 'autostart'),
    *('use_sim_time', 'top_k', 'namespace', 'log_level', 'rviz', 'mode', 'camera_info', 'odom'),
    *('cameras', 'body_from_camera'),
}


def declarations(path: Path) -> dict[str, dict[str, ast.expr]]:
    """Return name -> keyword arguments of every DeclareLaunchArgument in a file."""
    calls = [n for n in ast.walk(ast.parse(path.read_text('utf-8'))) if isinstance(n, ast.Call)]
    declared = [c for c in calls if getattr(c.func, 'id', '') == 'DeclareLaunchArgument']
    return {c.args[0].value: {k.arg: k.value for k in c.keywords} for c in declared}


@pytest.mark.parametrize(
    'path', sorted((ROOT / 'launch').glob('*.launch.py')), ids=lambda p: p.name
)
def test_every_argument_has_a_default_and_a_description(path):
    found = declarations(path)
    assert found
    for name, keywords in found.items():
        assert {'default_value', 'description'} <= set(keywords), name
        assert len(keywords['description'].value) > 10, name


def test_localize_declares_its_arguments():
    assert set(declarations(LOCALIZE)) == ARGUMENTS


def test_replay_declares_its_arguments():
    wanted = {'bag', 'map', 'out', 'model', 'topic', 'truth', 'rate', 'params_file'}
    assert set(declarations(REPLAY)) == wanted


def test_replay_calls_a_command_that_exists():
    """Its options, with values in place of what launch fills in."""
    from vpr_ros.cli import build_parser

    (command,) = (
        keyword.value.elts[1:]
        for call in ast.walk(ast.parse(REPLAY.read_text('utf-8')))
        if isinstance(call, ast.Call) and getattr(call.func, 'id', '') == 'ExecuteProcess'
        for keyword in call.keywords
        if keyword.arg == 'cmd'
    )
    words = []
    for element in command:
        assert isinstance(element, ast.Starred)
        value = element.value
        if isinstance(value, ast.Call):  # how answers are judged, split into words
            words.append('--no-truth')
            continue
        for word in (value.body if isinstance(value, ast.IfExp) else value).elts:
            words.append(word.value if isinstance(word, ast.Constant) else '1')
    words[words.index('--remap') + 1] = '/cam:=/cam/compressed'
    args = build_parser().parse_args(words)
    assert (args.command, args.node, args.clock) == ('replay', '/localizer', 40.0)
    assert (args.bag, args.map, args.out, args.rate) == (*(Path('1'),) * 3, 1.0)


def test_replay_gives_arguments_that_the_localizer_has():
    (given,) = (
        keyword.value.func.value.keys
        for call in ast.walk(ast.parse(REPLAY.read_text('utf-8')))
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == 'launch_arguments'
    )
    assert {key.value for key in given if key is not None} <= ARGUMENTS  # None: `**topics`


def test_slam_adds_what_the_pose_graph_needs():
    """The rest it has from localize.launch.py, which it includes."""
    pytest.importorskip('rcl_interfaces')
    from vpr_ros.pose_graph_node.parameters import PARAMETERS

    found = declarations(SLAM)
    assert set(found) == {'mode', 'pose_graph_params_file', 'publish_tf', 'save_folder'}
    modes = ast.literal_eval(found['mode']['choices'])
    assert set(modes) < set(ast.literal_eval(declarations(LOCALIZE)['mode']['choices']))
    assert 'localize' not in modes
    assert ast.literal_eval(found['mode']['default_value']) == 'slam'
    assert isinstance(PARAMETERS['save_folder'].default, str)
    assert isinstance(PARAMETERS['publish_tf'].default, bool)
    assert {name: PARAMETERS[name].items for name in LISTS} == LISTS


def test_arguments_that_become_parameters_exist():
    pytest.importorskip('rcl_interfaces')
    from vpr_ros.node.parameters import PARAMETERS

    source = LOCALIZE.read_text('utf-8')
    assigned = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and node.targets[0].id in ('TEXTS', 'SWITCHES', 'NUMBERS')
    }
    assert {name: PARAMETERS[name].items for name in LISTS} == LISTS
    for name in assigned['TEXTS']:
        assert isinstance(PARAMETERS[name].default, str)
    for name in assigned['SWITCHES']:
        assert name == 'use_sim_time' or isinstance(PARAMETERS[name].default, bool)
    for name in assigned['NUMBERS']:
        assert isinstance(PARAMETERS[name].default, int)
    choices = declarations(LOCALIZE)['device']['choices']
    assert tuple(ast.literal_eval(choices)) == ('', *PARAMETERS['device'].choices)
    for name in ('image_transport', 'mode'):
        choices = declarations(LOCALIZE)[name]['choices']
        assert tuple(ast.literal_eval(choices)) == ('', *PARAMETERS[name].choices)


@pytest.mark.parametrize(
    'arguments',
    [
        {},
        {'use_sim_time': 'true', 'publish_tf': 'false', 'save_folder': '/tmp/run'},
        {'body_from_camera': '[0.1, 0, 1, -0.5, 0.5, -0.5, 0.5]', 'namespace': 'robot1'},
    ],
)
def test_slam_starts_the_pose_graph(arguments):
    pytest.importorskip('launch_ros', reason='launch_ros comes with a ROS distribution')
    from launch import LaunchContext

    spec = importlib.util.spec_from_file_location('slam_launch', SLAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = LaunchContext()
    for declaration in [module.MODE, *module.FOR_POSE_GRAPH]:
        if declaration.name != 'pose_graph_params_file':
            declaration.visit(context)
    # As localize.launch.py has them where they are not given.
    context.launch_configurations.update(dict.fromkeys(LISTS, ''))
    context.launch_configurations.update(
        {'use_sim_time': '', 'namespace': '', 'odom': 'odom', 'log_level': 'info'}
        | {'pose_graph_params_file': 'b.yaml', **arguments}
    )
    (node,) = module.pose_graph(context)
    assert node.node_executable == 'pose_graph'


def node_of(**arguments: str):
    """Evaluate the file with these arguments; returns the localizer's action and its context."""
    pytest.importorskip('launch_ros', reason='launch_ros comes with a ROS distribution')
    from launch import LaunchContext

    spec = importlib.util.spec_from_file_location('localize_launch', LOCALIZE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    context = LaunchContext()
    context.launch_configurations.update(arguments)
    for declaration in module.ARGUMENTS:
        if declaration.name != 'params_file':
            declaration.visit(context)
    return module.given_parameters(context), module.localizer(context)[0], context


def test_only_what_was_given_becomes_a_parameter():
    assert node_of()[0] == {}
    given, _, context = node_of(map='1', use_sim_time='true', autostart='false', top_k='20')
    assert set(given) == {'map', 'use_sim_time', 'autostart', 'top_k'}
    assert (given['map'].evaluate(context), given['top_k'].evaluate(context)) == ('1', 20)
    assert (given['use_sim_time'], given['autostart']) == (True, False)
    given, _, _ = node_of(cameras='[front, on]', body_from_camera='0,0,1.5, -0.5,0.5,-0.5,0.5')
    assert given == {
        'cameras': ['front', 'on'],
        'body_from_camera': [0.0, 0.0, 1.5, -0.5, 0.5, -0.5, 0.5],
    }


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [({'device': 'gpu'}, 'tensorrt'), ({'log_level': 'loud'}, 'fatal'), ({'rviz': 'yes'}, 'true')],
)
def test_values_that_are_not_accepted_are_named(arguments, message):
    with pytest.raises(RuntimeError, match=message):
        node_of(**arguments)


@pytest.fixture
def ros2_launch():
    """Run the installed launch file; gives back output and exit code after SIGINT."""
    if shutil.which('ros2') is None or importlib.util.find_spec('ros2launch') is None:
        pytest.skip('ros2 launch comes with a ROS distribution')
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

    try:
        share = Path(get_package_share_directory('vpr_ros'))
    except PackageNotFoundError:
        pytest.skip('vpr_ros is not built: colcon build')
    for file in (LOCALIZE, REPLAY, SLAM):
        assert (share / 'launch' / file.name).read_text() == file.read_text(), 'build again'

    def run(until: str, *arguments: str, file: Path = LOCALIZE) -> tuple[str, int]:
        from node_process import free_domain

        process = subprocess.Popen(
            ['ros2', 'launch', 'vpr_ros', file.name, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, 'ROS_DOMAIN_ID': str(free_domain())},
            restore_signals=True,
        )
        lines = []
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        with process.stdout as output:
            for line in output:
                if until in line and not any(until in earlier for earlier in lines):
                    process.send_signal(signal.SIGINT)  # once: a second one would hurry it
                lines.append(line)
        watchdog.cancel()
        return ''.join(lines), process.wait(20)

    return run


@pytest.mark.ros
def test_the_real_ros2_launch_runs_the_node(ros2_launch, tiny_model):
    output, code = ros2_launch(
        'inactive -> active', f'model:={tiny_model}', 'device:=cpu', 'image:=/camera/image_raw'
    )
    assert 'listening to /camera/image_raw' in output
    assert 'process has finished cleanly' in output
    assert code == 0, output


@pytest.mark.ros
def test_the_real_ros2_launch_starts_slam(ros2_launch):
    mountings = '[0.1, 0.0, 0.2, -0.5, 0.5, -0.5, 0.5, 0.0, 0.3, 0.2, -0.5, 0.5, -0.5, 0.5]'
    cameras = ('cameras:=[front, left]', f'body_from_camera:={mountings}')
    # The shipped model takes longer to load than the pose graph to start.
    output, code = ros2_launch('inactive -> active', *cameras, file=SLAM)
    assert output.count(f'"body_from_camera": {mountings}') == 2, output
    assert output.count('"cameras": ["front", "left"]') == 2, output
    assert output.count('process has finished cleanly') == 2
    assert code == 0, output


@pytest.mark.ros
def test_arguments_win_over_the_parameter_file(ros2_launch, tiny_model, tmp_path):
    file = tmp_path / 'mine.yaml'
    file.write_text('/**:\n  ros__parameters: {top_k: 3, device: tensorrt}\n')
    output, _ = ros2_launch(
        'inactive -> active',
        *(f'model:={tiny_model}', f'params_file:={file}', 'device:=cpu', 'namespace:=robot1'),
        *('cameras:=[front, left]', 'odom:=/wheels/odom'),
    )
    assert '"top_k": 3' in output
    assert '"device": "cpu"' in output
    assert 'listening to /robot1/front/image (reliable), /robot1/left/image' in output
    assert '"/wheels/odom"' in output


@pytest.mark.ros
@pytest.mark.parametrize('topic', ['/cam', '/cam/compressed'])  # raw pictures, whatever the name
def test_the_real_ros2_launch_replays_a_bag(
    ros2_launch, tiny_model, textured_pictures, tmp_path, topic
):
    import node_process

    from vpr_ros.bag_writer import BagWriter

    pictures = textured_pictures(10)
    place_map = node_process.build_map(tiny_model, tmp_path / 'map', pictures)
    with BagWriter(tmp_path / 'bag') as bag:
        for i, rgb in enumerate(pictures):
            bag.add_image(topic, rgb, 10**18 + i * 2 * 10**8, 'cam')
            upright = [0.0, 0.0, 0.0, 1.0]
            bag.add_odometry('/wheels/odom', [i, 0, 0], upright, 10**18 + i * 2 * 10**8)
    out = tmp_path / 'out'
    given = (f'bag:={tmp_path / "bag"}', f'model:={tiny_model}', f'out:={out}')
    output, code = ros2_launch('never', *given, f'map:={place_map}', file=REPLAY)
    assert code == 0, output
    said = (
        r'(\d+) answered, (\d+) dropped by the node, (\d+) overtaken on the way, (\d+) not taken'
    )
    found = re.search(said, output)
    assert sum(map(int, found.groups())) == 10
    with (out / 'queries.csv').open(newline='') as file:
        rows = [row['place_ids'].split() for row in csv.DictReader(file)]
    answered = [(i, row) for i, row in enumerate(rows) if row]
    assert len(answered) == int(found[1]) > 0
    assert all(int(row[0]) == i and len(row) == 10 for i, row in answered)  # more than 5: top_k
    assert 'no more than recall@' not in output
    assert '"/wheels/odom"' in output, 'the node listens to the odometry of the bag'
    if topic == '/cam':
        output, code = ros2_launch('never', *given, f'map:={tmp_path / "nowhere"}', file=REPLAY)
        assert 'no map at' in output
        assert code == 1, output
