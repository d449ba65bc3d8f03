# SPDX-License-Identifier: Apache-2.0
"""How many pictures a second the node answers with verification on, and how old the answers are.

The first half of TUM fr1_desk, 640x480, becomes a map with local features, intrinsics and
landmarks; the second half is played to the node over DDS with its camera_info, player and node on
the same cores, at each of the rates. Age: from the moment a picture is sent to its answer. Stolen:
share of the cores' time that a virtual machine was refused meanwhile (Linux); where it is more
than a few percent, the row says more of the host than of the node.

`--mode both`: the first fifth becomes the map, and all the rest is played, with the motion-capture
pose of each picture as odometry, to the node in mode both, which also learns keyframes and finds
its own past again; their landmarks are made when a place is first a candidate. The answers that
are counted are those about the map.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from geometry_msgs.msg import PoseWithCovariance
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from vpr_ros.cameras import OPTICAL, Calibration, MapCamera
from vpr_ros.conversions import image_from_rgb, pose_msg
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.live.run import LiveRun, run_live
from vpr_ros.map_builder import BuildOptions, build_map
from vpr_ros.picture_folder import PictureFolder, read_picture
from vpr_ros.place_map import PlaceMap
from vpr_ros.pose_files import read_poses
from vpr_ros.pose_lookup import PoseLookup, lookup_in_table
from vpr_ros.recognizer import Status
from vpr_ros.replay.player import Pace
from vpr_ros.replay.recording import Event, Recording
from vpr_ros.resources import default_model
from vpr_ros.verification.camera import Intrinsics

RATES_HZ = (6.0, 8.0, 10.0, 12.0, 15.0)
SECONDS = {'localize': 20.0, 'both': 60.0}  # at each rate
MAPPED = {'localize': 2, 'both': 5}  # one in so many pictures makes the map
_MATRIX = np.array([[517.3, 0, 318.6], [0, 516.5, 255.3], [0, 0, 1]])
_DISTORTION = np.array([0.2624, -0.9531, -0.0054, 0.0026, 1.1633])


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    sent_hz: float
    answered_hz: float
    dropped: int
    verified: int
    age_ms_p50: float
    age_ms_p95: float
    stolen_percent: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rates', type=float, nargs='+', default=RATES_HZ, help='per second')
    parser.add_argument('--mode', choices=SECONDS, default='localize', help='of the node')
    parser.add_argument('--json', type=Path, help='also write the rows here')
    args = parser.parse_args()
    data = Path(os.environ.get('VPR_DATA', Path(__file__).parents[2] / 'shared' / 'data'))
    sequence = data / 'tum_fr1_desk'
    paths = sorted((sequence / 'rgb').glob('*.jpg'))
    if not paths:
        raise SystemExit(f'no pictures at {sequence}/rgb; set VPR_DATA')
    print(f'{os.cpu_count()} cores\n')
    print(
        '| sent /s | answered /s | dropped | verified | age p50, ms | p95, ms | stolen, % |\n'
        + '|---' * 7
        + '|'
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        mapped = len(paths) // MAPPED[args.mode]
        place_map = map_of(paths[:mapped], sequence, scratch)
        shots = read_shots(paths[mapped:], sequence, scratch)
        for rate_hz in args.rates:
            stolen_s, begun_s = stolen_seconds(), time.monotonic()
            live = play(shots, rate_hz, place_map, scratch, args.mode)
            stolen = (stolen_seconds() - stolen_s) / (time.monotonic() - begun_s)
            rows.append(row_of(live, rate_hz, stolen / (os.cpu_count() or 1)))
            print('| ' + ' | '.join(f'{value:.4g}' for value in asdict(rows[-1]).values()) + ' |')
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + '\n', 'utf-8')


def folder_of(paths: list[Path], folder: Path) -> PictureFolder:
    """Put some pictures into a folder of their own."""
    folder.mkdir()
    for path in paths:
        (folder / path.name).symlink_to(path.resolve())
    return PictureFolder(folder)


def poses_of(sequence: Path, pictures: PictureFolder) -> PoseLookup:
    """Return the motion capture's poses of the camera."""
    return lookup_in_table(read_poses(sequence / 'groundtruth.txt'), pictures, max_gap_s=0.1)


