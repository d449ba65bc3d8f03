# SPDX-License-Identifier: Apache-2.0
"""Files of a pose graph: read back, and read by GTSAM."""

import csv

import numpy as np
import pytest
from pose_graph.drives import closure, drive, seen_by, square

from vpr_ros.pose_files import read_poses
from vpr_ros.pose_graph.export import save, seconds_text
from vpr_ros.pose_graph.graph import PoseGraph
from vpr_ros.pose_graph.transforms import transform

gtsam = pytest.importorskip('gtsam', reason='pip install -r requirements/slam.txt')

TRUTH, DRIFTED = square(), square(turn_error=0.02)
LAP = len(TRUTH) // 2
BASE_FROM_CAMERA = transform(np.array([0.3, 0.1, 0.5]), np.array([0.5, -0.5, 0.5, -0.5]))


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    graph = PoseGraph()
    drive(graph, DRIFTED)
    for i in range(0, LAP, 4):
        graph.add_closure(closure(TRUTH, LAP + i, i))
    wrong = transform(np.array([5.0, 0, 0]), np.array([0, 0, 0, 1.0]))
    graph.add_closure(closure(TRUTH, LAP + 1, 1, wrong=wrong))
    graph.update()
    folder = tmp_path_factory.mktemp('saved') / 'run'
    text = save(graph, folder)
    return graph, folder, text


def parsed(path):
    """Read a g2o file as its format is described, line by line."""
    vertices, edges = {}, []
    for row in path.read_text('utf-8').splitlines():
        tag, *fields = row.split()
        if tag == 'VERTEX_SE3:QUAT':
            vertices[int(fields[0])] = np.array(fields[1:], float)
        elif tag == 'EDGE_SE3:QUAT':
            information = np.zeros((6, 6))
            information[np.triu_indices(6)] = np.array(fields[9:], float)
            information += np.triu(information, 1).T
            edges.append(
                (int(fields[0]), int(fields[1]), np.array(fields[2:9], float), information)
            )
        else:
            assert (tag, fields) == ('FIX', ['0'])
    return vertices, edges


def test_g2o_holds_the_graph(saved):
    graph, folder, _ = saved
    vertices, edges = parsed(folder / 'pose_graph.g2o')
    run = graph.trajectory()
    assert list(vertices) == list(range(len(run)))
    found = np.array(list(vertices.values()))
    assert found[:, :3] == pytest.approx(run.positions, abs=1e-8)
    assert np.abs(np.sum(found[:, 3:] * run.orientations_xyzw, axis=1)) == pytest.approx(1)
    wanted = [*graph.links(), *graph.closures()]
    assert [e[:2] for e in edges] == [w[:2] for w in wanted]
    order = [3, 4, 5, 0, 1, 2]  # g2o has translation first
    for (*_, pose, information), (*_, measured, covariance) in zip(edges, wanted, strict=True):
        assert transform(pose[:3], pose[3:]) == pytest.approx(measured, abs=1e-8)
        assert information @ covariance[np.ix_(order, order)] == pytest.approx(np.eye(6), abs=1e-4)


def test_gtsam_reads_the_g2o_and_finds_the_same_optimum(saved):
    graph, folder, _ = saved
    factors, values = gtsam.readG2o(str(folder / 'pose_graph.g2o'), True)
    sigma = gtsam.noiseModel.Isotropic.Sigma(6, 1e-4)
    factors.add(gtsam.PriorFactorPose3(0, values.atPose3(0), sigma))
    best = gtsam.LevenbergMarquardtOptimizer(factors, values).optimize()
    found = np.array([best.atPose3(i).translation() for i in range(len(graph.nodes))])
    assert found == pytest.approx(graph.trajectory().positions, abs=2e-3)


def test_edges_are_of_the_base_wherever_the_camera_is(tmp_path):
    """The vertices fulfil the edges of a run without errors."""
    graph = PoseGraph()
    drive(graph, TRUTH)
    graph.add_closure(seen_by(closure(TRUTH, LAP, 0), BASE_FROM_CAMERA))
    graph.update()
    save(graph, tmp_path / 'run')
    vertices, edges = parsed(tmp_path / 'run' / 'pose_graph.g2o')
    for first, second, pose, _ in edges:
        ends = [transform(v[:3], v[3:]) for v in (vertices[first], vertices[second])]
        assert ends[0] @ transform(pose[:3], pose[3:]) == pytest.approx(ends[1], abs=1e-6)


def test_tum_files_are_read_back_to_the_nanosecond(saved):
    graph, folder, _ = saved
    for name, run in (('trajectory', graph.trajectory()), ('odometry', graph.odometry())):
        back = read_poses(folder / f'{name}.tum', 'tum').trajectory
        assert np.array_equal(back.stamps_ns, run.stamps_ns)
        assert back.positions == pytest.approx(run.positions, abs=1e-8)
        assert back.orientations_xyzw == pytest.approx(run.orientations_xyzw, abs=1e-8)


def test_the_table_says_what_became_of_every_closure(saved):
    graph, folder, text = saved
    with (folder / 'closures.csv').open(encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['outcome'] for row in rows] == [
        d.outcome.value for _, d in sorted(graph.decisions.items())
    ]
    assert rows[-1]['outcome'] == 'rejected'
    assert rows[-1]['reason'].startswith('against_odometry: chi-square')
    assert float(rows[-1]['chi2']) == pytest.approx(graph.decisions[len(rows) - 1].chi2, rel=1e-5)
    assert f'{len(rows) - 1} metric closures, {len(rows)} closures in all' in text


def test_saving_twice_replaces(saved, tmp_path):
    graph, *_ = saved
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'old.txt').write_text('old')
    save(graph, tmp_path / 'run')
    assert sorted(path.name for path in (tmp_path / 'run').iterdir()) == [
        *('closures.csv', 'odometry.tum', 'pose_graph.g2o', 'trajectory.tum')
    ]


def test_an_empty_graph_makes_empty_files(tmp_path):
    save(PoseGraph(), tmp_path / 'run')
    assert (tmp_path / 'run' / 'pose_graph.g2o').read_text() == ''


@pytest.mark.parametrize(
    ('stamp_ns', 'text'), [(1, '0.000000001'), (-1_500_000_000, '-1.500000000'), (2**62, None)]
)
def test_stamps_keep_their_nanoseconds(stamp_ns, text):
    found = seconds_text(stamp_ns)
    assert found.replace('.', '').lstrip('-').lstrip('0') == str(abs(stamp_ns))
    assert text in (None, found)
