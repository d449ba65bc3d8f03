# SPDX-License-Identifier: Apache-2.0
"""The node against a prebuilt map: `ros2 launch vpr_ros localize.launch.py map:=DIR`.

An argument that is given wins over the parameter file; one that is not leaves the file's value.
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription
from vpr_ros.launch_arguments import LISTS, items_of, log_level_of

BOOLEANS = ['true', 'false']

# Arguments that become parameters of the same name if they are given.
TEXTS = ('mode', 'map', 'model', 'device', 'image_transport')
SWITCHES = ('autostart', 'use_sim_time')
NUMBERS = ('top_k',)

# Arguments that are topics of the node; those of several cameras keep their names.
TOPICS = ('image', 'camera_info', 'odom')


def config(name: str) -> PathJoinSubstitution:
    return PathJoinSubstitution([FindPackageShare('vpr_ros'), 'config', name])


ARGUMENTS = [
    DeclareLaunchArgument(
        'mode',
        default_value='',
        choices=['', 'localize', 'slam', 'both'],
        description='Match against the map, what was seen since the start, or both',
    ),
    DeclareLaunchArgument(
        'map', default_value='', description='Map directory, as path or file:// URL'
    ),
    DeclareLaunchArgument(
        'model', default_value='', description='Model file (.onnx); by default the shipped one'
    ),
    DeclareLaunchArgument(
        'image', default_value='image', description='Topic of the pictures, without /compressed'
    ),
    DeclareLaunchArgument(
        'camera_info', default_value='camera_info', description='Topic of the camera intrinsics'
    ),
    DeclareLaunchArgument('odom', default_value='odom', description='Topic of the odometry'),
    DeclareLaunchArgument(
        'cameras',
        default_value='',
        description="Several cameras, as '[front, left]', with topics front/image, left/image...",
    ),
    DeclareLaunchArgument(
        'body_from_camera',
        default_value='',
        description="Where each camera is on the body, as '[x, y, z, qx, qy, qz, qw]'",
    ),
    DeclareLaunchArgument(
        'image_transport',
        default_value='',
        choices=['', 'raw', 'compressed'],
        description='Whether the pictures come raw or compressed',
    ),
    DeclareLaunchArgument(
        'device',
        default_value='',
        choices=['', 'auto', 'cpu', 'cuda', 'tensorrt'],
        description='Where the model runs',
    ),
    DeclareLaunchArgument(
        'params_file',
        default_value=config('localize.yaml'),
        description='Parameter file; the arguments given here win over it',
    ),
    DeclareLaunchArgument(
        'autostart',
        default_value='',
        choices=['', *BOOLEANS],
        description='Configure and activate the node at start',
    ),
    DeclareLaunchArgument(
        'use_sim_time',
        default_value='',
        choices=['', *BOOLEANS],
        description='Follow /clock, as a bag played with --clock publishes it',
    ),
    DeclareLaunchArgument('top_k', default_value='', description='Matches per picture'),
    DeclareLaunchArgument('namespace', default_value='', description='Namespace of the node'),
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


def given_parameters(context: LaunchContext) -> dict:
    """Return the parameters whose argument was given, each in its own type."""
    texts = {name: LaunchConfiguration(name).perform(context) for name in TEXTS}
    switches = {name: LaunchConfiguration(name).perform(context) for name in SWITCHES}
    numbers = [name for name in NUMBERS if LaunchConfiguration(name).perform(context)]
    lists = {name: LaunchConfiguration(name).perform(context) for name in LISTS}
    return {
        # Without a type, launch reads texts as YAML: a map called 1 would become a number.
        **{k: ParameterValue(v, value_type=str) for k, v in texts.items() if v},
        **{k: v == 'true' for k, v in switches.items() if v},
        **{k: ParameterValue(LaunchConfiguration(k), value_type=int) for k in numbers},
        **{k: items_of(text, LISTS[k]) for k, text in lists.items() if text},
    }


def localizer(context: LaunchContext) -> list[Node]:
    namespace = LaunchConfiguration('namespace').perform(context)
    log_level = LaunchConfiguration('log_level').perform(context)
    given = given_parameters(context)
    return [
        Node(
            package='vpr_ros',
            executable='localizer',
            name='localizer',
            namespace=namespace,
            parameters=[LaunchConfiguration('params_file'), *([given] if given else [])],
            remappings=[(name, LaunchConfiguration(name)) for name in TOPICS],
            arguments=log_level_of('localizer', namespace, log_level),
            output='screen',
            emulate_tty=True,
        )
    ]


def generate_launch_description() -> LaunchDescription:
    rviz = Node(
        package='rviz2',
        executable='rviz2',
        namespace=LaunchConfiguration('namespace'),
        arguments=['-d', config('localize.rviz')],
        condition=IfCondition(LaunchConfiguration('rviz')),
    )
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=localizer), rviz])
