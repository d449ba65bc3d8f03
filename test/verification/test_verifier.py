# SPDX-License-Identifier: Apache-2.0
import dataclasses
import time

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from verification.made_views import CAMERA, Places, deep_scene, looks, pose, turned_deg, view

from vpr_ros.verification.local_features import LocalFeatures
from vpr_ros.verification.metric import Keyframe, Landmarks, triangulate
from vpr_ros.verification.neighbours import neighbours_along_drive
from vpr_ros.verification.verifier import GeometricVerifier, VerifierConfig, landmarks_of

MAP_POSES = [pose((0.15 * i, 0, 0)) for i in range(4)]
NINETY_FIVE_PERCENT = 7.815  # of chi squared with three degrees of freedom
QUERY = pose((0.2, 0.05, 0.1), (2, 5, -3))
UNHURRIED = VerifierConfig(budget_s=60.0)


def made_map(rng, *, points=None, known=True, camera=CAMERA):
    points = deep_scene(rng) if points is None else points
    descriptors = looks(rng, len(points))
    keyframes = [view(rng, points, descriptors, p, known=known, camera=camera) for p in MAP_POSES]
    return Places(keyframes), points, descriptors


def code(result):
    return result.reason.partition(':')[0]


def test_triangulated_points_are_where_they_are():
    rng = np.random.default_rng(0)
    places, points, descriptors = made_map(rng)
    landmarks = triangulate(
        places.keyframes[0],
        places.keyframes[1:],
        max_ratio=0.8,
        min_cosine=0.82,
        max_error_px=2.0,
        max_depth_error=0.15,
    )
    assert len(landmarks.rows) > 100
    row_of = {look.tobytes(): i for i, look in enumerate(descriptors)}
    looked = places.keyframes[0].features.descriptors[landmarks.rows]
    truth = points[[row_of[look.tobytes()] for look in looked]]
    relative = np.abs(landmarks.points[:, 2] / truth[:, 2] - 1)
    assert np.median(relative) < 0.02
    assert np.mean(relative < 2 * landmarks.depth_error) > 0.9


def test_a_standing_camera_gives_no_depth():
    rng = np.random.default_rng(1)
    points = deep_scene(rng)
    descriptors = looks(rng, len(points))
    same = [view(rng, points, descriptors, pose()) for _ in range(3)]
    landmarks = triangulate(
        same[0], same[1:], max_ratio=0.8, min_cosine=0.82, max_error_px=2.0, max_depth_error=0.15
    )
    assert len(landmarks.rows) < 0.05 * len(same[0].features)


def test_metric_pose_is_right_and_its_covariance_too():
    exact = VerifierConfig(map_position_error_m=0.0, map_rotation_error_deg=0.0)
    metres, inside = [], []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        places, points, descriptors = made_map(rng)
        query = view(rng, points, descriptors, QUERY)
        (result,) = GeometricVerifier(places, exact).verify(query.features, [0], camera=CAMERA)
        assert result.is_verified, result.reason
        assert result.metric
        assert turned_deg(result.rotation, QUERY[:3, :3]) < 1
        error = result.translation - QUERY[:3, 3]
        metres.append(np.linalg.norm(error))
        inside.append(
            error @ np.linalg.solve(result.covariance[:3, :3], error) < NINETY_FIVE_PERCENT
        )
    assert np.median(metres) < 0.01
    assert np.mean(inside) >= 0.85


def test_what_the_map_does_not_know_is_in_the_covariance():
    rng = np.random.default_rng(3)
    places, points, descriptors = made_map(rng)
    query = view(rng, points, descriptors, QUERY)
    config = VerifierConfig(map_position_error_m=0.1, map_rotation_error_deg=2.0)
    (result,) = GeometricVerifier(places, config).verify(query.features, [0], camera=CAMERA)
    deviations = np.sqrt(np.diag(result.covariance))
    assert (deviations[:3] >= 0.1).all()
    assert (deviations[3:] >= np.radians(2.0)).all()


