# SPDX-License-Identifier: Apache-2.0
"""The real node as a process, and a real rclpy client that talks to it over DDS."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from ros_client import RosClient
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vpr_msgs.msg import LoopClosure

from vpr_ros.conversions import image_from_rgb, stamp_msg_from_ns
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.place_map import PlaceMap

REPOSITORY = Path(__file__).resolve().parents[1]
FRAME = 'camera_optical'


def free_domain() -> int:
    """A ROS_DOMAIN_ID that other tests on this machine hardly use; they may run in parallel."""
    return random.SystemRandom().randrange(1, 101)


def nodes_of(model: Path) -> list[str]:
    """Process ids of nodes that run this very model file."""
    found = []
    for entry in Path('/proc').iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / 'cmdline').read_bytes()
            except OSError:  # it ended meanwhile
                continue
            if b'vpr_ros.node' in command and str(model).encode() in command:
                found.append(entry.name)
    return found


def stop_process(
    process: subprocess.Popen[bytes], log: Path, signal_number: int = signal.SIGTERM
) -> int:
    """Ask a node of `environment` to stop; returns the exit code."""
    if process.poll() is None:
        process.send_signal(signal_number)
    try:
        return process.wait(20)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        process.wait(20)
        text = log.read_text(encoding='utf-8', errors='replace')
        raise AssertionError(f'the node did not stop:\n{text}') from None


def environment(domain: int) -> dict[str, str]:
    """Return the variables of a node in a domain of its own."""
    return {
        **os.environ,
        'ROS_DOMAIN_ID': str(domain),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        'PYTHONFAULTHANDLER': '1',  # SIGABRT writes where each thread is into the log
        'PYTHONPATH': os.pathsep.join([str(REPOSITORY), os.environ.get('PYTHONPATH', '')]),
    }


class NodeProcess:
    """`python -m vpr_ros.node` with its log in a file."""

    def __init__(self, log: Path, *arguments: str, domain: int) -> None:
        self._log = log
        command = [sys.executable, '-m', 'vpr_ros.node', '--ros-args', *arguments]
        with log.open('wb') as file:
            self.process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, env=environment(domain)
            )

    def log(self) -> str:
        return self._log.read_text(encoding='utf-8', errors='replace')

    def wait_for_log(self, pattern: str, *, timeout_s: float = 20.0) -> str:
        """Wait until the log matches; returns the match."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.log()):
                return found[0]
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f'{pattern!r} is not in the log:\n{self.log()}')

    def wait(self, timeout_s: float = 20.0) -> int:
        return self.process.wait(timeout_s)

    def stop(self, signal_number: int = signal.SIGINT) -> int:
        """Ask it to stop; returns the exit code."""
        return stop_process(self.process, self._log, signal_number)


class Client(RosClient):
    """Publishes pictures and collects what the localizer says."""

    def __init__(self, domain: int) -> None:
        super().__init__(domain)
        self.image = self.node.create_publisher(Image, 'image', 10)
        self.closures: list[LoopClosure] = self.listen(LoopClosure, '/localizer/loop_closures')
        self.poses: list[PoseWithCovarianceStamped] = self.listen(
            PoseWithCovarianceStamped, '/localizer/pose'
        )
        self.diagnostics: list[DiagnosticArray] = self.listen(DiagnosticArray, '/diagnostics')

    def connect(self) -> None:
        """Wait until node and client have found each other."""
        self.wait_until(self.image.get_subscription_count, 'the node to subscribe to pictures')
        publishers = self.node.count_publishers
        self.wait_until(lambda: publishers('/localizer/loop_closures'), 'the node to publish')
        self.spin(0.2)

    def send(self, rgb: np.ndarray, stamp_ns: int | None = None) -> Time:
        """Publish a picture; returns its stamp."""
        stamp_ns = time.time_ns() if stamp_ns is None else stamp_ns
        stamp = stamp_msg_from_ns(stamp_ns)
        self.image.publish(image_from_rgb(rgb, Header(stamp=stamp, frame_id=FRAME)))
        return stamp

    def ask(self, rgb: np.ndarray, stamp_ns: int | None = None) -> LoopClosure:
        """Publish a picture and wait for the answer to it."""
        stamp = self.send(rgb, stamp_ns)
        self.wait_until(
            lambda: any(c.header.stamp == stamp for c in self.closures), 'a loop closure'
        )
        return next(c for c in self.closures if c.header.stamp == stamp)

    def status(self, task: str, *, until=lambda status: True, what: str = '') -> dict[str, str]:
        """Wait for a fresh diagnostics status that fits; returns level, message and its values."""
        found: list = []

        def look() -> bool:
            for array in self.diagnostics:
                for status in array.status:
                    if status.name == f'localizer: {task}' and until(status):
                        found.append(status)
            self.diagnostics.clear()
            return bool(found)

        self.diagnostics.clear()
        self.wait_until(look, what or f'diagnostics of {task}')
        values = {pair.key: pair.value for pair in found[-1].values}
        return {'level': found[-1].level, 'message': found[-1].message, **values}


def build_map(model: Path, directory: Path, pictures: np.ndarray, *, poses: bool = True) -> Path:
    """Save a map of `pictures`; place i stands at x = i metres, seen at second i + 1."""
    extractor = DescriptorExtractor(model, device='cpu')
    place_map = PlaceMap(extractor.info.ref, frame_id='town')
    n = len(pictures)
    known = {
        'positions': np.stack([np.arange(n), np.zeros(n), np.zeros(n)], axis=1),
        'orientations_xyzw': np.tile([0.0, 0.0, 0.0, 1.0], (n, 1)),
    }
    place_map.add(
        extractor.extract_batch(list(pictures)),
        stamps_ns=(np.arange(n) + 1) * 10**9,
        images=[f'{i:06d}.jpg' for i in range(n)],
        **(known if poses else {}),
    )
    place_map.save(directory)
    return directory
