# SPDX-License-Identifier: Apache-2.0
"""The parameters of `pose_graph`: the same in file, node and documentation."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml

pytest.importorskip('rcl_interfaces')
pytest.importorskip('vpr_msgs.msg')

from vpr_ros.node_common.declared import ParameterError, config_of, markdown_rows, resolve
from vpr_ros.pose_graph.graph import PoseGraphConfig
from vpr_ros.pose_graph_node.parameters import PARAMETERS, NodeConfig

ROOT = Path(__file__).resolve().parents[2]


def test_the_file_holds_every_parameter_at_its_default():
    (content,) = yaml.safe_load((ROOT / 'config' / 'pose_graph.yaml').read_text('utf-8')).values()
    given = content['ros__parameters']
    assert list(given) == list(PARAMETERS)
    for name, value in given.items():
        default = PARAMETERS[name].default
        if isinstance(default, tuple):
            assert value == list(default), name
            continue
        assert (value, type(value)) == (default, type(default)), name


def test_the_documentation_holds_every_parameter():
    lines = (ROOT / 'docs' / 'pose_graph.md').read_text('utf-8').splitlines()
    missing = [row for row in markdown_rows(PARAMETERS) if row not in lines]
    assert not missing, 'python -m vpr_ros.pose_graph_node.parameters prints the table'


def test_defaults_are_those_of_the_core():
    assert config_of(NodeConfig, resolve({}, PARAMETERS)).graph == PoseGraphConfig()


def test_every_parameter_reaches_the_core():
    """Each that is a number changes graph, extrinsic or node when it is set."""
    names = [n for n, p in PARAMETERS.items() if isinstance(p.default, float)]
    of_node = {'update_period_s', 'diagnostics_period_s', 'tf_period_s', 'tf_tolerance_s'}
    for name in set(names) - of_node:
        default = PARAMETERS[name].default
        changed = resolve({name: 0.9 if default != 0.9 else 0.8}, PARAMETERS)
        assert config_of(NodeConfig, changed).graph != PoseGraphConfig(), name


def test_a_quaternion_that_is_none_is_named():
    with pytest.raises(ParameterError, match='body_from_camera: '):
        NodeConfig(body_from_camera=(0.0,) * 7)


def test_the_transform_takes_points_of_the_odometry_into_the_map():
    from builtin_interfaces.msg import Time
    from scipy.spatial.transform import Rotation

    from vpr_ros.pose_graph.transforms import transform
    from vpr_ros.pose_graph_node.messages import transform_stamped

    half = np.sqrt(0.5)
    map_from_odom = transform(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, half, half]))
    msg = transform_stamped(map_from_odom, Time(sec=7), 'map', 'odom')
    assert (msg.header.frame_id, msg.child_frame_id, msg.header.stamp.sec) == ('map', 'odom', 7)
    t, q = msg.transform.translation, msg.transform.rotation
    turn = Rotation.from_quat([q.x, q.y, q.z, q.w])
    moved = np.array([t.x, t.y, t.z]) + turn.apply([1.0, 0.0, 0.0])  # as tf2 does
    assert moved == pytest.approx([1.0, 3.0, 3.0])


def test_tf_goes_through_tf2_ros_where_it_is(monkeypatch):
    from vpr_ros.pose_graph_node.tf_output import make_broadcaster

    sent = []

    class Broadcaster:
        def __init__(self, node):
            assert node == 'node'

        def sendTransform(self, transform):  # noqa: N802 - as tf2_ros calls it
            sent.append(transform)

    module = ModuleType('tf2_ros')
    module.TransformBroadcaster = Broadcaster
    monkeypatch.setitem(sys.modules, 'tf2_ros', module)
    make_broadcaster('node')('transform')
    assert sent == ['transform']


@pytest.mark.skipif(
    importlib.util.find_spec('tf2_ros') is not None, reason='a ROS distribution has tf2_ros'
)
def test_without_tf2_the_error_says_what_to_do():
    from vpr_ros.pose_graph_node.tf_output import make_broadcaster

    with pytest.raises(ParameterError, match='publish_tf: needs tf2_ros or tf2_msgs'):
        make_broadcaster(None)