def test_the_covariance_fits_a_map_that_errs_as_stated():
    """Each pose by 10 mm and 0.5 degrees: the ways between them by the defaults, root two more."""

    def erring(rng, true):
        return true @ pose(rng.normal(0, 0.010, 3), rng.normal(0, 0.5, 3))

    of_position, of_rotation = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        places, points, descriptors = made_map(rng)
        places.keyframes = [
            dataclasses.replace(keyframe, pose=erring(rng, keyframe.pose))
            for keyframe in places.keyframes
        ]
        query = view(rng, points, descriptors, QUERY)
        (result,) = GeometricVerifier(places, UNHURRIED).verify(query.features, [0], camera=CAMERA)
        assert result.is_verified, result.reason
        said = np.linalg.inv(places.keyframes[0].pose) @ erring(rng, QUERY)
        moved = said[:3, 3] - result.translation
        turned = Rotation.from_matrix(said[:3, :3] @ result.rotation.T).as_rotvec()
        of_position.append(moved @ np.linalg.solve(result.covariance[:3, :3], moved))
        of_rotation.append(turned @ np.linalg.solve(result.covariance[3:, 3:], turned))
    assert np.mean(np.less(of_position, NINETY_FIVE_PERCENT)) >= 0.85
    assert 0.85 <= np.mean(np.less(of_rotation, NINETY_FIVE_PERCENT)) <= 0.99
    assert 0.7 < np.mean(of_rotation) / 3 < 1.4, 'squared deviations, of which one is expected'


def test_verified_ones_come_first_and_strangers_are_refused():
    rng = np.random.default_rng(4)
    places, points, descriptors = made_map(rng)
    stranger = deep_scene(rng)
    places.keyframes.append(view(rng, stranger, looks(rng, len(stranger)), pose()))
    query = view(rng, points, descriptors, QUERY)
    results = GeometricVerifier(places, UNHURRIED).verify(query.features, [4, 1], camera=CAMERA)
    assert [result.place for result in results] == [1, 4]
    assert results[0].is_verified
    assert code(results[1]) == 'few_inliers'


def test_metres_come_before_a_motion_of_unknown_length():
    rng = np.random.default_rng(4)
    places, points, descriptors = made_map(rng)
    places.keyframes[1] = dataclasses.replace(places.keyframes[1], pose=None)
    query = view(rng, points, descriptors, QUERY)
    config = dataclasses.replace(UNHURRIED, enough_inliers=0)
    for order in ([1, 0], [0, 1]):
        results = GeometricVerifier(places, config).verify(query.features, order, camera=CAMERA)
        assert all(result.is_verified for result in results)
        assert [(result.place, result.metric) for result in results] == [(0, True), (1, False)]
    assert results[0].num_inliers < results[1].num_inliers


def test_one_object_does_not_carry_a_match():
    rng = np.random.default_rng(5)
    points = deep_scene(rng, 3000)
    points = points[(np.abs(points[:, :2] / points[:, 2:]) < 0.12).all(axis=1)]
    places, points, descriptors = made_map(rng, points=points)
    query = view(rng, points, descriptors, pose((0.05, 0, 0)))
    (result,) = GeometricVerifier(places).verify(query.features, [0], camera=CAMERA)
    assert result.num_inliers > 15
    assert code(result) == 'one_object'


@pytest.mark.parametrize(
    ('at', 'reason'),
    [
        (pose((0, 0, 0.7)), 'too_far'),
        (pose((0, 0, 0.48)), 'too_far'),  # within the limit, but not surely
        (pose((0.05, 0, 0), (0, 0, 35)), 'turned'),
    ],
)
def test_the_same_scene_from_elsewhere_is_another_place(at, reason):
    rng = np.random.default_rng(6)
    places, points, descriptors = made_map(rng)
    query = view(rng, points, descriptors, at)
    (result,) = GeometricVerifier(places).verify(query.features, [0], camera=CAMERA)
    assert code(result) == reason
    assert result.metric  # what was measured is told all the same
    assert result.is_seen_from_afar == (reason == 'too_far')
    assert result.distance_m == pytest.approx(np.linalg.norm(at[:3, 3]), abs=0.05)
    unlimited = VerifierConfig(max_distance_m=10.0, max_angle_deg=180.0)
    (result,) = GeometricVerifier(places, unlimited).verify(query.features, [0], camera=CAMERA)
    assert result.is_verified


def test_without_poses_the_translation_is_a_direction():
    rng = np.random.default_rng(7)
    places, points, descriptors = made_map(rng, known=False)
    query = view(rng, points, descriptors, QUERY)
    (result,) = GeometricVerifier(places).verify(query.features, [0], camera=CAMERA)
    assert result.is_verified, result.reason
    assert not result.metric
    assert np.isnan(result.distance_m)
    assert np.linalg.norm(result.translation) == pytest.approx(1)
    assert result.translation @ QUERY[:3, 3] / np.linalg.norm(QUERY[:3, 3]) > 0.95


