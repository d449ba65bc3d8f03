# SPDX-License-Identifier: Apache-2.0
"""Loops closed for any odometry: `ros2 launch vpr_ros slam.launch.py image:=... odom:=...`.

Starts the localizer against its own past and the pose graph, which needs GTSAM
(`pip install -r requirements/slam.txt`).
"""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription
from vpr_ros.launch_arguments import LISTS, items_of, log_level_of


def share(*parts: str) -> PathJoinSubstitution:
    return PathJoinSubstitution([FindPackageShare('vpr_ros'), *parts])


MODE = DeclareLaunchArgument(
    'mode',
    default_value='slam',
    choices=['slam', 'both'],
    description='Match what was seen since the start, or that and a map',
)
# The arguments of localize.launch.py are those of this file, too; some serve both nodes.
LOCALIZER = IncludeLaunchDescription(
    PythonLaunchDescriptionSource(share('launch', 'localize.launch.py')),
    launch_arguments={'mode': LaunchConfiguration('mode')}.items(),
)
FOR_POSE_GRAPH = [
    DeclareLaunchArgument(
        'pose_graph_params_file',
        default_value=share('config', 'pose_graph.yaml'),
        description='Parameter file of the pose graph; the arguments given here win over it',
    ),
    DeclareLaunchArgument(
        'publish_tf',
        default_value='',
        choices=['', 'true', 'false'],
        description='Publish the transform from map to odometry',
    ),
    DeclareLaunchArgument(
        'save_folder', default_value='', description='Folder that pose_graph/save writes'
    ),
]


def pose_graph(context: LaunchContext) -> list[Node]:
    given = context.launch_configurations
    overrides = {
        **{k: given[k] == 'true' for k in ('use_sim_time', 'publish_tf') if given[k]},
        **{k: items_of(given[k], kind) for k, kind in LISTS.items() if given[k]},
    }
    if given['save_folder']:
        overrides['save_folder'] = ParameterValue(given['save_folder'], value_type=str)
    return [
        Node(
            package='vpr_ros',
            executable='pose_graph',
            name='pose_graph',
            namespace=given['namespace'],
            parameters=[given['pose_graph_params_file'], *([overrides] if overrides else [])],
            remappings=[('odom', given['odom'])],
            arguments=log_level_of('pose_graph', given['namespace'], given['log_level']),
            output='screen',
            emulate_tty=True,
        )
    ]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [MODE, LOCALIZER, *FOR_POSE_GRAPH, OpaqueFunction(function=pose_graph)]
    )
