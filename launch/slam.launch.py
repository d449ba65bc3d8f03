# SPDX-License-Identifier: Apache-2.0
"""Loops closed for any odometry: `ros2 launch vpr_ros slam.launch.py image:=... odom:=...`.

Starts the localizer against its own past and the pose graph, which needs GTSAM
(`pip install -r requirements/slam.txt`).
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription

BOOLEANS = ['true', 'false']


def share(*parts: str) -> PathJoinSubstitution:
    return PathJoinSubstitution([FindPackageShare('vpr_ros'), *parts])


# Handed on to localize.launch.py under the same names.
FOR_LOCALIZER = [
    DeclareLaunchArgument(
        'mode',
        default_value='slam',
        choices=['slam', 'both'],
        description='Match what was seen since the start, or that and a map',
    ),
    DeclareLaunchArgument('map', default_value='', description='Map directory, in mode both'),
    DeclareLaunchArgument(
        'model', default_value='', description='Model file (.onnx); by default the shipped one'
    ),
    DeclareLaunchArgument(
        'device',
        default_value='',
        choices=['', 'auto', 'cpu', 'cuda', 'tensorrt'],
        description='Where the model runs',
    ),
    DeclareLaunchArgument(
        'image', default_value='image', description='Topic of the pictures, without /compressed'
    ),
    DeclareLaunchArgument(
        'image_transport',
        default_value='',
        choices=['', 'raw', 'compressed'],
        description='Whether the pictures come raw or compressed',
    ),
    DeclareLaunchArgument(
        'camera_info', default_value='camera_info', description='Topic of the camera intrinsics'
    ),
    DeclareLaunchArgument('odom', default_value='odom', description='Topic of the odometry'),
    DeclareLaunchArgument(
        'body_from_camera',
        default_value='',
        description="Where the camera is on the body, as '[x, y, z, qx, qy, qz, qw]'; without it "
        'closures tell no metres',
    ),
    DeclareLaunchArgument(
        'params_file',
        default_value=share('config', 'localize.yaml'),
        description='Parameter file of the localizer; the arguments given here win over it',
    ),
    DeclareLaunchArgument(
        'use_sim_time',
        default_value='',
        choices=['', *BOOLEANS],
        description='Follow /clock, as a bag played with --clock publishes it',
    ),
    DeclareLaunchArgument('namespace', default_value='', description='Namespace of the nodes'),
    DeclareLaunchArgument(
        'log_level',
        default_value='info',
        choices=['debug', 'info', 'warn', 'error', 'fatal'],
        description='Least severe messages that are logged',
    ),
    DeclareLaunchArgument(
        'rviz', default_value='false', choices=BOOLEANS, description='Show the map in RViz'
    ),
]
FOR_POSE_GRAPH = [
    DeclareLaunchArgument(
        'pose_graph_params_file',
        default_value=share('config', 'pose_graph.yaml'),
        description='Parameter file of the pose graph; the arguments given here win over it',
    ),
    DeclareLaunchArgument(
        'publish_tf',
        default_value='',
        choices=['', *BOOLEANS],
        description='Publish the transform from map to odometry',
    ),
    DeclareLaunchArgument(
        'save_folder', default_value='', description='Folder that pose_graph/save writes'
    ),
]


def nodes(context: LaunchContext) -> list:
    given = {
        argument.name: LaunchConfiguration(argument.name).perform(context)
        for argument in [*FOR_LOCALIZER, *FOR_POSE_GRAPH]
    }
    localizer = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(share('launch', 'localize.launch.py')),
        launch_arguments={a.name: given[a.name] for a in FOR_LOCALIZER}.items(),
    )
    overrides = {
        name: given[name] == 'true' for name in ('use_sim_time', 'publish_tf') if given[name]
    }
    if given['save_folder']:
        overrides['save_folder'] = given['save_folder']
    if given['body_from_camera']:
        words = given['body_from_camera'].strip().removeprefix('[').removesuffix(']').split(',')
        overrides['body_from_camera'] = [float(word) for word in words]
    # Of this node alone, as for the localizer.
    logger = '.'.join([*given['namespace'].strip('/').split('/'), 'pose_graph']).lstrip('.')
    pose_graph = Node(
        package='vpr_ros',
        executable='pose_graph',
        name='pose_graph',
        namespace=given['namespace'],
        parameters=[given['pose_graph_params_file'], *([overrides] if overrides else [])],
        remappings=[('odom', given['odom'])],
        arguments=['--ros-args', '--log-level', f'{logger}:={given["log_level"]}'],
        output='screen',
        emulate_tty=True,
    )
    return [localizer, pose_graph]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*FOR_LOCALIZER, *FOR_POSE_GRAPH, OpaqueFunction(function=nodes)])
