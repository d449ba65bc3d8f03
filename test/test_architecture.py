# SPDX-License-Identifier: Apache-2.0
"""Who may import whom. Every import is looked at, also those inside functions.

ARROWS is the design: one line for each module (or package) of vpr_ros, with the project's modules
it may import. LIBRARIES names the modules that may touch a library which must stay in its place.
"""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Container, Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

ARROWS = {
    # foundations
    'errors': '',
    'atomic_directory': '',
    'blas': '',
    'geodesy': '',
    'hashing': '',
    'latency': '',
    'launch_arguments': '',
    'model_ref': '',
    'onnx_session': 'errors',
    'picture_quality': '',
    'preprocess': '',
    'resources': '',
    # the road of one picture
    'extractor': 'errors hashing model_ref onnx_session preprocess',
    'growing_array': '',
    'place_index': 'growing_array',
    'map_calibration': '',
    'checksums': 'errors hashing',
    'place_map': (
        'errors atomic_directory cameras checksums growing_array hashing map_calibration '
        'model_ref place_index'
    ),
    'retrieval_pose': 'place_map',
    'sequence_filter': 'growing_array poses settings',
    'verification': 'errors onnx_session resources settings',
    'settings': '',
    'cameras': 'poses verification',
    'keyframe_store': 'errors atomic_directory checksums verification',
    'keyframe_pictures': 'place_map verification',
    'landmarks': 'keyframe_store verification',
    'odometry': 'poses',
    'picture': 'cameras extractor odometry picture_quality verification',
    'verified_pose': 'place_map poses retrieval_pose verification',
    'recognizer': (
        'errors extractor odometry picture picture_quality place_map poses retrieval_pose '
        'sequence_filter settings verification verified_pose'
    ),
    'session': (
        'cameras errors keyframe_pictures keyframe_store map_edit model_ref odometry place_map '
        'poses'
    ),
    'online_map': (
        'cameras keyframe_pictures keyframe_store model_ref odometry picture place_map poses '
        'session settings verification'
    ),
    'revisits': (
        'errors extractor keyframe_store odometry online_map picture place_map recognizer '
        'verification'
    ),
    # measuring it
    'evaluation': (
        'cameras errors frames keyframe_store latency odometry picture picture_folder place_map '
        'pose_lookup poses prefetch recognizer verification'
    ),
    'calibration': 'errors evaluation map_calibration place_map',
    # the back end
    'pose_graph': 'errors atomic_directory poses',
    # making maps
    'conversions': 'errors',
    'poses': 'errors',
    'pose_files': 'errors poses',
    'bag_messages': '',
    'bag_writer': 'errors bag_messages',
    'bags': 'errors bag_messages conversions',
    'bag_poses': 'errors bag_messages bags conversions geodesy poses',
    'bag_cameras': 'errors bag_messages bags camera_info cameras conversions',
    'camera_files': 'errors camera_info cameras',
    'camera_info': 'errors cameras verification',
    'frames': '',
    'picture_folder': 'errors frames pose_files poses',
    'sources': ('errors bag_messages bag_poses bags conversions frames picture_folder poses'),
    'pose_lookup': 'errors frames pose_files poses',
    'keyframes': 'poses',
    'place_reader': (
        'cameras errors frames keyframe_pictures keyframe_store keyframes picture_quality '
        'place_map pose_lookup poses verification'
    ),
    'prefetch': '',
    'spool': 'errors',
    'map_builder': (
        'errors extractor frames keyframe_store landmarks place_map place_reader '
        'pose_lookup prefetch spool'
    ),
    'map_edit': 'errors cameras keyframe_pictures keyframe_store keyframes place_map',
    # the field's sets
    'benchmarks': 'errors evaluation model_ref picture_folder place_map pose_files pose_lookup',
    # the edges
    'node_common': 'errors poses settings',
    'node': (
        'blas camera_info errors conversions extractor keyframe_store model_ref node_common '
        'odometry online_map picture place_map poses recognizer resources retrieval_pose revisits '
        'session settings verification'
    ),
    'pose_graph_node': 'errors conversions node_common pose_graph poses settings',
    'adapters.closure_file': 'errors',
    'adapters.initial_pose': 'pose_graph poses',
    'adapters.raw_graph': 'pose_graph',
    'adapters.rtabmap': 'pose_graph poses',
    'adapters': (
        'errors adapters.closure_file adapters.initial_pose adapters.raw_graph adapters.rtabmap '
        'conversions node_common pose_graph pose_graph_node poses settings'
    ),
    'replay': 'errors bag_cameras bag_messages bags conversions prefetch sources',
    'live': 'errors conversions evaluation place_map recognizer replay retrieval_pose',
    'demo': (
        'errors bags bag_writer cameras conversions evaluation extractor latency live map_builder '
        'place_map pose_lookup poses recognizer resources sources verification'
    ),
    'cli': (
        'blas errors bag_cameras bag_messages bag_poses bags benchmarks calibration camera_files '
        'cameras demo evaluation extractor frames hashing keyframe_store latency live map_builder '
        'map_edit model_ref picture_folder place_map pose_files pose_lookup poses recognizer '
        'replay resources sources verification'
    ),
}

