# SPDX-License-Identifier: Apache-2.0
"""A bag through the node: `ros2 launch vpr_ros replay.launch.py bag:=BAG map:=DIR`.

Starts the localizer with simulated time, plays the bag to it and ends with the report in `out`;
fails if either of the two does.
"""

import shlex

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import ExecutableInPackage, FindPackageShare

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from vpr_ros.bag_messages import COMPRESSED_IMAGE
from vpr_ros.evaluation.scores import RECALL_AT
from vpr_ros.replay.recording import query_recording
from vpr_ros.sources import BagSource

ARGUMENTS = [
    DeclareLaunchArgument(
        'bag', default_value='', description='rosbag2 to play: folder, .mcap or .db3 (required)'
    ),
    DeclareLaunchArgument(
        'map', default_value='', description='Map directory, as a path (required)'
    ),
    DeclareLaunchArgument(
        'out', default_value='replay_output', description='Directory for the report'
    ),
    DeclareLaunchArgument(
        'model', default_value='', description='Model file (.onnx); by default the shipped one'
    ),
    DeclareLaunchArgument(
        'topic', default_value='', description='Pictures of the bag; by default the only ones'
    ),
    DeclareLaunchArgument(
        'truth',
        default_value='--no-truth',
        description='How answers are judged, in the words of `vpr evaluate`: '
        "'--pose-topic /ground_truth --within 5'",
    ),
    DeclareLaunchArgument('rate', default_value='1.0', description='Speed, 1 is real time'),
    DeclareLaunchArgument(
        'params_file',
        default_value=PathJoinSubstitution(
            [FindPackageShare('vpr_ros'), 'config', 'localize.yaml']
        ),
        description='Parameter file of the node; the arguments given here win over it',
    ),
]


def replay(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    given = {a.name: LaunchConfiguration(a.name).perform(context) for a in ARGUMENTS}
    for name in ('bag', 'map'):
        if not given[name]:
            raise RuntimeError(f'{name}:=... is missing: replay.launch.py bag:=BAG map:=DIR')
    source = BagSource(given['bag'], topic=given['topic'] or None)
    topic, inputs = source.topic, query_recording(source).inputs
    compressed = topic.msgtype == COMPRESSED_IMAGE
    # The node appends /compressed to the name of its pictures, as image_transport does.
    image = topic.name.removesuffix('/compressed') if compressed else topic.name
    played = f'{image}/compressed' if compressed else image
    localizer = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare('vpr_ros'), 'launch', 'localize.launch.py'])
        ),
        launch_arguments={
            'map': given['map'],
            'model': given['model'],
            'params_file': given['params_file'],
            'image': image,
            'image_transport': 'compressed' if compressed else 'raw',
            **{name: inputs[name] for name in ('camera_info', 'odom') if name in inputs},
            'use_sim_time': 'true',
            'top_k': str(max(RECALL_AT)),
            'namespace': '',  # not that of a launch file which includes this one
        }.items(),
    )
    player = ExecuteProcess(
        name='replay',
        cmd=[
            ExecutableInPackage(package='vpr_ros', executable='vpr'),
            *('replay', given['bag'], '--node', '/localizer', '--clock', '--rate', given['rate']),
            *('--map', given['map'], '--out', given['out'], '--topic', topic.name),
            *(('--remap', f'{topic.name}:={played}') if played != topic.name else ()),
            *shlex.split(given['truth']),
        ],
        output='screen',
    )
    handler = OnProcessExit(on_exit=lambda event, context: end(event, context, player))
    return [localizer, player, RegisterEventHandler(handler)]


def end(event: ProcessExited, context: LaunchContext, player: ExecuteProcess) -> list[Shutdown]:
    """End with the replay; an error, or a node that ends before, makes `ros2 launch` fail."""
    if context.is_shutdown:
        return []
    if event.returncode or event.action is not player:
        raise RuntimeError(f'{event.process_name} ended with status {event.returncode}')
    return [Shutdown(reason=f'{event.process_name} has ended')]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=replay)])
