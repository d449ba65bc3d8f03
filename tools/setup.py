# SPDX-License-Identifier: Apache-2.0
"""Find a Python that vpr_ros can be set up with and hand over to `bootstrap.py`.

The syntax is old on purpose: an unsupported Python must be able to say so.
"""

import os
import subprocess
import sys

OLDEST = (3, 10)
NEWEST_WHEELS = (3, 13)  # of the ROS 2 wheels; a sourced distribution brings its own Python
CANDIDATES = ('python3', 'python3.13', 'python3.12', 'python3.11', 'python3.10')
DISTRIBUTION_CANDIDATES = ('python3', '/usr/bin/python3', *CANDIDATES[1:])

PROBE = (
    'import sys; '
    'print(sys.implementation.name, sys.version_info[0], sys.version_info[1]); '
    'print(getattr(sys, "_base_executable", sys.executable))'
)


def main(argv):  # type: (list[str]) -> int
    """Become `bootstrap.py` under a supported Python, or say why there is none."""
    exact = '--this-python' in argv
    distribution = os.environ.get('ROS_DISTRO', '')
    candidates = DISTRIBUTION_CANDIDATES if distribution else CANDIDATES
    refusals = []
    for candidate in (sys.executable,) if exact else (sys.executable, *candidates):
        executable, refusal = examine(candidate, distribution)
        if executable:
            script = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'bootstrap.py')
            arguments = [argument for argument in argv if argument != '--this-python']
            os.execv(executable, [executable, script, *arguments])
        if refusal not in refusals:
            refusals.append(refusal)
    print('setup: ' + remedy([text for text in refusals if text], distribution), file=sys.stderr)
    return 1


def examine(candidate, distribution):  # type: (str, str) -> tuple[str, str]
    """Return the interpreter behind a candidate, or why it is not supported ('' if absent)."""
    try:
        answer = _run([candidate, '-c', PROBE])
    except (OSError, subprocess.CalledProcessError):
        return '', ''
    (name, major, minor), executable = answer[0].split(), answer[1]
    version = (int(major), int(minor))
    label = '%s %d.%d' % ('Python' if name == 'cpython' else name, version[0], version[1])
    if name != 'cpython' or version < OLDEST or (not distribution and version > NEWEST_WHEELS):
        return '', label
    if distribution and not _imports_rclpy(executable):
        return '', label + ' (cannot import rclpy)'
    return executable, ''


def remedy(found, distribution):  # type: (list[str], str) -> str
    """Return the sentence for a machine without a supported Python."""
    seen = ', '.join(found) or 'no Python 3'
    if distribution:
        return (
            'ROS 2 %s is sourced, but no Python of 3.10 or newer can import its rclpy '
            '(found: %s): install ros-%s-ros-base, or unset ROS_DISTRO to use the ROS 2 wheels.'
            % (distribution, seen, distribution)
        )
    return (
        'CPython 3.10, 3.11, 3.12 or 3.13 is needed (found: %s): install one, for example '
        '`sudo apt install python3.12 python3.12-dev python3.12-venv`, and call '
        '`make PYTHON=python3.12 ...` if it is not on the PATH.' % seen
    )


def _imports_rclpy(executable):  # type: (str) -> bool
    try:
        _run([executable, '-c', 'import rclpy'])
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _run(command):  # type: (list[str]) -> list[str]
    with open(os.devnull, 'wb') as silence:
        return subprocess.check_output(command, stderr=silence).decode().splitlines()


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
