# SPDX-License-Identifier: Apache-2.0
"""Set up `.venv`: ROS 2, the packages vpr_ros needs, vpr_msgs and vpr_ros itself.

Called by the Makefile through `setup.py`, which picks the Python; standard library only. Every
step leaves a stamp with the hash of what it was made from, written when the step has ended: a
second call does nothing, a changed requirement or message repeats its step, an interrupted
installation is taken up again. Two kinds of set-up:

* wheels: no ROS on the machine; ROS 2 Jazzy comes from PyPI;
* distribution: `ROS_DISTRO` is set; its rclpy, cv_bridge and colcon are used, and pip brings only
  what it lacks.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = Path('requirements')
CONSTRAINTS = REQUIREMENTS / 'constraints-wheels.txt'
PIP_INSTALL = ('-m', 'pip', 'install', '--disable-pip-version-check', '--no-input', '--retries=3')
LOG_LINES_SHOWN = 15

# Not all packages of a distribution carry pip metadata: the import tells whether they are there.
MODULE_OF = {
    'faiss-cpu': 'faiss',
    'jinja2': 'jinja2',
    'matplotlib': 'matplotlib',
    'numpy': 'numpy',
    'onnxruntime': 'onnxruntime',
    'onnxruntime-gpu': 'onnxruntime',
    'opencv-python-headless': 'cv2',
    'pillow': 'PIL',
    'pyproj': 'pyproj',
    'pyyaml': 'yaml',
    'rosbags': 'rosbags',
    'scipy': 'scipy',
    'tqdm': 'tqdm',
}


class SetupError(Exception):
    """The set-up cannot go on; the text says why and what to do."""


@dataclass(frozen=True)
class Machine:
    """What the plan depends on."""

    root: Path
    python: str  # the interpreter that .venv is made from
    python_version: str
    ros_distro: str  # '' without a ROS distribution
    has_nvidia_gpu: bool
    can_get_browser: bool = False  # Chromium is missing, and apt-get may install it
    installed: Mapping[str, str] = field(default_factory=dict)
    """Module name to version ('' if unknown), of the distribution's Python."""

    @property
    def venv(self) -> Path:
        """Where everything is installed."""
        return self.root / '.venv'

    @property
    def venv_python(self) -> str:
        """The interpreter of `venv`."""
        return str(self.venv / 'bin' / 'python')


@dataclass(frozen=True)
class Step:
    """Commands that run one after another, and the files whose change makes them run again."""

    name: str
    title: str
    commands: tuple[tuple[str, ...], ...]
    inputs: tuple[Path, ...] = ()
    compiles: bool = False
    optional: bool = False  # no other step rests on it
    outside: bool = False  # it brings what lies outside .venv, if it can: a failure is only told


def main(argv: Sequence[str] | None = None) -> int:
    """Bring `.venv` up to date and return the exit status."""
    parser = argparse.ArgumentParser(description='Set up .venv for vpr_ros.')
    parser.add_argument('--dev', action='store_true', help='also test and lint tools')
    parser.add_argument('--training', action='store_true', help='also what training needs (torch)')
    arguments = parser.parse_args(argv)
    try:
        machine = this_machine()
        with only_one_setup(machine.root):
            bring_up_to_date(machine, plan(machine, arguments.dev, arguments.training))
    except SetupError as error:
        print(f'setup: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nsetup: interrupted; the next call takes it up again.', file=sys.stderr)
        return 130
    return 0


def this_machine() -> Machine:
    """Return what this machine is.

    Raises:
        SetupError: Neither wheels nor a distribution can serve it.
    """
    ros_distro = os.environ.get('ROS_DISTRO', '')
    if not ros_distro and (platform.system(), platform.machine()) != ('Linux', 'x86_64'):
        raise SetupError(
            f'the ROS 2 wheels are for Linux on x86_64 only, and this is {platform.system()} on '
            f'{platform.machine()}: install a ROS 2 distribution '
            '(https://docs.ros.org/en/jazzy/Installation.html), '
            'source its setup.bash and call again.'
        )
    return Machine(
        root=ROOT,
        # Never the .venv that it may replace, and by one name however it was called.
        python=os.path.realpath(getattr(sys, '_base_executable', sys.executable)),
        python_version=platform.python_version(),
        ros_distro=ros_distro,
        has_nvidia_gpu=usable_nvidia_gpu_present(),
        can_get_browser=browser_missing_and_installable(),
        installed=installed_modules() if ros_distro else {},
    )


