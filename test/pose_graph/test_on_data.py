# SPDX-License-Identifier: Apache-2.0
"""True hand-held runs with made drift and closures, through the code of the benchmark."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('gtsam', reason='pip install -r requirements/slam.txt')
pytest.importorskip('evo')

from vpr_ros.pose_graph.closure import Kind
from vpr_ros.pose_graph.simulation import Drift, drifted, revisits
from vpr_ros.poses import rotation_angle

SCRIPT = Path(__file__).resolve().parents[2] / 'benchmarks' / 'pose_graph.py'


@pytest.fixture(scope='module')
def benchmark():
    spec = importlib.util.spec_from_file_location('pose_graph_benchmark', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(row):
    assert row['wrong'] > 0.05 * row['closures']
    assert row['wrong_accepted'] == 0
    assert row['right_rejected'] <= 0.02 * row['closures']
    assert row['ate_before_m'] > 0.05
    assert row['ate_after_m'] <= 0.3 * row['ate_before_m']


def test_at_most_30_percent_of_a_small_drift_remain(benchmark, vpr_data):
    check(benchmark.run(vpr_data, 'red_kitchen', Kind.METRIC, 8, Drift()))


@pytest.mark.slow
@pytest.mark.parametrize('sequence', ['tum_fr1_desk', 'red_kitchen'])
def test_at_most_30_percent_of_made_drift_remain(benchmark, vpr_data, sequence):
    """With made closures, of which a tenth is wrong; benchmarks/loop_closure.py has real ones."""
    for seed in range(4):
        check(benchmark.run(vpr_data, sequence, Kind.METRIC, seed, Drift()))


@pytest.mark.slow
def test_directions_alone_take_drift_away(benchmark, vpr_data):
    row = benchmark.run(vpr_data, 'tum_fr1_desk', Kind.DIRECTION, 0, Drift())
    assert row['wrong_accepted'] == 0
    assert row['ate_after_m'] <= 0.5 * row['ate_before_m']


def test_drift_is_what_it_says(benchmark, vpr_data):
    """No drift gives the truth back; what is steady is exact, what walks spreads as stated."""
    truth = benchmark.true_poses(vpr_data, 'red_kitchen')
    still = drifted(truth, Drift(0, 0, 0, 0, 0, 0), np.random.default_rng(0))
    assert still.positions == pytest.approx(truth.positions, abs=1e-9)
    steps = np.linalg.norm(np.diff(truth.positions, axis=0), axis=1)
    way_m = steps.sum()
    for seed in range(3):
        rng = np.random.default_rng(seed)
        longer = drifted(truth, Drift(0.02, 0, 0, 0, 0, 0), rng)
        found = np.linalg.norm(np.diff(longer.positions, axis=0), axis=1).sum() / way_m
        assert abs(found - 1) == pytest.approx(0.02)
        turned = drifted(truth, Drift(0, 4, 0, 0, 0, 0), rng)
        angle = rotation_angle(turned.orientations_xyzw[-1], truth.orientations_xyzw[-1])
        assert angle == pytest.approx(np.deg2rad(4) * way_m, rel=1e-6)
    walks = []
    for seed in range(20):
        walk = drifted(truth, Drift(0, 0, 0, 0, 6, 0), np.random.default_rng(seed))
        walks.append(rotation_angle(walk.orientations_xyzw[-1], truth.orientations_xyzw[-1]))
    expected = np.deg2rad(6) * np.sqrt(way_m)
    assert 0.6 * expected < np.sqrt(np.mean(np.square(walks))) < 1.4 * expected


def test_the_benchmark_measures_the_drift_of_a_metre(benchmark, vpr_data):
    truth = benchmark.true_poses(vpr_data, 'red_kitchen')
    odometry = drifted(truth, Drift(0, 4, 0, 0, 0, 0), np.random.default_rng(0))
    _, degrees = benchmark.drift_of_a_metre(truth, odometry)
    assert degrees == pytest.approx(4, rel=0.1)


def test_revisits_are_revisits(benchmark, vpr_data):
    truth = benchmark.true_poses(vpr_data, 'tum_fr1_desk')
    which = benchmark.SEQUENCES['tum_fr1_desk'][1]
    pairs = revisits(truth, which)
    assert len(pairs) > 50
    for query, match in pairs:
        assert query - match >= which.min_between
        assert np.linalg.norm(truth.positions[query] - truth.positions[match]) <= which.distance_m


def test_the_benchmark_says_when_there_is_no_data(benchmark, tmp_path):
    with pytest.raises(SystemExit, match='set VPR_DATA'):
        benchmark.true_poses(tmp_path, 'red_kitchen')
