# SPDX-License-Identifier: Apache-2.0
"""A drive matched against its own past, when all goes well and when it does not.

The shipped model on real hand-held pictures (RedKitchen, true odometry), every fifth of 30 a
second. Pictures 280 to 320 are seen again from 500 on, 160 to 200 from 620 on.
"""

import dataclasses
import logging

import numpy as np
import pytest
from real_drive import LENS, Kitchen, Remembering, RememberingFeatures
from scipy.spatial.transform import Rotation

from vpr_ros.odometry import OdometryPose
from vpr_ros.online_map import MappingConfig
from vpr_ros.recognizer import RecognizerConfig, Status
from vpr_ros.resources import default_model
from vpr_ros.revisits import RevisitDetector
from vpr_ros.sequence_filter.config import SequenceFilterConfig
from vpr_ros.verification.camera import Intrinsics
from vpr_ros.verification.features import create_feature_extractor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FIRST = tuple(range(150, 340, 5))
BETWEEN = tuple(range(340, 500, 10))
AGAIN = tuple(range(510, 550, 5))  # around 285
FAR = tuple(range(620, 672, 5))  # around 180
WITHIN_M, WITHIN_DEG = 0.5, 30.0
RECOVERS_WITHIN = 5  # pictures after a kidnapping until one is verified


@pytest.fixture(scope='module')
def kitchen(vpr_data):
    return Kitchen(vpr_data)


@pytest.fixture(scope='module')
def extractor():
    return Remembering(default_model())


@pytest.fixture(scope='module')
def local():
    return RememberingFeatures(create_feature_extractor())


@pytest.fixture
def detector(extractor, local):
    found = RevisitDetector(extractor, local=local)
    yield found
    found.close()


def play(detector, shots, *, odometry=True):
    return [
        detector.process(
            shot.rgb,
            shot.stamp_ns,
            odometry=shot.odometry if odometry else None,
            intrinsics=LENS,
        )
        for shot in shots
    ]


def verified(answers):
    return [answer for answer in answers if answer.status is Status.VERIFIED]


def are_right(kitchen, answers):
    """Whether verified answers name places that lie where the picture was taken."""
    for answer in verified(answers):
        query, match = (
            kitchen.number_of(stamp) for stamp in (answer.stamp_ns, answer.matches[0].stamp_ns)
        )
        metres, degrees = kitchen.away(query, match)
        assert metres <= WITHIN_M, (query, match)
        assert degrees <= WITHIN_DEG, (query, match)
    return True


def test_a_loop_is_closed_in_metres(detector, kitchen):
    before = play(detector, kitchen.shots(*FIRST))
    assert before[0].reason.startswith('too_recent: whatever was seen so far is too recent or')
    play(detector, kitchen.shots(*BETWEEN))
    after = play(detector, kitchen.shots(*AGAIN))
    assert verified(before) == []
    assert len(verified(after)) >= len(AGAIN) - 2
    assert are_right(kitchen, after)
    for answer in verified(after):
        assert answer.reason == ''
        assert answer.relative_pose.metric
        query, match = (
            kitchen[kitchen.number_of(stamp)].odometry.matrix
            for stamp in (answer.stamp_ns, answer.matches[0].stamp_ns)
        )
        true = np.linalg.inv(match) @ query
        assert np.linalg.norm(answer.relative_pose.translation - true[:3, 3]) < 0.12
        turn = Rotation.from_matrix(answer.relative_pose.rotation.T @ true[:3, :3])
        assert np.degrees(turn.magnitude()) < 5.0
        np.testing.assert_allclose(answer.pose.position, answer.map_from_camera[:3, 3], atol=1e-9)
        assert np.linalg.norm(answer.pose.position - query[:3, 3]) < 0.12
        assert answer.pose.covariance[0, 0] < 0.2**2


def test_kidnapping_ends_within_a_few_pictures(detector, kitchen):
    """The camera is carried off; odometry goes on as if nothing had happened."""
    play(detector, kitchen.shots(*FIRST, *BETWEEN, *AGAIN))
    here, there = kitchen[AGAIN[-1]].odometry.matrix, kitchen[FAR[0]].odometry.matrix
    moved = []
    for shot in kitchen.shots(*FAR):
        pose = here @ np.linalg.inv(there) @ shot.odometry.matrix
        quaternion = Rotation.from_matrix(pose[:3, :3]).as_quat()
        odometry = OdometryPose(pose[:3, 3], quaternion, True, 0)
        moved.append(dataclasses.replace(shot, odometry=odometry))
    answers = play(detector, moved)
    assert are_right(kitchen, answers)
    assert verified(answers[:RECOVERS_WITHIN])
    assert len(verified(answers)) >= len(FAR) // 2


