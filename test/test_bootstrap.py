# SPDX-License-Identifier: Apache-2.0
"""The set-up: what it would do on which machine, when, and what it says if it cannot."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tools import bootstrap, relocate_ros_wheels
from tools import setup as gate
from tools.bootstrap import Machine, SetupError, Step

ROOT = Path(__file__).resolve().parent.parent

BARE = Machine(
    root=ROOT,
    python='/usr/bin/python3.12',
    python_version='3.12.3',
    ros_distro='',
    has_nvidia_gpu=False,
)
WITH_JAZZY = replace(
    BARE, ros_distro='jazzy', installed={'numpy': '1.26.4', 'cv2': '', 'yaml': '6.0.1', 'PIL': ''}
)


def arguments(machine: Machine, **kwargs) -> list[str]:
    """Every argument of every command of the plan, requirement files replaced by their lines."""
    words = []
    for step in bootstrap.plan(machine, **kwargs):
        for word in (word for command in step.commands for word in command):
            path = Path(word)
            words.append(word)
            if path.suffix == '.txt' and path.is_file():
                words.extend(bootstrap.requirement_lines(path))
    return words


def command_of(machine: Machine, step: str) -> str:
    commands = {step.name: step.commands for step in bootstrap.plan(machine, True)}
    return '\n'.join(' '.join(command) for command in commands[step])


# --- the plan


def test_without_ros_it_comes_from_wheels():
    words = arguments(BARE)
    assert 'ros-jazzy-rclpy' in words
    assert 'ros-jazzy-rmw-fastrtps-cpp' in words
    assert 'numpy<2.3' in words
    assert '--system-site-packages' not in words
    assert f'{ROOT}/.venv/bin/colcon' in words


def test_distribution_is_used_and_nothing_from_the_wheels():
    words = arguments(WITH_JAZZY)
    assert not [word for word in words if word.startswith(('ros-', 'cv-bridge', 'colcon-'))]
    assert '--system-site-packages' in words
    assert 'colcon' in words
    assert not [word for word in words if 'relocate' in word]


@pytest.mark.parametrize(
    ('numpy', 'wanted'), [('1.21.5', 'numpy>=1.26,<2'), ('2.3.1', 'numpy>=1.26,<3')]
)
def test_distribution_keeps_the_major_version_of_its_numpy(numpy, wanted):
    machine = replace(WITH_JAZZY, installed={**WITH_JAZZY.installed, 'numpy': numpy})
    for step in ('packages', 'dev'):
        words = command_of(machine, step).split()
        assert [word for word in words if word.startswith('numpy')] == [wanted]


def test_distribution_is_asked_only_for_what_it_lacks():
    install = command_of(WITH_JAZZY, 'packages').split()
    assert not [word for word in install if word.startswith(('opencv', 'pyyaml', 'pillow'))]
    names = {re.split(r'[<>=]', word)[0] for word in install}
    assert {'faiss-cpu', 'onnxruntime', 'rosbags'} <= names


@pytest.mark.parametrize('machine', [BARE, WITH_JAZZY])
@pytest.mark.parametrize('gpu', [False, True])
def test_one_onnxruntime_and_the_other_removed(machine, gpu):
    words = arguments(replace(machine, has_nvidia_gpu=gpu))
    installed = [word for word in words if word.startswith('onnxruntime') and '>=' in word]
    removed = words[words.index('uninstall') + 2]
    if gpu:
        assert installed == ['onnxruntime-gpu[cuda,cudnn]>=1.21']
        assert removed == 'onnxruntime'
    else:
        assert installed == ['onnxruntime>=1.17']
        assert removed == 'onnxruntime-gpu'


def test_torch_only_for_training():
    assert not [word for word in arguments(BARE, dev=True) if word.startswith('torch')]
    assert [word for word in arguments(BARE, training=True) if word.startswith('torch')]


def test_gpu_is_found_by_nvidia_smi(monkeypatch, tmp_path):
    tool = tmp_path / 'nvidia-smi'
    tool.write_text(f'#!{shutil.which("sh")}\necho "GPU 0: NVIDIA H200 (UUID: GPU-1)"\n')
    tool.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setattr(bootstrap.platform, 'machine', lambda: 'x86_64')
    assert bootstrap.usable_nvidia_gpu_present()
    monkeypatch.setattr(bootstrap.platform, 'machine', lambda: 'aarch64')  # a Jetson
    assert not bootstrap.usable_nvidia_gpu_present()


def test_browser_only_for_tests_and_where_it_can_be_had():
    machine = replace(BARE, can_get_browser=True)
    assert 'chromium-driver' in arguments(machine, dev=True)
    assert 'chromium-driver' not in arguments(machine)
    assert 'chromium-driver' not in arguments(BARE, dev=True)


@pytest.mark.parametrize('missing', ['', 'chromium', 'chromedriver', 'apt-get'])
@pytest.mark.parametrize('user', [0, 1000])
def test_browser_can_be_had_by_root_with_apt_get(monkeypatch, missing, user):
    found = bootstrap.shutil.which
    known = {'chromium', 'chromedriver', 'apt-get'}
    which = lambda name: (name if name != missing else None) if name in known else found(name)  # noqa: E731
    monkeypatch.setattr(bootstrap.shutil, 'which', which)
    monkeypatch.setattr(bootstrap.os, 'geteuid', lambda: user)
    wanted = missing in ('chromium', 'chromedriver') and user == 0
    assert bootstrap.browser_missing_and_installable() == wanted


# --- when it does it


@pytest.fixture
def workshop(tmp_path):
    """A machine with an empty repository, and steps that write down when they run."""
    (tmp_path / 'diary.py').write_text(
        'import pathlib, sys\n'
        'with open("diary.txt", "a") as file:\n'
        '    file.write(sys.argv[1] + " ")\n'
        'print("working on", sys.argv[1])\n'
        'sys.exit(pathlib.Path("broken_" + sys.argv[1]).exists())\n'
    )
    (tmp_path / 'first.txt').write_text('1')
    (tmp_path / 'second.txt').write_text('1')
    (tmp_path / '.venv').mkdir()

    def step(name):
        command = (sys.executable, 'diary.py', name)
        return Step(name, name, (command,), (Path(f'{name}.txt'),))

    def diary():
        path = tmp_path / 'diary.txt'
        text = path.read_text() if path.exists() else ''
        path.write_text('')
        return text.split()

    return replace(BARE, root=tmp_path), [step('first'), step('second')], diary


def test_second_call_does_nothing(workshop):
    machine, steps, diary = workshop
    bootstrap.bring_up_to_date(machine, steps)
    assert diary() == ['first', 'second']
    bootstrap.bring_up_to_date(machine, steps)
    assert diary() == []


def test_change_repeats_its_step_and_what_rests_on_it(workshop):
    machine, steps, diary = workshop
    bootstrap.bring_up_to_date(machine, steps)
    diary()
    (machine.root / 'second.txt').write_text('2')
    bootstrap.bring_up_to_date(machine, steps)
    assert diary() == ['second']
    (machine.root / 'first.txt').write_text('2')
    bootstrap.bring_up_to_date(machine, steps)
    assert diary() == ['first', 'second']


def test_another_distribution_repeats_everything(workshop):
    machine, steps, diary = workshop
    bootstrap.bring_up_to_date(machine, steps)
    bootstrap.bring_up_to_date(replace(machine, ros_distro='kilted'), steps)
    assert diary() == ['first', 'second'] * 2


def test_optional_steps_do_not_disturb_each_other(workshop):
    machine, (first, second), diary = workshop
    first, second = replace(first, optional=True), replace(second, optional=True)
    bootstrap.bring_up_to_date(machine, [first])
    bootstrap.bring_up_to_date(machine, [second])
    bootstrap.bring_up_to_date(machine, [first, second])
    assert diary() == ['first', 'second']


def test_step_outside_runs_whenever_it_is_due_and_never_stops_the_others(workshop, capsys):
    machine, (first, second), diary = workshop
    first = replace(first, outside=True)
    bootstrap.bring_up_to_date(machine, [first, second])
    bootstrap.bring_up_to_date(machine, [first, second])
    assert diary() == ['first', 'second', 'first']
    (machine.root / 'broken_first').touch()
    bootstrap.bring_up_to_date(machine, [first, second])
    assert diary() == ['first']
    assert 'going on without it: first failed' in capsys.readouterr().out


def test_interrupted_step_is_taken_up_again(workshop):
    machine, steps, diary = workshop
    broken = machine.root / 'broken_second'
    broken.touch()
    with pytest.raises(SetupError, match='working on second'):
        bootstrap.bring_up_to_date(machine, steps)
    assert diary() == ['first', 'second']
    broken.unlink()
    bootstrap.bring_up_to_date(machine, steps)
    assert diary() == ['second']


def test_output_goes_to_a_log(workshop):
    machine, steps, _ = workshop
    bootstrap.bring_up_to_date(machine, steps)
    log = (machine.venv / 'setup-log' / 'first.txt').read_text()
    assert 'diary.py first' in log
    assert 'working on first' in log


def test_plan_is_the_same_from_inside_the_environment():
    """An activated .venv must not make the set-up rebuild it."""
    program = 'from tools import bootstrap; print(bootstrap.this_machine().python)'
    outside = os.path.realpath(sys._base_executable)
    inside = subprocess.check_output([sys.executable, '-c', program], text=True, cwd=ROOT)
    assert inside.strip() == outside


# --- what it says if it cannot


def test_no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(SetupError, match=r'compiler is needed.*apt install build-essential'):
        bootstrap.check_compiler()


def test_compiler_named_wrongly(monkeypatch):
    monkeypatch.setenv('CXX', 'no-such-compiler -O2')
    with pytest.raises(SetupError, match='CXX=no-such-compiler is not on the PATH'):
        bootstrap.check_compiler()


def test_no_python_headers(monkeypatch, tmp_path):
    monkeypatch.setattr(bootstrap.sysconfig, 'get_paths', lambda: {'include': str(tmp_path)})
    with pytest.raises(SetupError, match=r'headers of Python .* apt install python3'):
        bootstrap.check_compiler()


def test_other_architecture(monkeypatch):
    monkeypatch.delenv('ROS_DISTRO', raising=False)
    monkeypatch.setattr(bootstrap.platform, 'machine', lambda: 'aarch64')
    with pytest.raises(
        SetupError, match=r'x86_64 only, and this is Linux on aarch64.*distribution'
    ):
        bootstrap.this_machine()


def test_no_ensurepip(monkeypatch):
    found = bootstrap.importlib.util.find_spec
    monkeypatch.setattr(
        bootstrap.importlib.util,
        'find_spec',
        lambda name: None if name == 'ensurepip' else found(name),
    )
    with pytest.raises(SetupError, match=r'lacks the module ensurepip.*python3\.12-venv'):
        bootstrap.check_prerequisites(BARE, bootstrap.plan(BARE)[0])


def test_no_network_is_one_sentence(tmp_path):
    """The real pip, asked for an index at a port where nothing listens."""
    environment = {
        **os.environ,
        'PIP_INDEX_URL': 'http://127.0.0.1:9',
        'PIP_CONFIG_FILE': os.devnull,
    }
    for name in ('PIP_FIND_LINKS', 'PIP_EXTRA_INDEX_URL'):
        environment.pop(name, None)
    output, status = bootstrap.run_command(
        (sys.executable, *bootstrap.PIP_INSTALL, '--target', str(tmp_path), 'six'),
        tmp_path,
        environment,
    )
    assert status != 0
    step = Step('packages', 'packages', ())
    message = bootstrap.explain_failure(step, output, Path('log.txt'))
    assert message.startswith('packages: the package index cannot be reached: connect')
    assert '\n' not in message


def test_other_failures_show_the_end_of_the_log():
    output = '\n'.join(f'line {number}' for number in range(100))
    message = bootstrap.explain_failure(Step('x', 'vpr_msgs', ()), output, Path('x.txt'))
    assert message.startswith('vpr_msgs failed; the end of x.txt:')
    assert message.endswith('line 99')
    assert 'line 10\n' not in message


@pytest.fixture
def fake_python(tmp_path):
    """An executable that answers like a Python of some version."""

    def make(name, answer):
        path = tmp_path / name
        path.write_text(f'#!{shutil.which("sh")}\necho "{answer}"\necho {path}\n')
        path.chmod(0o755)
        return str(path)

    return make


@pytest.mark.parametrize(
    ('answer', 'refusal'),
    [
        ('cpython 3 9', 'Python 3.9'),
        ('cpython 3 14', 'Python 3.14'),
        ('pypy 3 11', 'pypy 3.11'),
        ('cpython 3 10', ''),
        ('cpython 3 13', ''),
    ],
)
def test_versions_of_python(fake_python, answer, refusal):
    path = fake_python('python', answer)
    assert gate.examine(path, '') == (('', refusal) if refusal else (path, ''))


def test_absent_python_is_passed_over():
    assert gate.examine('/nowhere/python3', '') == ('', '')


def test_distribution_needs_a_python_that_has_its_rclpy(tmp_path, fake_python):
    path = fake_python('python', 'cpython 3 14')  # newer than the wheels: the distribution's say
    assert gate.examine(path, 'lyrical') == (path, '')
    program = (
        Path(path).read_text().replace('echo', 'case "$2" in import*rclpy) exit 1;; esac; echo')
    )
    Path(path).write_text(program)
    assert gate.examine(path, 'lyrical') == ('', 'Python 3.14 (cannot import rclpy)')


def test_remedies():
    assert 'found: Python 3.9)' in gate.remedy(['Python 3.9'], '')
    assert 'found: no Python 3)' in gate.remedy([], '')
    assert 'install ros-humble-ros-base, or unset ROS_DISTRO' in gate.remedy([], 'humble')


# --- the repair of the wheels


def test_foreign_include_folders_are_replaced():
    foreign = (
        'INTERFACE_INCLUDE_DIRECTORIES "/opt/python/cp311-cp311/include/python3.11;'
        '/opt/python/cp311-cp311/lib/python3.11/site-packages/numpy/_core/include;${_PREFIX}/x"'
    )
    assert relocate_ros_wheels.relocate(foreign, '/usr/include/py', r'/venv/numpy\1') == (
        r'INTERFACE_INCLUDE_DIRECTORIES "/usr/include/py;/venv/numpy\1;${_PREFIX}/x"'
    )