def map_of(paths: list[Path], sequence: Path, scratch: Path) -> PlaceMap:
    """Build the map of some pictures."""
    pictures = folder_of(paths, scratch / 'mapped')
    height, width = read_picture(paths[0]).shape[:2]
    calibration = Calibration(Intrinsics(_MATRIX, _DISTORTION), width, height)
    report = build_map(
        pictures,
        DescriptorExtractor(default_model(), device='cpu'),
        scratch / 'map',
        poses=poses_of(sequence, pictures),
        options=BuildOptions(
            min_distance_m=0.1,
            min_angle_deg=7.0,
            features='sift',
            cameras=(MapCamera(0, calibration, OPTICAL),),
        ),
    )
    print(f'map: {len(report.place_map)} places, {report.num_with_landmarks} with landmarks\n')
    return report.place_map


@dataclass(frozen=True)
class Shot:
    """A picture that is played.

    Attributes:
        rgb: uint8 RGB (480, 640, 3).
        pose: Of the camera's optical frame, x y z qx qy qz qw; NaN: unknown.
    """

    rgb: np.ndarray
    pose: np.ndarray


def read_shots(paths: list[Path], sequence: Path, scratch: Path) -> list[Shot]:
    """Read some pictures with their poses."""
    pictures = folder_of(paths, scratch / 'played')
    poses = poses_of(sequence, pictures)
    return [Shot(frame.rgb, np.concatenate(poses.pose_of(frame))) for frame in pictures.frames()]


def odometry_of(shot: Shot) -> Odometry:
    """Return where the camera is as odometry, its optical frame being the body."""
    pose = PoseWithCovariance(pose=pose_msg(shot.pose[:3], shot.pose[3:]))
    return Odometry(header=Header(frame_id='odom'), child_frame_id='camera', pose=pose)


def camera_info_of(shot: Shot) -> CameraInfo:
    """Return the camera's calibration."""
    return CameraInfo(
        header=Header(frame_id='camera'),
        height=shot.rgb.shape[0],
        width=shot.rgb.shape[1],
        distortion_model='plumb_bob',
        d=_DISTORTION.tolist(),
        k=_MATRIX.ravel(),
    )


def play(
    shots: list[Shot], rate_hz: float, place_map: PlaceMap, scratch: Path, mode: str
) -> LiveRun:
    """Play for some seconds to a fresh node."""
    count = int(SECONDS[mode] * rate_hz)
    types: dict[str, type] = {'image': Image, 'camera_info': CameraInfo}
    if mode == 'both':
        types['odom'] = Odometry

    def events() -> Iterator[Event]:
        for i in range(count):
            shot = shots[i * len(shots) // count]
            time_ns = round(i * 1e9 / rate_hz)
            yield Event(time_ns, 'camera_info', camera_info_of(shot))
            if mode == 'both' and np.isfinite(shot.pose).all():
                yield Event(time_ns, 'odom', odometry_of(shot))
            yield Event(time_ns, 'image', image_from_rgb(shot.rgb, Header(frame_id='camera')), i)

    return run_live(
        Recording(types, events, inputs={topic: topic for topic in types}),
        place_map=place_map,
        model=default_model(),
        log=scratch / 'node.log',
        pace=Pace(restamp=True),
        parameters={'mode': mode, 'body_from_camera': list(OPTICAL)},
    )


def stolen_seconds() -> float:
    """Return the processor time that the host has withheld since the start; 0 if not told."""
    statistics = Path('/proc/stat')
    if not statistics.exists():
        return 0.0
    of_all_cores = statistics.read_text('ascii').splitlines()[0].split()
    return int(of_all_cores[8]) / os.sysconf('SC_CLK_TCK')


def row_of(live: LiveRun, rate_hz: float, stolen: float) -> Row:
    """Condense a run."""
    found = [answer for answer in live.answers if answer.recognition is not None]
    ages_ms = [1e3 * answer.latency_s for answer in found]
    return Row(
        sent_hz=rate_hz,
        answered_hz=live.counts.processed / live.replay.seconds,
        dropped=live.counts.dropped,
        verified=sum(answer.recognition.status is Status.VERIFIED for answer in found),
        age_ms_p50=float(np.percentile(ages_ms, 50)),
        age_ms_p95=float(np.percentile(ages_ms, 95)),
        stolen_percent=100 * stolen,
    )


if __name__ == '__main__':
    main()
