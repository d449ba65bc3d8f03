# SPDX-License-Identifier: Apache-2.0
"""Bags against maps: what is played, and by which poses it may be judged."""

import numpy as np
import pytest

from vpr_ros import bag_writer
from vpr_ros.bag_messages import header
from vpr_ros.bag_writer import BagWriter
from vpr_ros.demo.record import CAMERA_INFO_TOPIC, IMAGE_TOPIC, ODOMETRY_TOPIC, TRUTH_TOPIC
from vpr_ros.demo.trials import bag_trial
from vpr_ros.errors import SourceError
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.map_builder import BuildOptions, build_map
from vpr_ros.pose_lookup import PosesByTime
from vpr_ros.sources import BagSource

T0 = 1_700_000_000_000_000_000
STEP = 100_000_000
PICTURES = 4
AHEAD = [0, 0, 0, 1]


@pytest.fixture(scope='module')
def extractor(tiny_model):
    return DescriptorExtractor(tiny_model, device='cpu')


@pytest.fixture
def pictures(textured_pictures):
    return textured_pictures(PICTURES)


@pytest.fixture
def bag(tmp_path, pictures):
    """Two cameras; odometry and fixes for all pictures but the last, 20 m apart from 0 on."""
    with BagWriter(tmp_path / 'bag') as writer:
        for i, rgb in enumerate(pictures):
            stamp_ns = T0 + i * STEP
            writer.add_image('/left', rgb, stamp_ns, 'left')
            writer.add_image('/right', rgb, stamp_ns, 'right')
            if i < PICTURES - 1:
                writer.add_odometry('/odom', [20.0 * i, 0, 0], AHEAD, stamp_ns)
                writer.add_navsatfix('/fix', (48 + 0.001 * i, 11, 0), stamp_ns)
    return tmp_path / 'bag'


@pytest.fixture
def place_map(tmp_path, bag, extractor):
    """The map of the left camera with the poses of /odom: three places."""
    source = BagSource(bag, topic='/left')
    poses = PosesByTime(source.poses('/odom').trajectory, max_gap_s=1.0)
    build_map(source, extractor, tmp_path / 'map', poses=poses, options=BuildOptions())
    return tmp_path / 'map'


@pytest.mark.parametrize('topic', ['/left', 'right'])
def test_poses_are_no_truth_by_themselves(bag, place_map, extractor, topic):
    trial = bag_trial(bag, place_map, extractor, topic=topic)
    assert trial.source.topic.name.endswith(topic)
    assert trial.positives is None
    assert trial.track is None
    assert '--truth-topic' in trial.truth


def test_poses_that_the_user_vouches_for_are_the_truth(bag, place_map, extractor):
    trial = bag_trial(bag, place_map, extractor, topic='/left', truth_topic='/odom')
    *known, unknown = trial.positives
    assert [rows.tolist() for rows in known] == [[0], [1], [2]]
    assert unknown is None  # no pose at its time
    assert '15 m' in trial.truth


def test_fixes_have_a_zero_of_their_own(bag, place_map, extractor):
    with pytest.raises(SourceError, match='/fix is its own first fix, not that of the map'):
        bag_trial(bag, place_map, extractor, topic='/left', truth_topic='/fix')


def test_a_truth_topic_that_the_bag_lacks_names_no_option_of_another_command(
    bag, place_map, extractor
):
    with pytest.raises(SourceError, match='has no topic /pose; it holds') as error:
        bag_trial(bag, place_map, extractor, topic='/left', truth_topic='/pose')
    assert '--' not in str(error.value)


def test_a_map_without_positions_has_no_truth(tmp_path, bag, extractor):
    build_map(BagSource(bag, topic='/left'), extractor, tmp_path / 'bare')
    with pytest.raises(SourceError, match='bare has no positions that poses of /odom'):
        bag_trial(bag, tmp_path / 'bare', extractor, topic='/left', truth_topic='/odom')
    assert bag_trial(bag, tmp_path / 'bare', extractor, topic='/left').positives is None


def test_poses_of_another_time_are_refused(tmp_path, place_map, extractor, pictures):
    with BagWriter(tmp_path / 'other') as writer:
        writer.add_image('/left', pictures[0], T0, 'left')
        writer.add_odometry('/odom', [0, 0, 0], AHEAD, T0 + 60 * 10**9)
    with pytest.raises(SourceError, match=r'/odom has a pose at the time of no picture.*clock'):
        bag_trial(tmp_path / 'other', place_map, extractor, truth_topic='/odom')


@pytest.mark.parametrize(('more', 'known'), [([], True), (['/scan_pose'], False)])
def test_the_demo_knows_its_own_bags_by_their_topics(
    tmp_path, place_map, extractor, pictures, more, known
):
    """A simulator's /odom and /ground_truth/pose beside other topics promise nothing."""
    with BagWriter(tmp_path / 'own') as writer:
        writer.add_image(IMAGE_TOPIC, pictures[1], T0, 'cam')
        writer.add_camera_info(CAMERA_INFO_TOPIC, np.eye(3), (120, 160), T0, 'cam')
        writer.add_odometry(ODOMETRY_TOPIC, [7, 7, 0], AHEAD, T0)
        for topic in (TRUTH_TOPIC, *more):
            writer.add_pose_stamped(topic, [20, 0, 0], AHEAD, T0)
    trial = bag_trial(tmp_path / 'own', place_map, extractor)
    assert (trial.positives is not None) == known
    assert not known or trial.positives[0].tolist() == [1]


def test_times_of_recording(tmp_path, place_map, extractor, pictures, monkeypatch):
    monkeypatch.setattr(bag_writer, 'header', lambda _, frame_id: header(0, frame_id))
    with BagWriter(tmp_path / 'stampless') as writer:
        writer.add_image('/left', pictures[2], T0, 'left')
        writer.add_odometry('/odom', [40, 0, 0], AHEAD, T0)
    trial = bag_trial(
        tmp_path / 'stampless', place_map, extractor, stamps='record', truth_topic='/odom'
    )
    assert [frame.stamp_ns for frame in trial.source.frames()] == [T0]
    assert trial.positives[0].tolist() == [2]