def test_kidnapping_without_geometry_ends_too(extractor, kitchen):
    """Time alone: it leaves the old place and never calls another one consistent."""
    detector = RevisitDetector(extractor)
    play(detector, kitchen.shots(*FIRST, *BETWEEN, *AGAIN), odometry=False)
    answers = play(detector, kitchen.shots(*FAR), odometry=False)
    detector.close()
    for answer in answers:
        assert answer.status in (Status.REJECTED, Status.CANDIDATE, Status.CONSISTENT)
        if answer.status is Status.CONSISTENT:
            assert answer.reason == (
                'no_features: nothing finds local features in pictures'
            ) or answer.reason.startswith('no_keyframes: ')
            metres, degrees = kitchen.away(
                kitchen.number_of(answer.stamp_ns),
                kitchen.number_of(answer.matches[0].stamp_ns),
            )
            assert metres <= WITHIN_M
            assert degrees <= WITHIN_DEG
    probable = [max(match.probability for match in answer.matches) for answer in answers]
    near = [
        kitchen.away(number, kitchen.number_of(answer.matches[0].stamp_ns))[0] <= WITHIN_M
        for number, answer in zip(FAR, answers, strict=True)
    ]
    assert all(near[RECOVERS_WITHIN:])
    assert min(probable[RECOVERS_WITHIN:]) > 0.5


@pytest.mark.parametrize('odometry', [True, False])
def test_standing_still_learns_one_place_and_closes_no_loop(
    detector, kitchen, extractor, odometry
):
    shot = kitchen[160]
    noise = np.random.default_rng(0)
    answers = []
    for n in range(20):  # 40 s, sensor noise as of a dim room
        rgb = np.clip(shot.rgb + noise.normal(0, 6, shot.rgb.shape), 0, 255).astype(np.uint8)
        standing = dataclasses.replace(shot, rgb=rgb).later(2.0 * n)
        answers += play(detector, [standing], odometry=odometry)
    assert len(detector.learnt) == 1
    assert len(detector.place_map) == 0
    assert {answer.status for answer in answers} == {Status.REJECTED}
    assert {answer.reason.partition(':')[0] for answer in answers} == {'too_recent'}


def test_standing_still_at_a_known_place_stays_verified(detector, kitchen):
    play(detector, kitchen.shots(*FIRST, *BETWEEN))
    shot, learnt = kitchen[525], len(detector.learnt)
    answers = play(detector, [shot.later(0.5 * n) for n in range(12)])
    assert len(verified(answers)) >= 10
    places = {answer.matches[0].stamp_ns for answer in verified(answers)}
    assert all(kitchen.away(525, kitchen.number_of(stamp))[0] < WITHIN_M for stamp in places)
    assert shot.stamp_ns not in places, 'no closure with itself'
    assert len(detector.learnt) <= learnt + 1
    assert {answer.consistent_count for answer in answers[1:]} == {answers[1].consistent_count}


def test_a_time_gap_begins_the_count_anew_and_is_logged(detector, kitchen, caplog):
    play(detector, kitchen.shots(*FIRST, *BETWEEN))
    counts = [answer.consistent_count for answer in play(detector, kitchen.shots(*AGAIN[:4]))]
    assert counts[-1] >= 3
    with caplog.at_level(logging.INFO, 'vpr_ros'):
        late = play(detector, [shot.later(100.0) for shot in kitchen.shots(*AGAIN[4:])])
    assert 'camera 0: time_gap: no picture for 100.' in caplog.text
    assert late[0].consistent_count == 1
    assert late[0].status is Status.VERIFIED, 'geometry needs no time'