TRAINING_MAY_USE = (
    'benchmarks errors evaluation extractor hashing model_ref picture_folder preprocess '
    'recognizer verification.xfeat'
)

WITH_ROS = {'adapters', 'node', 'node_common', 'pose_graph_node', 'replay', 'live'}
ADAPTERS = 'adapters.messages adapters.rtabmap_messages adapters.*_node'
ROS_MESSAGES = f'conversions node node_common pose_graph_node replay live {ADAPTERS}'
LIBRARIES = {
    'onnxruntime': 'extractor onnx_session',
    'faiss': 'place_index',
    'cv_bridge': 'conversions',
    'rosbags': 'bags bag_messages bag_poses bag_writer',
    'gtsam': 'pose_graph.optimizer',
    'rclpy': 'node node_common pose_graph_node replay live adapters.*_node',
    'rtabmap_msgs': 'adapters.rtabmap_messages',
    'tf2_msgs': 'pose_graph_node.tf_output',
    'tf2_ros': 'pose_graph_node.tf_output',
    'ament_index_python': 'resources',
    'builtin_interfaces': ROS_MESSAGES,
    'diagnostic_msgs': ROS_MESSAGES,
    'geometry_msgs': ROS_MESSAGES,
    'lifecycle_msgs': ROS_MESSAGES,
    'nav_msgs': ROS_MESSAGES,
    'rcl_interfaces': ROS_MESSAGES,
    'rosgraph_msgs': ROS_MESSAGES,
    'sensor_msgs': ROS_MESSAGES,
    'std_msgs': ROS_MESSAGES,
    'std_srvs': ROS_MESSAGES,
    'visualization_msgs': ROS_MESSAGES,
    'vpr_msgs': ROS_MESSAGES,
    # training alone
    'training': '',
    'lightning': '',
    'onnx': '',
    'onnxscript': '',
    'pytorch_metric_learning': '',
    'timm': '',
    'torch': '',
    'torchvision': '',
}