def usable_nvidia_gpu_present() -> bool:
    """Tell whether there is an NVIDIA GPU that PyPI's onnxruntime-gpu can use.

    It is built for x86_64; on a Jetson NVIDIA's own build is installed by hand. WSL has no device
    file, only nvidia-smi.
    """
    if platform.machine() != 'x86_64':
        return False
    if Path('/dev/nvidia0').exists():
        return True
    tool = shutil.which('nvidia-smi')
    if tool is None:
        return False
    listing = subprocess.run([tool, '-L'], capture_output=True, text=True, check=False)
    return listing.returncode == 0 and 'GPU' in listing.stdout


def browser_missing_and_installable() -> bool:
    """Tell whether Chromium or its driver is missing where we may install Debian packages."""
    if all(shutil.which(name) for name in ('chromium', 'chromedriver')):
        return False
    return os.geteuid() == 0 and shutil.which('apt-get') is not None


def installed_modules() -> dict[str, str]:
    """Return the modules of `MODULE_OF` that this Python has, with their versions."""
    found = {}
    for package, module in MODULE_OF.items():
        if importlib.util.find_spec(module) is not None:
            try:
                found[module] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                found.setdefault(module, '')
    return found


# --- the plan -------------------------------------------------------------------------------


def plan(machine: Machine, dev: bool = False, training: bool = False) -> list[Step]:
    """Return the steps, in order; nothing is run."""
    steps = [_venv(machine), _packages(machine), _messages(machine), _vpr_ros(machine)]
    if dev:
        steps.append(_dev(machine))
        if machine.can_get_browser:
            steps.append(_browser())
    if training:
        steps.append(_training(machine))
    return steps


def _venv(machine: Machine) -> Step:
    command = [machine.python, '-m', 'venv', '--clear']
    if machine.ros_distro:
        command.append('--system-site-packages')
    source = f'ROS 2 {machine.ros_distro}' if machine.ros_distro else 'ROS 2 wheels'
    return Step(
        'venv',
        f'Python {machine.python_version} environment in .venv, for {source}',
        ((*command, str(machine.venv)),),
    )


def _packages(machine: Machine) -> Step:
    runtime, unwanted = 'onnxruntime', 'onnxruntime-gpu'
    if machine.has_nvidia_gpu:
        runtime, unwanted = unwanted, runtime
    if machine.ros_distro:
        title = f'packages that ROS 2 {machine.ros_distro} lacks'
        names = ['build', 'runtime', runtime]
    else:
        title = 'ROS 2 Jazzy and the packages vpr_ros needs (about 170 MB)'
        names = ['build', 'ros-jazzy', 'runtime', runtime]
    files = tuple(REQUIREMENTS / f'{name}.txt' for name in names)
    remove_other = (machine.venv_python, '-m', 'pip', 'uninstall', '--yes', unwanted)
    return Step(
        'packages',
        title,
        (remove_other, _pip_install(machine, files)),
        (*files, CONSTRAINTS),
    )


def _messages(machine: Machine) -> Step:
    # Merged into .venv, so that the libraries and modules lie where those of the wheels are found.
    colcon = [
        *('--log-base', str(machine.venv / 'colcon' / 'log')),
        *('build', '--base-paths', str(machine.root / 'vpr_msgs')),
        *('--build-base', str(machine.venv / 'colcon' / 'build')),
        *('--install-base', str(machine.venv), '--merge-install'),
        *('--event-handlers', 'console_direct+', '--cmake-args', '-DBUILD_TESTING=OFF'),
    ]
    commands: tuple[tuple[str, ...], ...]
    if machine.ros_distro:
        commands = (('colcon', *colcon, f'-DPython3_EXECUTABLE={machine.python}'),)
    else:
        commands = (
            (machine.venv_python, str(machine.root / 'tools' / 'relocate_ros_wheels.py')),
            (
                *(str(machine.venv / 'bin' / 'colcon'), *colcon),
                *(f'-DPython3_EXECUTABLE={machine.venv_python}', '-DPython3_FIND_VIRTUALENV=ONLY'),
            ),
        )
    sources = sorted(
        path.relative_to(machine.root)
        for path in (machine.root / 'vpr_msgs').rglob('*')
        if path.is_file()
    )
    relocate = Path('tools/relocate_ros_wheels.py')
    return Step('messages', 'vpr_msgs (colcon build)', commands, (relocate, *sources), True)


def _vpr_ros(machine: Machine) -> Step:
    return Step(
        'vpr_ros',
        'vpr_ros, in place',
        (
            (
                *(machine.venv_python, *PIP_INSTALL, '--no-deps', '--no-build-isolation'),
                *('--editable', str(machine.root)),
            ),
            (machine.venv_python, str(machine.root / 'tools' / 'link_share.py')),
        ),
        tuple(Path(name) for name in ('setup.py', 'pyproject.toml', 'tools/link_share.py')),
    )