@pytest.mark.parametrize(
    ('elsewhere', 'reason', 'how'),
    [
        (pose((0.1, 0.1, 0.8)), 'too_far', 'times as large'),
        (pose((1.6, 0, 0)), 'too_far', 'has shifted by'),
        (pose((0.05, 0, 0), (0, 0, 40)), 'turned', 'degrees from the place'),
    ],
)
def test_without_intrinsics_too_far_is_told_by_what_is_ordinary(elsewhere, reason, how):
    rng = np.random.default_rng(8)
    places, points, descriptors = made_map(rng, known=False, camera=None)
    verifier = GeometricVerifier(places, VerifierConfig(max_angle_deg=20.0))
    near = view(rng, points, descriptors, pose((0.1, 0.1, 0.05)), camera=None)
    far = view(rng, points, descriptors, elsewhere, camera=None)
    (result,) = verifier.verify(near.features, [0])
    assert result.is_verified, result.reason
    assert result.rotation is None, 'what is not known is not passed on'
    (result,) = verifier.verify(far.features, [0])
    assert code(result) == reason
    assert how in result.reason
    assert result.rotation is None


def test_poses_without_depth_verify_nothing():
    rng = np.random.default_rng(9)
    places, points, descriptors = made_map(rng)
    places.neighbours = lambda place: []
    query = view(rng, points, descriptors, QUERY)
    (result,) = GeometricVerifier(places).verify(query.features, [0], camera=CAMERA)
    assert code(result) == 'no_position'


def test_what_the_map_lacks_is_said():
    rng = np.random.default_rng(10)
    places, points, descriptors = made_map(rng)
    other = LocalFeatures('orb', np.zeros((9, 2), np.float32), np.zeros((9, 32), np.uint8), 9, 9)
    places.keyframes += [None, Keyframe(other)]
    query = view(rng, points, descriptors, QUERY)
    results = GeometricVerifier(places, UNHURRIED).verify(query.features, [4, 5], camera=CAMERA)
    assert {code(result) for result in results} == {'no_keyframe', 'other_features'}


@pytest.mark.parametrize('budget_s', [0.001, 0.08])  # spent by the first; probably by a second
def test_time_is_bounded_and_the_first_is_always_looked_at(budget_s):
    rng = np.random.default_rng(11)
    places, points, descriptors = made_map(rng)
    load = places.keyframe

    def slow(place):
        time.sleep(0.05)
        return load(place)

    places.keyframe = slow
    places.neighbours = lambda place: []
    query = view(rng, points, descriptors, QUERY)
    verifier = GeometricVerifier(places, VerifierConfig(budget_s=budget_s))
    start = time.perf_counter()
    results = verifier.verify(query.features, [0, 1, 2, 3], camera=CAMERA)
    assert time.perf_counter() - start < 5
    assert [code(result) for result in results[1:]] == ['out_of_time'] * 3
    assert results[0].place == 0


def test_no_more_candidates_than_asked():
    rng = np.random.default_rng(12)
    places, points, descriptors = made_map(rng)
    query = view(rng, points, descriptors, QUERY)
    config = VerifierConfig(max_candidates=2, budget_s=60.0, enough_inliers=0)
    results = GeometricVerifier(places, config).verify(query.features, [0, 1, 2], camera=CAMERA)
    assert [code(result) for result in results] == ['', '', 'out_of_time']


def test_what_is_beyond_doubt_ends_the_search():
    rng = np.random.default_rng(15)
    places, points, descriptors = made_map(rng)
    query = view(rng, points, descriptors, QUERY)
    few = VerifierConfig(budget_s=60.0, enough_inliers=10000)
    for config, expected in ((VerifierConfig(budget_s=60.0), 'not_needed'), (few, '')):
        verifier = GeometricVerifier(places, config)
        results = verifier.verify(query.features, [0, 1], camera=CAMERA)
        assert [code(result) for result in results] == ['', expected]


def test_the_pictures_alone_are_asked_where_the_landmarks_leave_a_doubt():
    rng = np.random.default_rng(21)
    places, points, descriptors = made_map(rng)
    query = view(rng, points, descriptors, QUERY).features
    shifted = query.keypoints.copy()
    shifted[: int(0.3 * len(shifted))] += (20, 20)
    doubtful = dataclasses.replace(query, keypoints=shifted)
    (clear,) = GeometricVerifier(places).verify(query, [0], camera=CAMERA)
    (asked,) = GeometricVerifier(places).verify(doubtful, [0], camera=CAMERA)
    assert clear.is_verified and clear.two_view.covariance is None
    assert asked.is_verified and asked.two_view.covariance is not None
    assert asked.two_view.num_inliers < 0.8 * asked.num_correspondences


def test_without_metres_the_best_of_all_is_looked_for():
    rng = np.random.default_rng(20)
    places, points, descriptors = made_map(rng, known=False)
    query = view(rng, points, descriptors, QUERY).features
    config = VerifierConfig(budget_s=60.0, enough_inliers=10)
    results = GeometricVerifier(places, config).verify(query, [0, 1], camera=CAMERA)
    assert 'not_needed' not in [code(result) for result in results]


