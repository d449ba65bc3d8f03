# SPDX-License-Identifier: Apache-2.0
"""The table of closures: whole lines, also after a crash; and the graph made of them."""

import csv
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
from node_process import REPOSITORY
from pose_graph.drives import S, closure, pose_of, seen_by, square

from vpr_ros.adapters.closure_file import COLUMNS, ClosureFile, ClosureFileError
from vpr_ros.adapters.raw_graph import raw_graph
from vpr_ros.pose_graph.closure import Kind
from vpr_ros.pose_graph.export import write_g2o
from vpr_ros.pose_graph.odometry import OdometryNoise, OdometryTrack
from vpr_ros.pose_graph.optimizer import ClosureNoise
from vpr_ros.pose_graph.transforms import quaternion_xyzw, small_motion, transform

TRUTH, DRIFTED = square(), square(turn_error=0.02)
LAP = len(TRUTH) // 2
BASE_FROM_CAMERA = transform(np.array([0.3, 0.1, 0.5]), np.array([-0.5, 0.5, -0.5, 0.5]))


def row(text):
    return [text] * len(COLUMNS)


def rows(path):
    with path.open(encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


def test_rows_come_back(tmp_path):
    file = ClosureFile(tmp_path / 'new' / 'closures.csv')
    file.append(row('a, "quoted"\nand broken'))
    file.close()
    (found,) = rows(file.path)
    assert list(found) == list(COLUMNS)
    assert set(found.values()) == {'a, "quoted" and broken'}


def test_a_second_run_goes_on(tmp_path):
    for text in 'ab':
        file = ClosureFile(tmp_path / 'closures.csv')
        file.append(row(text))
        file.close()
    assert [found['status'] for found in rows(file.path)] == ['a', 'b']


@pytest.mark.parametrize('torn', ['x,y', 'z' * 10000])
def test_a_torn_line_is_cut_off(tmp_path, torn):
    path = tmp_path / 'closures.csv'
    file = ClosureFile(path)
    file.append(row('a'))
    file.close()
    whole = path.read_bytes()
    path.write_bytes(whole + torn.encode())
    again = ClosureFile(path)
    assert (again.num_cut, path.read_bytes()) == (len(torn), whole)
    again.close()


def test_a_torn_head_is_written_anew(tmp_path):
    path = tmp_path / 'closures.csv'
    path.write_text('query_st')
    ClosureFile(path).close()
    assert path.read_text().strip() == ','.join(COLUMNS)


def test_another_file_is_left_alone(tmp_path):
    path = tmp_path / 'notes.txt'
    path.write_text('mine\n')
    with pytest.raises(ClosureFileError, match='holds something else'):
        ClosureFile(path)
    assert path.read_text() == 'mine\n'


def test_a_path_that_cannot_be_is_named(tmp_path):
    with pytest.raises(ClosureFileError, match='Is a directory'):
        ClosureFile(tmp_path)


def test_what_was_written_survives_a_killed_process(tmp_path):
    path = tmp_path / 'closures.csv'
    program = (
        'import os, sys\n'
        'from pathlib import Path\n'
        'from vpr_ros.adapters.closure_file import COLUMNS, ClosureFile\n'
        'file = ClosureFile(Path(sys.argv[1]))\n'
        'for i in range(100): file.append([str(i)] * len(COLUMNS))\n'
        'os.kill(os.getpid(), 9)\n'
    )
    path_of_python = os.pathsep.join([str(REPOSITORY), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run(
        [sys.executable, '-c', program, str(path)],
        env={**os.environ, 'PYTHONPATH': path_of_python},
        check=False,
    )
    assert done.returncode == -9
    assert [found['reason'] for found in rows(path)] == [str(i) for i in range(100)]


def test_a_full_disk_leaves_whole_lines(tmp_path):
    """A limit on the size of files makes the write short, as a full disk does."""
    file = ClosureFile(tmp_path / 'closures.csv')
    file.append(row('a'))
    whole = file.path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 10, hard))
    try:
        with pytest.raises(OSError, match=r'10 of \d+ bytes written'):
            file.append(row('b'))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.path.read_bytes() == whole
    file.append(row('c'))
    file.close()
    assert [found['status'] for found in rows(file.path)] == ['a', 'c']


def track(run):
    found = OdometryTrack(OdometryNoise())
    for i, stamp_ns in enumerate(run.stamps_ns.tolist()):
        found.add(stamp_ns, run.positions[i], run.orientations_xyzw[i])
    return found


def made(run, closures, **changes):
    given = {'distance_m': 1.0, 'angle_rad': 0.3, 'max_gap_s': 0.6, **changes}
    return raw_graph(track(run), closures, ClosureNoise(), **given)


def of_camera(found):
    return seen_by(found, BASE_FROM_CAMERA)


def test_the_graph_is_that_of_odometry_and_closures():
    closures = [of_camera(closure(TRUTH, LAP + i, i)) for i in (1, 8)]
    vertices, edges, left_out = made(TRUTH, closures)
    assert left_out == 0
    assert len(edges) == len(vertices) - 1 + 2
    for first, second, measured, covariance in edges:
        assert vertices[first] @ measured == pytest.approx(vertices[second], abs=1e-9)
        assert np.linalg.eigvalsh(covariance).min() > 0
    ends = [pose_of(TRUTH, i) for i in (1, LAP + 1)]
    first, second, *_ = edges[-2]
    assert vertices[first] == pytest.approx(ends[0], abs=1e-9)
    assert vertices[second] == pytest.approx(ends[1], abs=1e-9)


def test_keyframes_are_those_of_a_loop_over_all_poses():
    """Through a long stand, which is longer than what is compared at once, and a turn."""
    rng = np.random.default_rng(0)
    found, stamps, last, here = OdometryTrack(OdometryNoise()), [], None, np.eye(4)
    for i in range(2000):
        if not 500 <= i < 900:
            here = here @ small_motion(np.r_[rng.normal(0, 0.02, 3), rng.normal(0.01, 0.01, 3)])
        found.add(i * S, here[:3, 3], quaternion_xyzw(here))
        if last is None or (
            np.linalg.norm(here[:3, 3] - last[:3, 3]) >= 0.2
            or np.arccos((np.trace(last[:3, :3].T @ here[:3, :3]) - 1) / 2) >= 0.2
        ):
            stamps.append(i * S)
            last = here
    assert len(stamps) > 50
    assert found.keyframes(0.2, 0.2) == stamps


def test_what_cannot_be_placed_is_counted():
    inside = of_camera(closure(TRUTH, LAP, 0))
    direction = closure(TRUTH, LAP + 1, 0, kind=Kind.DIRECTION)
    shorter = square(laps=1)
    assert made(TRUTH, [inside, direction])[2] == 1
    assert made(shorter, [of_camera(closure(TRUTH, LAP + 5, 0))])[2] == 1
    assert made(TRUTH, [of_camera(closure(TRUTH, LAP, 0))], max_gap_s=0.1)[2] == 0  # at poses
    empty = raw_graph(
        OdometryTrack(OdometryNoise()),
        [inside],
        ClosureNoise(),
        distance_m=1,
        angle_rad=1,
        max_gap_s=1,
    )
    assert (len(empty[0]), empty[1], empty[2]) == (0, [], 1)


def test_gtsam_optimises_the_file_into_the_truth(tmp_path):
    gtsam = pytest.importorskip('gtsam')
    closures = [of_camera(closure(TRUTH, LAP + i, i)) for i in range(0, LAP, 4)]
    vertices, edges, _ = made(DRIFTED, closures)
    write_g2o(tmp_path / 'raw.g2o', vertices, edges)
    factors, values = gtsam.readG2o(str(tmp_path / 'raw.g2o'), True)
    sigma = gtsam.noiseModel.Isotropic.Sigma(6, 1e-4)
    factors.add(gtsam.PriorFactorPose3(0, values.atPose3(0), sigma))
    before = factors.error(values)
    best = gtsam.LevenbergMarquardtOptimizer(factors, values).optimize()
    assert factors.error(best) < 0.3 * before
    end = np.linalg.norm(best.atPose3(len(vertices) - 1).translation() - TRUTH.positions[-1])
    assert end < 0.3 * np.linalg.norm(DRIFTED.positions[-1] - TRUTH.positions[-1])