def _dev(machine: Machine) -> Step:
    files = (REQUIREMENTS / 'dev.txt',)
    commands = (_pip_install(machine, files),)
    return Step('dev', 'test and lint tools', commands, (*files, CONSTRAINTS), optional=True)


def _browser() -> Step:
    packages = ('chromium', 'chromium-driver')
    install = ('install', '--yes', '--quiet', '--no-install-recommends', *packages)
    apt_get = ('env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-oDPkg::Lock::Timeout=60')
    return Step(
        'browser',
        'Chromium, which tests the report',
        ((*apt_get, 'update', '--quiet'), (*apt_get, *install)),
        optional=True,
        outside=True,
    )


def _training(machine: Machine) -> Step:
    files = (Path('training/requirements.txt'), Path('training/requirements-weights.txt'))
    weights = (machine.venv_python, *PIP_INSTALL, '--no-deps', '-r', str(machine.root / files[1]))
    return Step(
        'training',
        'training dependencies, torch among them (several GB)',
        (_pip_install(machine, files[:1]), weights),
        (*files, CONSTRAINTS),
        optional=True,
    )


def _pip_install(machine: Machine, files: Sequence[Path]) -> tuple[str, ...]:
    command = (machine.venv_python, *PIP_INSTALL)
    if not machine.ros_distro:
        constraints = str(machine.root / CONSTRAINTS)
        listed = (argument for file in files for argument in ('-r', str(machine.root / file)))
        return (*command, '-c', constraints, *listed)
    # A distribution's cv_bridge is built for one major version of NumPy and crashes with the next.
    major = machine.installed.get('numpy', '').partition('.')[0]
    keep = (f'numpy>=1.26,<{int(major) + 1}',) if major else ()
    wanted = (line for file in files for line in requirement_lines(machine.root / file))
    lacking = (line for line in wanted if MODULE_OF.get(_name(line)) not in machine.installed)
    return (*command, *keep, *lacking)


def requirement_lines(path: Path) -> list[str]:
    """Return the requirements of a file, without comments."""
    lines = (line.partition('#')[0].strip() for line in path.read_text('utf-8').splitlines())
    return [line for line in lines if line]


def _name(requirement: str) -> str:
    return re.split(r'[^A-Za-z0-9_.-]', requirement, maxsplit=1)[0].lower()


# --- running it -----------------------------------------------------------------------------


def bring_up_to_date(machine: Machine, steps: Sequence[Step]) -> None:
    """Run the steps that are due; a step is due when it or one it rests on has changed."""
    stamps = machine.venv / '.stamps'
    base = hashlib.sha256(f'{machine.root}{machine.ros_distro}'.encode())
    for step in steps:
        if step.outside:
            try_step(machine, step)
            continue
        digest = base.copy() if step.optional else base
        digest.update(step_hash(machine.root, step))
        stamp, key = stamps / step.name, digest.hexdigest()
        if stamp.is_file() and stamp.read_text('utf-8') == key:
            continue
        check_prerequisites(machine, step)
        stamp.unlink(missing_ok=True)
        run_step(machine, step)
        stamps.mkdir(exist_ok=True)
        stamp.write_text(key, 'utf-8')


def try_step(machine: Machine, step: Step) -> None:
    """Run a step without which the rest works too; say so if it fails."""
    try:
        run_step(machine, step)
    except SetupError as error:
        print(f'[setup] going on without it: {error}', flush=True)


def step_hash(root: Path, step: Step) -> bytes:
    """Return the hash of a step's commands and of the content of its inputs."""
    digest = hashlib.sha256(repr(step.commands).encode())
    for path in step.inputs:
        digest.update(
            str(path).encode() + b'\0' + hashlib.sha256((root / path).read_bytes()).digest()
        )
    return digest.digest()


def check_prerequisites(machine: Machine, step: Step) -> None:
    """Raise `SetupError` for what a step needs of the system and does not find."""
    if step.name == 'venv':
        for module in ('venv', 'ensurepip'):
            if importlib.util.find_spec(module) is None:
                short = '.'.join(machine.python_version.split('.')[:2])
                raise SetupError(
                    f'Python {short} lacks the module {module}: '
                    f'`sudo apt install python{short}-venv` (or the like) and call again.'
                )
        check_compiler()
        if machine.ros_distro and shutil.which('colcon') is None:
            raise SetupError(
                f'ROS 2 {machine.ros_distro} is sourced, but colcon is missing: '
                '`sudo apt install python3-colcon-common-extensions` and call again.'
            )
    elif step.compiles:
        check_compiler()