def test_features_too_few_to_agree_are_not_looked_at():
    rng = np.random.default_rng(16)
    places, points, descriptors = made_map(rng)
    query = view(rng, points[:14], descriptors[:14], QUERY)
    (result,) = GeometricVerifier(places).verify(query.features, [0], camera=CAMERA)
    assert code(result) == 'few_inliers'
    assert 0 < result.num_correspondences < 15
    assert result.two_view is None


def test_more_learned_features_must_agree():
    rng = np.random.default_rng(17)
    places, points, descriptors = made_map(rng, known=False, camera=None)
    names = {'made': '', 'xfeat': 'few_inliers'}
    for kind, expected in names.items():
        keyframe = places.keyframes[0].features
        places.keyframes[0] = Keyframe(dataclasses.replace(keyframe, kind=kind))
        query = view(rng, points, descriptors, pose((0.05, 0, 0)), camera=None).features
        query = dataclasses.replace(query, kind=kind)
        config = VerifierConfig(min_learned_inliers=1000)
        (result,) = GeometricVerifier(places, config).verify(query, [0])
        assert code(result) == expected


def test_kept_landmarks_serve_as_triangulated_ones_do():
    rng = np.random.default_rng(18)
    places, points, descriptors = made_map(rng)
    query = view(rng, points, descriptors, QUERY).features
    (made,) = GeometricVerifier(places).verify(query, [0], camera=CAMERA)
    assert places.loads == [0, 1, 2, 3]
    kept = {0: landmarks_of(0, places)}
    places.landmarks = kept.get
    places.loads.clear()
    (found,) = GeometricVerifier(places).verify(query, [0], camera=CAMERA)
    assert places.loads == [0]  # the neighbours are not needed
    assert found.is_verified
    assert np.allclose(found.translation, made.translation, atol=1e-9)
    assert np.allclose(found.covariance, made.covariance, atol=1e-9)
    kept[0] = Landmarks(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0), 0.0)
    (found,) = GeometricVerifier(places).verify(query, [0], camera=CAMERA)
    assert code(found) == 'no_position'  # that none could be made is kept, too


def test_landmarks_need_a_pose_and_intrinsics():
    rng = np.random.default_rng(19)
    assert landmarks_of(0, made_map(rng, known=False)[0]) is None
    assert landmarks_of(0, made_map(rng, camera=None)[0]) is None
    places, _, _ = made_map(rng)
    places.keyframes[1:] = [None] * 3
    assert len(landmarks_of(0, places).rows) == 0


def test_keyframes_are_kept_until_others_push_them_out():
    rng = np.random.default_rng(13)
    places, points, descriptors = made_map(rng)
    places.neighbours = lambda place: []
    query = view(rng, points, descriptors, QUERY).features
    verifier = GeometricVerifier(places, VerifierConfig(cache_size=2))
    for place in (0, 0, 1, 0, 2, 0, 1):
        verifier.verify(query, [place], camera=CAMERA)
    assert places.loads == [0, 1, 2, 1]
    verifier.config = VerifierConfig(cache_size=2)
    verifier.verify(query, [0], camera=CAMERA)
    assert places.loads[-1] == 0


def test_nothing_to_verify_is_nothing():
    rng = np.random.default_rng(14)
    places, points, descriptors = made_map(rng)
    query = view(rng, points, descriptors, QUERY).features
    assert GeometricVerifier(places).verify(query, []) == []


@pytest.mark.parametrize('field', dataclasses.fields(VerifierConfig), ids=lambda field: field.name)
def test_every_parameter_is_described_and_bounded(field):
    assert field.metadata['description']
    low, high = field.metadata['range']
    assert low <= field.default <= high
    with pytest.raises(ValueError, match=field.name):
        VerifierConfig(**{field.name: high + 1})


def test_a_pose_that_is_none_is_refused():
    features = LocalFeatures(
        'orb', np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8), 9, 9
    )
    with pytest.raises(ValueError, match='4x4'):
        Keyframe(features, CAMERA, np.full((4, 4), np.nan))
    with pytest.raises(ValueError, match='orthonormal'):
        Keyframe(features, CAMERA, np.diag([2.0, 1, 1, 1]))


def test_neighbours_lie_along_the_drive_and_look_the_same_way():
    poses = np.array([pose((0.02 * i, 0, 0), (0, 2 * i, 0)) for i in range(60)])
    poses[34] = np.nan
    found = neighbours_along_drive(30, poses)
    assert {26, 38, 22} <= set(found)
    assert 34 not in found  # no pose
    assert not {29, 31, 46} & set(found)  # too near, too near, turned by 32 degrees
    assert len(neighbours_along_drive(30, poses, limit=2)) == 2
    assert neighbours_along_drive(34, poses) == []
