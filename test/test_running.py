# SPDX-License-Identifier: Apache-2.0
"""How a node ends, whenever it is told to."""

import subprocess
import sys

import pytest

pytest.importorskip('rclpy')

from node_process import environment, free_domain

pytestmark = pytest.mark.ros

_NODE = """
import os, signal, sys, time
import rclpy
from rclpy.node import Node
from vpr_ros.node_common.running import run_node

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):  # an interrupt is raised between two steps of a program
        pass

class Interrupted(Node):
    def __init__(self):
        super().__init__('interrupted')
        self.create_timer(0.01, self.work)
        if 'make' in sys.argv:
            interrupt()
    def begin(self):
        if 'begin' in sys.argv:
            interrupt()
        return True
    def work(self):
        if 'callback' in sys.argv:
            interrupt()
        print('worked')
    def close(self):
        interrupt()  # the second of a terminal and `ros2 launch`
        self.destroy_node()
        interrupt()
        print('closed')

class Last:
    def __del__(self, kill=os.kill, process=os.getpid(), number=signal.SIGINT):
        kill(process, number)

last = Last()  # Python lets go of it at its very end
print('returned', run_node('interrupted', Interrupted, begin=Interrupted.begin))
"""


@pytest.mark.parametrize('where', ['make', 'begin', 'callback'])
def test_ctrl_c_is_raised_nowhere_in_a_node(where):
    done = subprocess.run(
        [sys.executable, '-c', _NODE, where],
        env={**environment(free_domain()), 'PYTHONUNBUFFERED': '1'},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert done.stderr == ''
    assert (done.returncode, lines[-2:]) == (0, ['closed', 'returned 0'])
    assert 'worked' in lines or where != 'callback', 'what was begun is finished'