def check_compiler() -> None:
    """Raise `SetupError` unless vpr_msgs can be compiled."""
    for variable, names in (('CXX', ('c++', 'g++', 'clang++')), ('CC', ('cc', 'gcc', 'clang'))):
        chosen = os.environ.get(variable, '').split()
        if not any(shutil.which(name) for name in chosen[:1] or names):
            asked = f' ({variable}={chosen[0]} is not on the PATH)' if chosen else ''
            raise SetupError(
                f'a C and C++ compiler is needed to build vpr_msgs{asked}: '
                '`sudo apt install build-essential` (or the like) and call again.'
            )
    header = Path(sysconfig.get_paths()['include']) / 'Python.h'
    if not header.is_file():
        short = sysconfig.get_python_version()
        raise SetupError(
            f'the headers of Python {short} are needed to build vpr_msgs ({header} is missing): '
            f'`sudo apt install python{short}-dev` (or the like) and call again.'
        )


def run_step(machine: Machine, step: Step) -> None:
    """Run a step's commands; their output goes to a log and, line by line, to the terminal."""
    started = time.monotonic()
    print(f'[setup] {step.title} ...', flush=True)
    environment = step_environment(machine, step)
    log = machine.root / '.venv' / 'setup-log' / f'{step.name}.txt'
    for number, command in enumerate(step.commands):
        # The environment's own step empties the folder, so its log can be opened only afterwards.
        output, status = run_command(command, machine.root, environment)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open('a' if number else 'w', encoding='utf-8') as file:
            file.write(f'$ {" ".join(command)}\n{output}')
        if status != 0:
            raise SetupError(explain_failure(step, output, log.relative_to(machine.root)))
    print(f'[setup] {step.title}: {time.monotonic() - started:.0f} s', flush=True)


def step_environment(machine: Machine, step: Step) -> dict[str, str]:
    """Return the environment variables of a step's commands."""
    environment = dict(os.environ)
    if step.name == 'venv' or machine.ros_distro:
        return environment
    # What another ROS environment left behind would be found before the wheels.
    for name in ('_ROS_WHEELS_BOOTSTRAP_COMPLETE', 'LD_LIBRARY_PATH', 'PYTHONPATH', 'PYTHONHOME'):
        environment.pop(name, None)
    environment['PATH'] = f'{machine.venv / "bin"}{os.pathsep}{environment.get("PATH", "")}'
    environment['AMENT_PREFIX_PATH'] = environment['CMAKE_PREFIX_PATH'] = str(machine.venv)
    return environment


def run_command(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> tuple[str, int]:
    """Run a command to its end and return its output and exit status."""
    lines = []
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors='replace',
    ) as process:
        assert process.stdout is not None  # asked for above
        with status_line() as show:
            for line in process.stdout:
                lines.append(line)
                if not line.startswith('WARNING'):
                    show(line.partition(' (from ')[0].strip())
    return ''.join(lines), process.returncode


class _StatusLine:
    """The last line of a running command, on one line of the terminal; nothing elsewhere."""

    def __init__(self) -> None:
        self._on_terminal = sys.stdout.isatty()

    def __call__(self, text: str) -> None:
        if self._on_terminal and text:
            width = shutil.get_terminal_size().columns - 10
            print(f'\r\033[K        {text[:width]}', end='', flush=True)

    def clear(self) -> None:
        if self._on_terminal:
            print('\r\033[K', end='', flush=True)


@contextmanager
def status_line() -> Iterator[_StatusLine]:
    """Give a status line that is gone when the block ends."""
    line = _StatusLine()
    try:
        yield line
    finally:
        line.clear()


def explain_failure(step: Step, output: str, log: Path) -> str:
    """Return what to tell the user about a command that failed."""
    if re.search(
        r'NameResolutionError|Temporary failure in name resolution|NewConnectionError'
        r'|ConnectTimeoutError|Network is unreachable|ProxyError|Connection refused'
        r'|SSLCertVerificationError|Max retries exceeded',
        output,
    ):
        return (
            f'{step.title}: the package index cannot be reached: connect to the network '
            f'(or set HTTPS_PROXY, or PIP_INDEX_URL for a mirror) and call again. Log: {log}'
        )
    if 'No space left on device' in output:
        return f'{step.title}: the disk is full: free some space and call again. Log: {log}'
    end = '\n'.join(f'    {line}' for line in output.splitlines()[-LOG_LINES_SHOWN:])
    return f'{step.title} failed; the end of {log}:\n{end}'


@contextmanager
def only_one_setup(root: Path) -> Iterator[None]:
    """Hold a lock on the repository's folder, so that two calls do not install at once."""
    descriptor = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print('[setup] waiting for another set-up of this folder ...', flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


if __name__ == '__main__':
    sys.exit(main())