def test_a_covered_camera_is_told_and_forgotten_once_it_sees(detector, kitchen):
    play(detector, kitchen.shots(*FIRST, *BETWEEN, *AGAIN[:2]))
    learnt = len(detector.learnt)
    covered = [
        dataclasses.replace(shot, rgb=np.full_like(shot.rgb, 3))
        for shot in kitchen.shots(*AGAIN[2:5])
    ]
    answers = play(detector, covered)
    assert {answer.status for answer in answers} == {Status.REJECTED}
    assert all(answer.reason.startswith('dark: ') for answer in answers)
    assert all(answer.matches == () and answer.pose is None for answer in answers)
    assert len(detector.learnt) == learnt
    after = play(detector, kitchen.shots(*AGAIN[5:]))
    assert after[0].status is Status.VERIFIED
    assert after[0].relative_pose.metric
    assert are_right(kitchen, after)


def test_without_odometry_keyframes_come_by_look_and_closures_are_directions(detector, kitchen):
    play(detector, kitchen.shots(*FIRST, *BETWEEN), odometry=False)
    shown = len(FIRST) + len(BETWEEN)
    assert 0.2 * shown < len(detector.learnt) <= shown
    learnt = detector.learnt.snapshot()
    in_order = learnt.descriptors[:-1] * learnt.descriptors[1:]
    assert in_order.sum(axis=1).max() < detector.mapping.keyframe_similarity
    answers = play(detector, kitchen.shots(*AGAIN, *FAR), odometry=False)
    assert len(verified(answers)) >= 5
    for answer in verified(answers):
        assert not answer.relative_pose.metric
        assert np.linalg.norm(answer.relative_pose.translation) == pytest.approx(1.0)
        assert answer.map_from_camera is None
        assert answer.pose is None
    assert are_right(kitchen, answers)


def test_odometry_that_dies_on_the_way_is_survived(detector, kitchen):
    play(detector, kitchen.shots(*FIRST))
    play(detector, kitchen.shots(*BETWEEN), odometry=False)
    known = len(detector.place_map)
    answers = play(detector, kitchen.shots(*AGAIN), odometry=False)
    assert len(verified(answers)) >= len(AGAIN) - 2
    assert verified(answers)[-1].relative_pose.metric, 'the places have poses, and scale with them'
    assert are_right(kitchen, answers)
    play(detector, kitchen.shots(*range(550, 620, 10)), odometry=False)
    assert len(detector.place_map) > known


def test_jumping_odometry_joins_nothing_across_the_jump(detector, kitchen):
    """From 400 on, odometry is in another frame, 100 m away."""
    numbers = (*FIRST, *BETWEEN)
    shots = [
        shot if shot.number < 400 else shot.in_drive(1, 100.0) for shot in kitchen.shots(*numbers)
    ]
    play(detector, shots)
    answers = play(detector, [shot.in_drive(1, 100.0) for shot in kitchen.shots(*AGAIN)])
    assert len(verified(answers)) >= len(AGAIN) - 2
    assert are_right(kitchen, answers)
    for answer in verified(answers):
        assert answer.relative_pose.metric, 'the depth is of the old piece alone'
        assert np.isnan(answer.matches[0].position).all(), 'in a frame that is gone'
        assert answer.pose is None and answer.map_from_camera is None
    store = detector.learnt.store
    drives = {int(entry['row']): int(entry['drive']) for entry in store.index}
    assert len(set(drives.values())) == 2
    for row, drive in drives.items():
        assert {drives[other] for other in store.neighbours(row)} <= {drive}


@pytest.mark.parametrize('dark_before', [False, True])
def test_from_the_first_picture_after_a_jump_positions_before_it_are_gone(
    extractor, kitchen, dark_before
):
    detector = RevisitDetector(extractor)
    play(detector, kitchen.shots(*FIRST, *BETWEEN))
    shots = [shot.in_drive(1) for shot in kitchen.shots(*AGAIN[:2])]
    before = play(detector, [dataclasses.replace(shots[0], odometry=kitchen[AGAIN[0]].odometry)])
    if dark_before:
        dark = dataclasses.replace(shots[1], rgb=np.full_like(shots[1].rgb, 3))
        play(detector, [dark])
        after = play(detector, [shots[1].later(0.1)], odometry=False)
    else:
        after = play(detector, [shots[1]])
    detector.close()
    assert before[0].pose is not None
    assert after[0].status in (Status.CANDIDATE, Status.CONSISTENT)
    assert after[0].pose is None
    assert all(np.isnan(match.position).all() for match in after[0].matches)


