# SPDX-License-Identifier: Apache-2.0
"""The benchmark of loop closures, on the first pictures of real drives."""

import pytest
from benchmark_rows import benchmark_rows

KEYS = {
    *('sequence', 'method', 'seed', 'accepted', 'false', 'recall_at_100_precision'),
    *('ate_before_m', 'ate_after_m'),
}
METHODS = ['vpr_ros', 'retrieval', 'retrieval + sequence', 'ORB words']


@pytest.fixture(scope='module')
def rows(vpr_data, tmp_path_factory):
    """What the benchmark writes about two short drives."""
    pytest.importorskip('evo')
    pytest.importorskip('gtsam')
    pytest.importorskip('sklearn')
    table = tmp_path_factory.mktemp('loop_closure') / 'rows.json'
    output, rows = benchmark_rows(
        'loop_closure',
        vpr_data,
        table,
        *('--seeds', '2', '--unhurried', '--pictures', '140', '--words', '50'),
        *('--sequences', 'kitti_03', 'gardens_day'),
    )
    assert all(f'| {method} |' in output for method in METHODS)
    return rows


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_method_has_a_row_for_every_seed(rows):
    assert all(row.keys() >= KEYS for row in rows)
    got = [(row['sequence'], row['seed'], row['method']) for row in rows]
    runs = [('kitti_03', 0), ('kitti_03', 1), ('gardens_day', 0)]  # no odometry, no seeds
    assert got == [(*run, method) for run in runs for method in METHODS]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nothing_is_accepted_where_nothing_returns(rows):
    kitti = [row for row in rows if row['sequence'] == 'kitti_03']
    for row in kitti:
        assert row['recall_at_100_precision'] is None
        assert row['false'] == row['accepted']
        assert (row['accepted'] == 0) or row['method'] != 'vpr_ros'
    assert kitti[0]['ate_before_m'] != kitti[4]['ate_before_m'], 'another drift for every seed'
    by_retrieval = next(row for row in kitti if row['method'] == 'retrieval')
    assert by_retrieval['accepted'] > 0, 'the threshold alone lets something through'


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_geometry_recalls_more_than_retrieval(rows):
    gardens = {row['method']: row for row in rows if row['sequence'] == 'gardens_day'}
    best, others = gardens.pop('vpr_ros'), gardens.values()
    assert best['false'] == 0
    assert best['ate_before_m'] is None
    recalls = [row['recall_at_100_precision'] for row in others]
    assert best['recall_at_100_precision'] >= 1.5 * max(recalls)
