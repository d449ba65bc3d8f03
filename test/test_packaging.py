# SPDX-License-Identifier: Apache-2.0
"""The package as ROS and pip see it: manifests, installed files, executables, workspace."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import vpr_ros
from tools import bootstrap

ROOT = Path(__file__).resolve().parent.parent
MANIFESTS = [ROOT / 'package.xml', ROOT / 'vpr_msgs' / 'package.xml']

# Module name to (pip requirement, rosdep key or ROS package).
THIRD_PARTY = {
    'PIL': ('pillow', 'python3-pil'),
    'ament_index_python': (None, 'ament_index_python'),
    'builtin_interfaces': (None, 'builtin_interfaces'),
    'cv2': ('opencv-python-headless', 'python3-opencv'),
    'cv_bridge': (None, 'cv_bridge'),
    'diagnostic_msgs': (None, 'diagnostic_msgs'),
    'faiss': ('faiss-cpu', 'python3-faiss'),
    'geometry_msgs': (None, 'geometry_msgs'),
    'gtsam': ('gtsam', None),  # no rosdep key: requirements/slam.txt says where it comes from
    'jinja2': ('jinja2', 'python3-jinja2'),
    'launch': (None, 'launch'),
    'launch_ros': (None, 'launch_ros'),
    'lifecycle_msgs': (None, 'lifecycle_msgs'),
    'matplotlib': ('matplotlib', 'python3-matplotlib'),
    'nav_msgs': (None, 'nav_msgs'),
    'numpy': ('numpy', 'python3-numpy'),
    'onnxruntime': ('onnxruntime', 'python3-onnxruntime-pip'),
    'pyproj': ('pyproj', 'python3-pyproj'),
    'rcl_interfaces': (None, 'rcl_interfaces'),
    'rclpy': (None, 'rclpy'),
    'rosbags': ('rosbags', 'python3-rosbags-pip'),
    'rosgraph_msgs': (None, 'rosgraph_msgs'),
    'rtabmap_msgs': (None, None),  # who runs RTAB-Map has it; package.xml says so
    'scipy': ('scipy', 'python3-scipy'),
    'sensor_msgs': (None, 'sensor_msgs'),
    'std_msgs': (None, 'std_msgs'),
    'std_srvs': (None, 'std_srvs'),
    'tf2_msgs': (None, 'tf2_msgs'),
    'tf2_ros': (None, 'tf2_ros'),
    'tqdm': ('tqdm', 'python3-tqdm'),
    'visualization_msgs': (None, 'visualization_msgs'),
    'vpr_msgs': (None, 'vpr_msgs'),
    'yaml': ('pyyaml', 'python3-yaml'),
}


EXECUTABLES = (
    *('closure_recorder', 'initial_pose', 'localizer', 'pose_graph', 'rtabmap_links', 'vpr'),
)

# Suffix of a file to how a comment begins in it.
OPENINGS = {'.py': '#', '.js': '//', '.css': '/*', '.html': '{#'}


def third_party_imports() -> set[str]:
    """Top-level modules that vpr_ros and its launch files import and Python does not bring."""
    found = set()
    for path in [*(ROOT / 'vpr_ros').rglob('*.py'), *(ROOT / 'launch').glob('*.py')]:
        for statement in ast.walk(ast.parse(path.read_text('utf-8'))):
            if isinstance(statement, ast.Import):
                found.update(alias.name.partition('.')[0] for alias in statement.names)
            elif isinstance(statement, ast.ImportFrom) and not statement.level:
                found.add(statement.module.partition('.')[0])
    return found - set(sys.stdlib_module_names) - {'vpr_ros'}


def clean_environment(**more: str) -> dict[str, str]:
    """The variables of a user who has sourced nothing."""
    ours = ('_ROS_WHEELS_BOOTSTRAP_COMPLETE', 'LD_LIBRARY_PATH', 'PYTHONPATH', 'AMENT_PREFIX_PATH')
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return kept | more


# --- manifests


def test_everything_imported_is_declared():
    undeclared = third_party_imports() - set(THIRD_PARTY)
    assert not undeclared, f'say in THIRD_PARTY of {Path(__file__).name} where these come from'
    manifest = ElementTree.parse(ROOT / 'package.xml').getroot()
    keys = {element.text for element in manifest if element.tag.endswith('depend')}
    lines = [
        line
        for name in ('runtime', 'onnxruntime', 'slam')
        for line in bootstrap.requirement_lines(ROOT / 'requirements' / f'{name}.txt')
    ]
    packages = {re.split(r'[<>=\[ ]', line)[0] for line in lines}
    for module in third_party_imports():
        package, key = THIRD_PARTY[module]
        assert package is None or package in packages, f'{module}: no {package} in requirements/'
        assert key is None or key in keys, f'{module}: no {key} in package.xml'


@pytest.mark.parametrize('path', MANIFESTS, ids=lambda path: path.parent.name)
def test_manifest_is_valid(path):
    catkin_pkg = pytest.importorskip('catkin_pkg.package')
    warnings: list[str] = []
    package = catkin_pkg.parse_package(str(path), warnings=warnings)
    package.validate(warnings=warnings)
    assert warnings == []
    assert package.licenses == ['Apache-2.0']
    assert package.version == vpr_ros.__version__


def test_setup_py_has_the_same_version():
    output = subprocess.check_output(
        [sys.executable, 'setup.py', '--version'], cwd=ROOT, text=True, stderr=subprocess.DEVNULL
    )
    assert output.split()[-1] == vpr_ros.__version__


def test_licence_is_complete():
    text = (ROOT / 'LICENSE').read_text('utf-8')
    assert 'Apache License' in text
    assert 'END OF TERMS AND CONDITIONS' in text


@pytest.mark.parametrize(
    'folder', ['vpr_ros', 'training', 'tools', 'test', 'launch', 'benchmarks']
)
def test_files_name_their_licence(folder):
    bare = [
        path.relative_to(ROOT)
        for path in (ROOT / folder).rglob('*')
        if path.suffix in OPENINGS
        and not path.read_text('utf-8').startswith(
            f'{OPENINGS[path.suffix]} SPDX-License-Identifier: Apache-2.0'
        )
    ]
    assert not bare


# --- what is installed


@pytest.fixture(scope='module')
def installed(tmp_path_factory) -> Path:
    """The files of an installation made the way colcon makes it."""
    folder = tmp_path_factory.mktemp('installation')
    subprocess.run(
        [
            *(sys.executable, 'setup.py', '-q', 'egg_info', '--egg-base', str(folder)),
            *('build', '--build-base', str(folder / 'build')),
            *('install', '--single-version-externally-managed', '--root', str(folder / 'root')),
            *('--prefix', '/usr', '--record', str(folder / 'record')),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return folder / 'root' / 'usr'


def test_installed_where_ros_looks(installed):
    share = installed / 'share'
    assert (share / 'ament_index/resource_index/packages/vpr_ros').is_file()
    assert (share / 'vpr_ros/package.xml').is_file()
    for pattern in ('launch/*.launch.py', 'config/*.yaml', 'config/*.rviz', 'models/*.onnx'):
        names = {path.name for path in ROOT.glob(pattern)}
        assert {path.name for path in (share / 'vpr_ros').glob(pattern)} == names
    assert {path.name for path in (installed / 'lib/vpr_ros').iterdir()} == set(EXECUTABLES)


def test_the_runtime_is_installed_whole_and_alone(installed):
    (site,) = (folder.parent for folder in installed.rglob('vpr_ros') if (folder / 'cli').is_dir())
    packages = {path.parent.relative_to(site) for path in site.rglob('__init__.py')}
    expected = {path.parent.relative_to(ROOT) for path in (ROOT / 'vpr_ros').rglob('__init__.py')}
    assert packages == expected
    pages = 'vpr_ros/evaluation/page/*'
    names = {path.name for path in site.glob(pages)}
    assert names == {path.name for path in ROOT.glob(pages)} != set()


# --- the environment that `make setup` made


def in_wheels_environment() -> bool:
    return (Path(sys.prefix) / 'share' / 'vpr_msgs').is_dir() and 'ROS_DISTRO' not in os.environ


needs_wheels = pytest.mark.skipif(
    not in_wheels_environment(), reason='not the environment of make'
)


@needs_wheels
def test_nothing_needs_sourcing_not_even_for_children():
    child = 'import rclpy, vpr_msgs.srv; print("child")'
    program = (
        'import subprocess, sys, rclpy, vpr_msgs.msg, vpr_ros\n'
        f'subprocess.run([sys.executable, "-c", {child!r}], check=True)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', program],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == 'child\n', done.stderr


@needs_wheels
def test_ament_index_finds_the_package_and_its_executables():
    program = (
        'from ament_index_python import get_package_prefix, get_package_share_directory as share\n'
        'print(share("vpr_ros"), share("vpr_msgs"), get_package_prefix("vpr_ros"))\n'
    )
    output = subprocess.check_output(
        [sys.executable, '-c', program],
        env=clean_environment(AMENT_PREFIX_PATH=sys.prefix),
        text=True,
    )
    share, messages, prefix = map(Path, output.split())
    assert (share / 'package.xml').samefile(ROOT / 'package.xml')
    assert (messages / 'msg' / 'LoopClosure.msg').is_file()
    for name in EXECUTABLES:
        assert os.access(prefix / 'lib' / 'vpr_ros' / name, os.X_OK)
        assert os.access(Path(sys.prefix) / 'bin' / name, os.X_OK)


@needs_wheels
def test_vpr_runs():
    output = subprocess.check_output(
        [Path(sys.prefix) / 'bin' / 'vpr', '--help'], env=clean_environment(), text=True
    )
    assert 'usage: vpr' in output


def test_one_onnxruntime():
    from importlib.metadata import distributions

    names = {distribution.metadata['Name'] for distribution in distributions()}
    assert len(names & {'onnxruntime', 'onnxruntime-gpu'}) == 1


# --- the workspace


@pytest.mark.parametrize('verb', ['list', 'build', 'test'])
def test_repository_is_a_workspace_of_its_own(verb):
    yaml = pytest.importorskip('yaml')
    defaults = yaml.safe_load((ROOT / 'colcon_defaults.yaml').read_text('utf-8'))
    assert defaults[verb]['base-paths'] == ['.', 'vpr_msgs']


def test_colcon_finds_both_packages():
    colcon = Path(sys.prefix) / 'bin' / 'colcon'
    command = [colcon if colcon.exists() else 'colcon', '--log-base', os.devnull, 'list', '-n']
    output = subprocess.check_output(command, cwd=ROOT, text=True)
    assert sorted(output.split()) == ['vpr_msgs', 'vpr_ros']


def test_ci_runs_what_a_user_runs():
    script = (ROOT / '.ci' / 'run').read_text('utf-8')
    commands = [line for line in script.splitlines() if line and not line.startswith('#')]
    assert commands[-1] == 'exec make test'
    assert os.access(ROOT / '.ci' / 'run', os.X_OK)


@pytest.mark.parametrize('target', ['demo', 'test', 'setup', 'lint', 'bench', 'clean', 'help'])
def test_make_has_the_target(target):
    subprocess.run(['make', '--dry-run', target], cwd=ROOT, check=True, capture_output=True)
