# SPDX-License-Identifier: Apache-2.0
"""The bars of verification in metres, on a real run: every third picture of RedKitchen."""

import pytest
from benchmark_rows import benchmark_rows
from verification.made_views import Places

from vpr_ros.picture_folder import read_picture
from vpr_ros.verification.features import create_feature_extractor
from vpr_ros.verification.metric import Keyframe
from vpr_ros.verification.verifier import GeometricVerifier, VerifierConfig


@pytest.fixture(scope='module')
def row(vpr_data, tmp_path_factory):
    """What the benchmark writes: the first half is the map, the second asks."""
    table = tmp_path_factory.mktemp('verification') / 'rows.json'
    what = ('--sequences', 'red_kitchen_first_half', '--thin', '3', '--every', '2')
    _, (row,) = benchmark_rows('verification', vpr_data, table, *what)
    return row


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_revisits_are_found_and_nothing_else(row):
    assert row['revisits'] >= 15
    assert row['recall_of_revisits'] >= 0.6
    assert row['false'] == 0
    assert row['retrieval_false'] > 0, 'likeness alone lets wrong places through'


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_poses_are_metric_and_right(row):
    assert row['median_error_m'] <= 0.10
    assert row['median_error_deg'] <= 3.0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_covariances_say_how_far_poses_are_off(row):
    """In so few pictures 85 to 99 % cannot be told from all, but from too many outside."""
    assert row['position_inside_95'] >= 0.85
    assert row['rotation_inside_95'] >= 0.85


def test_a_row_of_equal_windows_is_no_place(vpr_data):
    """27 m apart before one front: 102 of 111 features lie on their lines, each somewhere."""
    pictures = vpr_data / 'gsv_cambridge' / 'Images'
    view, elsewhere = (
        read_picture(next(pictures.rglob(f'Cambridge_{name}.jpg')))
        for name in (
            '0000816_2018_01_000_52.20863302854509_0.1213965343903932_gs0933_0',
            '0000815_2018_01_000_52.2086175_0.121792_gs0979_0',
        )
    )
    extractor = create_feature_extractor()
    places = Places([Keyframe(extractor.extract(elsewhere))])
    verifier = GeometricVerifier(places, VerifierConfig(budget_s=60.0))
    (result,) = verifier.verify(extractor.extract(view), [0])
    assert result.num_inliers > 0.8 * result.num_correspondences
    assert result.reason.startswith('low_agreement: ')
    assert 'of the features that agree move as most of those around them' in result.reason