def test_a_jump_onto_the_same_coordinates_makes_no_neighbours(extractor, kitchen):
    """Odometry begins again at the same numbers: the filter must not take places for near."""
    detector = RevisitDetector(extractor)
    play(detector, kitchen.shots(*FIRST))
    play(detector, [s.in_drive(1).later(60.0) for s in kitchen.shots(*BETWEEN)])
    detector.learnt.release(10**19)
    filter_of = detector._recognizer._filter_of(0)
    pieces = np.array(detector.learnt.pieces)
    assert set(pieces) == {0, 1}
    edges = filter_of._places.near(np.arange(len(pieces)), 20.0)
    assert (pieces[edges.source] == pieces[edges.row]).all()
    detector.close()


def test_after_starting_over_nothing_of_before_is_found(detector, kitchen):
    play(detector, kitchen.shots(*FIRST, *BETWEEN))
    folder = detector.learnt.store.folder
    detector.start_over()
    assert (len(detector.learnt), len(detector.place_map)) == (0, 0)
    assert not folder.exists()
    answers = play(detector, kitchen.shots(*AGAIN))
    assert {answer.reason.partition(':')[0] for answer in answers} == {'too_recent'}
    assert answers[0].query_id == 0


def test_a_plain_rule_of_successive_pictures(extractor, local, kitchen):
    rule = SequenceFilterConfig(mode='sequence', min_pictures=4)
    detector = RevisitDetector(extractor, RecognizerConfig(sequence_filter=rule))
    play(detector, kitchen.shots(*FIRST, *BETWEEN))
    answers = play(detector, kitchen.shots(*AGAIN))
    detector.close()
    assert Status.CONSISTENT in {answer.status for answer in answers}
    assert all(np.isnan(answer.matches[0].probability) for answer in answers)


@pytest.fixture(scope='module')
def street():
    """The demo's town: a street there, and back in the other lane, 2 s a picture."""
    from vpr_ros.demo.light import DAY
    from vpr_ros.demo.record import CAMERA_PITCH_RAD
    from vpr_ros.demo.renderer import Camera, Renderer
    from vpr_ros.demo.route import Drive
    from vpr_ros.demo.sequence import Lens as Flaws
    from vpr_ros.demo.sequence import make_scene, paint_town, render_views, views
    from vpr_ros.demo.town import drive, make_town, make_traffic

    town = make_town()
    there = drive(town.lap_one, spacing_m=3.0, left_m=-1.2)
    back = drive(town.lap_one, spacing_m=3.0, left_m=1.2)
    n = 36
    back = Drive(back.positions[n::-1], back.yaws[n::-1] + np.pi, back.driven_m[: n + 1])
    scene = make_scene(town, paint_town(town), make_traffic(town, 1), DAY)
    camera = Camera().scaled(0.5)
    renderer, flaws = Renderer(scene, camera), Flaws(camera, 3.0, 0)
    pictures, poses = [], []
    for way in (Drive(there.positions[:n], there.yaws[:n], there.driven_m[:n]), back):
        seen = views(way, pitch_rad=CAMERA_PITCH_RAD, pitch_jitter_rad=0.004, seed=1)
        pictures += render_views(renderer, flaws, seen)
        poses += [
            OdometryPose(
                view.position, Rotation.from_matrix(view.camera_from_map.T).as_quat(), True, 0
            )
            for view in seen
        ]
    return pictures, poses, camera


@pytest.mark.parametrize('odometry', [True, False])
def test_a_lap_the_other_way_round_closes_no_loop(extractor, local, street, odometry):
    """The same street, looking the other way: no picture shows what an earlier one showed."""
    pictures, poses, camera = street
    far_behind = MappingConfig(min_travel_m=30.0)  # a car at 3 m/s sees 9 m ahead what it saw
    detector = RevisitDetector(extractor, mapping=far_behind, local=local)
    answers = [
        detector.process(
            rgb,
            10**18 + n * 10**9,
            odometry=pose if odometry else None,
            intrinsics=Intrinsics(camera.matrix),
        )
        for n, (rgb, pose) in enumerate(zip(pictures, poses, strict=True))
    ]
    assert len(detector.place_map) > 40
    detector.close()
    assert verified(answers) == []
    back = answers[len(answers) // 2 :]
    assert {answer.status for answer in back} <= {Status.REJECTED, Status.CANDIDATE}
    assert {answer.status for answer in back} >= {Status.CANDIDATE}, 'it looks alike'
    assert all(answer.reason for answer in back)