def modules_of(package: str) -> dict[str, Path]:
    """Return dotted name -> file, for every module of a package of this repository."""
    found = {}
    for path in sorted((ROOT / package).rglob('*.py')):
        parts = path.relative_to(ROOT).with_suffix('').parts
        found['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path
    return found


RUNTIME = modules_of('vpr_ros')
TRAINING = modules_of('training')


def statements_of(node: ast.AST, *, for_typing: bool) -> Iterator[ast.AST]:
    """Yield a node and all below it, with or without the blocks `if TYPE_CHECKING:`."""
    yield node
    for child in ast.iter_child_nodes(node):
        if for_typing or not (
            isinstance(child, ast.If) and 'TYPE_CHECKING' in ast.dump(child.test)
        ):
            yield from statements_of(child, for_typing=for_typing)


def imports_of(
    name: str, path: Path, known: dict[str, Path], *, for_typing: bool = True
) -> Iterator[str]:
    """Yield the dotted names that a module imports, wherever in it."""
    package = name if path.name == '__init__.py' else name.rpartition('.')[0]
    tree = ast.parse(path.read_text('utf-8'), str(path))
    for statement in statements_of(tree, for_typing=for_typing):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            base = statement.module or ''
            if statement.level:
                parents = package.split('.')[: len(package.split('.')) - statement.level + 1]
                base = '.'.join([*parents, base] if base else parents)
            for alias in statement.names:
                submodule = f'{base}.{alias.name}'
                yield submodule if submodule in known else base


def unit_of(module: str, units: Container[str]) -> str | None:
    """Return the longest of `units` that a module of vpr_ros is or lies in."""
    parts = module.split('.')[1:]
    names = ('.'.join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((name for name in names if name in units), None)


def is_in(module: str, units: str) -> bool:
    """Tell whether a module of vpr_ros is one of `units` (patterns) or lies in one."""
    name = module.partition('.')[2]
    return any(fnmatch(name, unit) or name.startswith(f'{unit}.') for unit in units.split())


@pytest.mark.parametrize('module', sorted(set(RUNTIME) - {'vpr_ros'}))
def test_module_has_a_place_in_the_design(module):
    assert unit_of(module, ARROWS), (
        f'{module} has no line in ARROWS of test/test_architecture.py: add one that names the '
        'modules it may import, and see docs/ whether the picture of the design still holds'
    )


def test_design_names_no_module_that_is_gone():
    units = {unit_of(module, ARROWS) for module in RUNTIME}
    assert not set(ARROWS) - units, 'lines of ARROWS without a module'


@pytest.mark.parametrize('module', sorted(RUNTIME))
def test_arrows_hold(module):
    unit = unit_of(module, ARROWS)
    allowed = {*ARROWS.get(unit, '').split(), unit}
    for target in imports_of(module, RUNTIME[module], RUNTIME):
        if target.startswith('vpr_ros.'):
            assert unit_of(target, ARROWS) in allowed, (
                f'{module} imports {target}; {unit} may import only: {sorted(allowed - {unit})}'
            )


@pytest.mark.parametrize('module', sorted(RUNTIME))
def test_libraries_stay_in_their_places(module):
    for target in imports_of(module, RUNTIME[module], RUNTIME):
        library = target.partition('.')[0]
        if library in LIBRARIES:
            owners = LIBRARIES[library]
            assert is_in(module, owners), (
                f'{module} imports {library}, which only {owners or "training"} may import'
            )


def test_no_import_cycles():
    graph = {
        module: set(imports_of(module, path, RUNTIME, for_typing=False)) & set(RUNTIME) - {module}
        for module, path in RUNTIME.items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the modules of a cycle


@pytest.mark.parametrize('module', sorted(TRAINING))
def test_training_uses_only_what_it_shares_with_the_runtime(module):
    for target in imports_of(module, TRAINING[module], TRAINING | RUNTIME):
        if target.startswith('vpr_ros.'):
            assert is_in(target, TRAINING_MAY_USE), (
                f'{module} imports {target}; training may import only: {TRAINING_MAY_USE}'
            )
        assert target.partition('.')[0] != 'rclpy', f'{module} imports rclpy'


def test_core_imports_without_ros_and_without_torch():
    blocked = sorted(set(LIBRARIES) - {'onnxruntime', 'faiss', 'rosbags'})
    core = [module for module in RUNTIME if unit_of(module, ARROWS) not in WITH_ROS]
    program = (
        'import importlib, sys\n'
        f'sys.modules.update(dict.fromkeys({blocked}))\n'  # None: the import fails
        f'for name in {core}:\n'
        '    if not name.endswith("__main__"):\n'
        '        importlib.import_module(name)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_the_walk_sees_every_form_of_import(tmp_path):
    path = tmp_path / 'module.py'
    path.write_text(
        'import a.b\n'
        'from . import sibling\n'
        'from .sibling import thing\n'
        'from ..other import thing\n'
        'if TYPE_CHECKING:\n'
        '    import typed\n'
        'def lazy():\n'
        '    from vpr_ros import errors\n'
        '    import torch.nn as nn\n'
    )
    known = {'vpr_ros.cli.sibling': path, 'vpr_ros.errors': path}
    untyped = list(imports_of('vpr_ros.cli.module', path, known, for_typing=False))
    assert untyped == [
        *('a.b', 'vpr_ros.cli.sibling', 'vpr_ros.cli.sibling', 'vpr_ros.other'),
        *('vpr_ros.errors', 'torch.nn'),
    ]
    with_typing = list(imports_of('vpr_ros.cli.module', path, known))
    assert set(with_typing) - set(untyped) == {'typed'}
