# SPDX-License-Identifier: Apache-2.0
import dataclasses
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tiny_model import write_tiny_model
from verification.made_views import CAMERA, Places, deep_scene, looks, pose, turned_deg, view

from vpr_ros.cameras import MapCamera
from vpr_ros.errors import MapModelMismatchError, ModelError
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.map_calibration import MapCalibration
from vpr_ros.model_ref import ModelRef
from vpr_ros.odometry import OdometryPose
from vpr_ros.place_map import PlaceMap
from vpr_ros.recognizer import PlaceRecognizer, RecognizerConfig, Status
from vpr_ros.sequence_filter.config import SequenceFilterConfig
from vpr_ros.verification.features import create_feature_extractor
from vpr_ros.verification.verifier import VerifierConfig


@pytest.fixture(scope='module')
def describe(tiny_model):
    return DescriptorExtractor(tiny_model, device='cpu')


@pytest.fixture
def pictures(textured_pictures):
    return textured_pictures(12)


@pytest.fixture
def place_map(describe, pictures):
    place_map = PlaceMap(describe.info.ref)
    place_map.add(
        describe.extract_batch(pictures),
        stamps_ns=np.arange(12),
        positions=np.stack([np.arange(12.0), np.zeros(12), np.zeros(12)], axis=1),
        orientations_xyzw=np.tile([0.0, 0.0, 0.0, 1.0], (12, 1)),
    )
    return place_map


def test_a_known_place_is_a_candidate_with_its_pose(describe, place_map, pictures):
    recognition = PlaceRecognizer(describe, place_map).process(pictures[4], 77)
    assert recognition.status is Status.CANDIDATE
    assert recognition.reason == 'few_pictures: 1 of 3 pictures agree'
    assert recognition.matches[0].place_id == 4 and len(recognition.matches) == 5
    assert recognition.stamp_ns == 77
    np.testing.assert_array_equal(recognition.pose.position, [4, 0, 0])
    assert set(recognition.timings_s) == {'quality', 'extract', 'search', 'filter'}


def test_covariance_is_honest(describe, place_map, pictures):
    covariance = PlaceRecognizer(describe, place_map).process(pictures[4], 0).pose.covariance
    # recall 0.9 of the model record: 0.9 * (2 * 1 m)^2 + 0.1 * variance of 0..11 m
    assert covariance[0, 0] == pytest.approx(0.9 * 4 + 0.1 * np.var(np.arange(12)))
    assert (np.diag(covariance) > 0).all()
    np.testing.assert_array_equal(covariance, covariance.T)


def test_an_unknown_place_is_rejected_with_its_matches(describe, place_map, textured_pictures):
    stranger = textured_pictures(1, seed=99)[0]
    recognition = PlaceRecognizer(describe, place_map).process(stranger, 0)
    assert recognition.status is Status.REJECTED and recognition.pose is None
    assert recognition.reason.startswith('below_threshold: best similarity 0.')
    assert recognition.reason.endswith('is below 0.800')
    assert len(recognition.matches) == 5


def test_a_blank_picture_is_rejected_before_the_network(describe, place_map):
    recognition = PlaceRecognizer(describe, place_map).process(np.zeros((60, 80, 3), np.uint8), 0)
    assert recognition.reason.startswith('dark: ')
    assert recognition.descriptor is None and recognition.matches == ()


def test_an_empty_map_is_a_reason(describe, pictures):
    recognition = PlaceRecognizer(describe, PlaceMap(describe.info.ref)).process(pictures[0], 0)
    assert recognition.reason.startswith('map_empty: ') and recognition.descriptor is not None


def test_a_map_without_poses_gives_no_pose(describe, pictures):
    place_map = PlaceMap(describe.info.ref)
    place_map.add(describe.extract_batch(pictures), stamps_ns=np.arange(12))
    recognition = PlaceRecognizer(describe, place_map).process(pictures[0], 0)
    assert recognition.status is Status.CANDIDATE and recognition.pose is None


def test_thresholds_change_while_running(describe, place_map, pictures):
    recognizer = PlaceRecognizer(describe, place_map)
    assert recognizer.min_similarity == 0.8  # the model's own
    darker = (pictures[3] // 2 + 20).astype(np.uint8)
    recognizer.config = RecognizerConfig(min_similarity=1.0, top_k=2)
    rejected = recognizer.process(darker, 0)
    assert rejected.status is Status.REJECTED and len(rejected.matches) == 2
    recognizer.config = RecognizerConfig(min_similarity=0.5)
    assert recognizer.process(darker, 0).status is Status.CANDIDATE


def test_pictures_are_numbered_until_reset(describe, place_map, pictures):
    recognizer = PlaceRecognizer(describe, place_map)
    assert [recognizer.process(pictures[0], 0).query_id for _ in range(3)] == [0, 1, 2]
    recognizer.reset()
    assert recognizer.process(pictures[0], 0).query_id == 0


def test_a_map_of_another_model_is_refused(describe):
    with pytest.raises(MapModelMismatchError, match=r'made by model other .*not by thumbnail'):
        PlaceRecognizer(describe, PlaceMap(ModelRef('other', 'b' * 64, 192)))


def test_a_model_without_threshold_needs_one(tmp_path):
    model = write_tiny_model(tmp_path / 'm.onnx', min_similarity=None)
    describe = DescriptorExtractor(model, device='cpu')
    empty = PlaceMap(describe.info.ref)
    with pytest.raises(ModelError, match='records no threshold: set min_similarity'):
        PlaceRecognizer(describe, empty)
    recognizer = PlaceRecognizer(describe, empty, RecognizerConfig(min_similarity=0.3))
    assert recognizer.min_similarity == 0.3


def test_the_threshold_of_the_map_goes_before_the_model_s(describe, place_map):
    of_model = PlaceRecognizer(describe, place_map)
    assert of_model.min_similarity == describe.info.min_similarity
    place_map.calibration = MapCalibration(0.625, 0.99, 1.0, 0.97, 0.8, 200, 100, 'made', 'now')
    recognizer = PlaceRecognizer(describe, place_map)
    assert recognizer.min_similarity == 0.625
    recognizer.config = RecognizerConfig(min_similarity=0.5)
    assert recognizer.min_similarity == 0.5, 'what the user says goes before both'
    recognizer.config = RecognizerConfig()
    recognizer.use_map(PlaceMap(describe.info.ref))
    assert recognizer.min_similarity == describe.info.min_similarity


def test_a_calibrated_map_serves_a_model_without_threshold(tmp_path):
    model = write_tiny_model(tmp_path / 'm.onnx', min_similarity=None)
    describe = DescriptorExtractor(model, device='cpu')
    place_map = PlaceMap(describe.info.ref)
    place_map.calibration = MapCalibration(0.625, 0.99, 1.0, 0.97, 0.8, 200, 100, 'made', 'now')
    recognizer = PlaceRecognizer(describe, place_map)
    assert recognizer.min_similarity == 0.625
    with pytest.raises(ModelError, match='records no threshold'):
        recognizer.use_map(PlaceMap(describe.info.ref))
    assert recognizer.place_map is place_map and recognizer.min_similarity == 0.625


@pytest.mark.parametrize('change', [{'top_k': 0}, {'min_similarity': 1.5}, {'min_contrast': -1.0}])
def test_values_out_of_range_are_named(change):
    with pytest.raises(ValueError, match=f'{next(iter(change))} must lie between'):
        RecognizerConfig(**change)


def test_a_map_of_positions_alone_gives_a_pose_of_any_heading(describe, pictures):
    place_map = PlaceMap(describe.info.ref)
    positions = np.arange(24.0).reshape(8, 3)
    descriptors = describe.extract_batch(list(pictures[:8]))
    place_map.add(descriptors, stamps_ns=np.arange(8), positions=positions)
    pose = PlaceRecognizer(describe, place_map).process(pictures[5], 0).pose
    np.testing.assert_array_equal(pose.position, positions[5])
    np.testing.assert_array_equal(pose.orientation_xyzw, [0, 0, 0, 1])
    assert (np.diag(pose.covariance)[3:] > 1.0).all()


def test_unknown_recall_widens_the_pose(tmp_path, place_map, pictures):
    # The same descriptors under a model that never measured its recall.
    model = write_tiny_model(tmp_path / 'm.onnx', recall_at_1=None)
    unmeasured = DescriptorExtractor(model, device='cpu')
    other = PlaceMap(unmeasured.info.ref)
    other.add(
        place_map.descriptors,
        stamps_ns=place_map.places['stamp_ns'],
        positions=place_map.places['position'],
        orientations_xyzw=place_map.places['orientation_xyzw'],
    )
    wide = PlaceRecognizer(unmeasured, other).process(pictures[0], 0).pose.covariance
    assert wide[0, 0] == pytest.approx(0.5 * 4 + 0.5 * np.var(np.arange(12)))


# Time and geometry. Rows 0-3 of the map see one made scene from places 0.15 m apart, rows 4-7
# another, 8-11 a third; how a picture looks and what features it has are given separately.

SCENES = 4  # the last one is not in the map


class Seen:
    """Finds the features that were made for a picture."""

    kind = 'made'

    def __init__(self):
        self.features = {}

    def extract(self, rgb):
        return self.features[rgb.tobytes()]


class SceneKeyframes(Places):
    def neighbours(self, place):
        return [other for other in range(place // 4 * 4, place // 4 * 4 + 4) if other != place]


@pytest.fixture
def world(describe, pictures, place_map):
    """A recognizer of 12 places, and a function that makes queries for it."""
    rng = np.random.default_rng(5)
    scenes = [(deep_scene(rng), looks(rng, 400)) for _ in range(SCENES)]
    poses = [pose((0.15 * (row % 4), 0, 0)) for row in range(12)]
    keyframes = [view(rng, *scenes[row // 4], poses[row]) for row in range(12)]
    known = PlaceMap(describe.info.ref)
    known.add(
        place_map.descriptors,
        stamps_ns=np.arange(12) * S,
        positions=np.array([matrix[:3, 3] for matrix in poses]),
        orientations_xyzw=np.tile([0.0, 0, 0, 1], (12, 1)),
        cameras=np.arange(12) // 4,
    )
    seen = Seen()

    def query(like, scene, at, *, also=None):
        """A picture that looks like a row (and a little like `also`), taken in a scene."""
        mixed = pictures[like].astype(float)
        if also is not None:
            mixed = 0.56 * mixed + 0.44 * pictures[also]
        rgb = mixed.astype(np.uint8).copy()
        rgb[0, 0] = len(seen.features), 0, 0
        seen.features[rgb.tobytes()] = view(rng, *scenes[scene], at).features
        return rgb

    def make(*, verification=None, **config):
        geometry = VerifierConfig(budget_s=60.0, **(verification or {}))
        return PlaceRecognizer(
            describe,
            known,
            RecognizerConfig(verification=geometry, **config),
            local=seen,
            keyframes=SceneKeyframes(keyframes),
        )

    return SimpleNamespace(query=query, make=make, poses=poses, known=known)


S = 10**9


def test_a_verified_match_has_a_metric_pose(world):
    at = pose((0.2, 0.03, 0.1), (2, -3, 1))
    found = world.make().process(world.query(1, 0, at), S, intrinsics=CAMERA)
    assert (found.status, found.reason) == (Status.VERIFIED, '')
    row = found.matches[0].row
    true = np.linalg.inv(world.poses[row]) @ at
    relative = found.relative_pose
    assert relative.metric
    np.testing.assert_allclose(relative.translation, true[:3, 3], atol=0.03)
    assert turned_deg(relative.rotation, true[:3, :3]) < 0.5
    np.testing.assert_allclose(found.map_from_camera[:3, 3], at[:3, 3], atol=0.03)
    np.testing.assert_allclose(found.pose.position, at[:3, 3], atol=0.03)
    assert found.pose.covariance[0, 0] < 0.1**2, 'no longer that of retrieval'
    assert found.distance_m == np.linalg.norm(relative.translation)
    assert found.num_correspondences >= found.num_inliers >= 100
    assert {'features', 'verify'} < set(found.timings_s)


def test_the_verified_match_comes_first_and_the_others_stay_in_order(world):
    rgb = world.query(5, 0, pose((0.2, 0, 0)), also=1)
    alone = world.make(verification={'min_inliers': 10000}).process(rgb, S)
    assert [match.row for match in alone.matches[:2]] == [5, 1]
    found = world.make().process(rgb, S, intrinsics=CAMERA)
    assert found.status is Status.VERIFIED
    assert found.matches[0].row == 1
    rest = [match.similarity for match in found.matches[1:]]
    assert found.matches[1].row == 5
    assert rest == sorted(rest, reverse=True)
    assert len({match.row for match in found.matches}) == len(found.matches) == 5


def test_candidate_consistent_and_why_no_further(world):
    """What looks right but is another scene gets as far as time takes it."""
    recognizer = world.make()
    stages = []
    for n in range(4):
        rgb = world.query(n, 3, pose((0.15 * n, 0, 0)))  # looks like row n
        stages.append(recognizer.process(rgb, n * S, intrinsics=CAMERA))
    assert stages[0].status is Status.CANDIDATE
    assert stages[0].reason.partition(':')[0] in ('few_pictures', 'ambiguous')
    assert stages[-1].status is Status.CONSISTENT
    assert stages[-1].consistent_count >= 3
    assert stages[-1].reason.partition(':')[0] in ('few_inliers', 'low_agreement')
    assert stages[-1].num_correspondences < 60
    assert stages[-1].relative_pose is None
    assert stages[-1].map_from_camera is None
    assert stages[-1].pose is not None, 'of the place, with the covariance of retrieval'
    assert stages[-1].matches[0].probability >= 0.9


def test_a_candidate_tells_what_geometry_found(world):
    strict = world.make(verification={'max_distance_m': 0.001, 'max_distance_share': 0.0})
    found = strict.process(world.query(1, 0, pose((0.16, 0, 0))), S, intrinsics=CAMERA)
    assert found.status is Status.CANDIDATE
    assert found.reason == 'few_pictures: 1 of 3 pictures agree'
    assert found.num_correspondences >= found.num_inliers > 100


NOWHERE_NEAR = {'max_distance_m': 0.001, 'max_distance_share': 0.0}  # enough to be there


def test_where_none_is_verified_the_nearest_that_geometry_sees_comes_first(world):
    at = pose((0.4, 0.02, 0))
    rgb = world.query(5, 0, at, also=1)
    config = {'top_k': 12, 'sequence_filter': SequenceFilterConfig(mode='off')}
    vague = world.make(verification={'min_landmarks': 10000}, **config)
    alike = vague.process(rgb, S, intrinsics=CAMERA)
    assert [match.row for match in alike.matches[:2]] == [5, 1]
    assert math.isnan(alike.distance_m)
    everywhere = {'max_candidates': 12, **NOWHERE_NEAR}
    found = world.make(verification=everywhere, **config).process(rgb, S, intrinsics=CAMERA)
    assert found.status is Status.CANDIDATE
    assert found.relative_pose is None
    assert found.matches[0].row == 3, '0.05 m away; 2 is 0.1 m, 1 is 0.25 m away'
    assert found.distance_m == pytest.approx(np.hypot(0.05, 0.02), abs=0.02)
    rest = [match.row for match in alike.matches if match.row != 3]
    assert [match.row for match in found.matches[1:]] == rest
    np.testing.assert_allclose(found.pose.position, world.poses[3][:3, 3])


def test_what_the_pictures_before_expect_stays_before_what_is_seen_from_afar(world, describe):
    scenes_apart = PlaceMap(describe.info.ref)
    scenes_apart.add(
        world.known.descriptors,
        stamps_ns=np.arange(12) * S,
        positions=[(50.0 * (row // 4) + 0.15 * (row % 4), 0, 0) for row in range(12)],
    )
    recognizer = world.make(verification={'max_candidates': 12, **NOWHERE_NEAR}, top_k=12)
    recognizer.use_map(scenes_apart, recognizer._keyframes)
    for n in range(3):
        recognizer.process(world.query(n, 3, pose((0.15 * n, 0, 0))), n * S, intrinsics=CAMERA)
    rgb = world.query(3, 2, world.poses[9])
    found = recognizer.process(rgb, 3 * S, intrinsics=CAMERA)
    assert (found.status, found.matches[0].row) == (Status.CONSISTENT, 3)
    assert math.isnan(found.distance_m)
    recognizer.reset()
    alone = recognizer.process(rgb, 4 * S, intrinsics=CAMERA)
    assert (alone.status, alone.matches[0].row) == (Status.CANDIDATE, 9)


def test_without_keyframes_consistent_says_so(describe, place_map, pictures):
    recognizer = PlaceRecognizer(describe, place_map, local=create_feature_extractor())
    found = [recognizer.process(pictures[n], n * S) for n in range(4)][-1]
    assert found.status is Status.CONSISTENT
    assert found.reason == (
        'no_keyframes: the map keeps no local features, so nothing can be verified'
    )
    assert 'features' not in found.timings_s, 'nothing to compare them with'


def test_without_intrinsics_a_verified_match_has_no_relative_pose(world):
    found = world.make().process(world.query(1, 0, pose((0.16, 0, 0))), S)
    assert found.status is Status.VERIFIED
    assert found.relative_pose is None
    assert found.map_from_camera is None


def test_a_camera_that_only_turned_has_any_direction(world):
    """As of keyframes without poses."""
    recognizer = world.make()
    recognizer.use_map(world.known, WithoutPoses(recognizer._keyframes))
    at = pose((0.15, 0, 0), (0, 8, 0))
    found = recognizer.process(world.query(1, 0, at), S, intrinsics=CAMERA)
    assert found.status is Status.VERIFIED
    if found.matches[0].row == 1:
        assert not found.relative_pose.metric
        assert np.linalg.norm(found.relative_pose.translation) == pytest.approx(1.0)
        assert turned_deg(found.relative_pose.rotation, at[:3, :3]) < 1.0
    covariance = found.relative_pose.covariance
    assert np.linalg.eigvalsh(covariance).min() > -1e-12


def test_without_metres_the_pictures_before_may_object(world, describe):
    """Along a map in the order of a drive, what is far away looks the same for many places."""
    places = PlaceMap(describe.info.ref)
    places.add(world.known.descriptors, stamps_ns=np.arange(12) * S)

    def make(**config):
        recognizer = world.make(verification={'max_candidates': 12}, top_k=12, **config)
        recognizer.use_map(places, WithoutPoses(recognizer._keyframes))
        return recognizer

    recognizer = make()
    for n in range(4):
        answer = recognizer.process(world.query(n, 3, pose((0.15 * n, 0, 0))), n * S)
    assert (answer.status, answer.matches[0].row) == (Status.CONSISTENT, 3)
    rgb = world.query(4, 2, world.poses[9])
    found = recognizer.process(rgb, 4 * S)
    assert found.status is Status.CONSISTENT
    assert found.matches[0].row == 4
    assert found.reason.startswith('elsewhere: place 9 fits, but has probability 0.0')
    alone = make(sequence_filter=SequenceFilterConfig(mode='off')).process(rgb, 4 * S)
    assert (alone.status, alone.matches[0].row) == (Status.VERIFIED, 9)


def test_without_intrinsics_positions_tell_the_place_itself(world):
    """The first picture looks like two places, the next ones say which."""
    recognizer = world.make(verification={'max_candidates': 12}, top_k=12)
    looks_like = (0, 9), (1, None), (2, None), (3, None)
    found = [
        recognizer.process(world.query(n, 0, world.poses[n], also=also), n * S)
        for n, also in looks_like
    ]
    assert found[0].status is Status.CANDIDATE
    assert re.match(r'ambiguous: place 0 fits, but has probability 0\.\d\d', found[0].reason)
    assert (found[-1].status, found[-1].matches[0].row) == (Status.VERIFIED, 3)
    assert found[-1].relative_pose is None


def test_of_places_built_alike_geometry_alone_chooses_none(world, describe):
    """Places 4 to 7 and 36 to 39 are corridors of two floors, which look the same."""
    keyframes = world.make()._keyframes
    row_of = [*range(12), *[0] * 20, *range(8, 12), *range(4, 8)]
    places = PlaceMap(describe.info.ref)
    places.add(world.known.descriptors[row_of], stamps_ns=np.arange(len(row_of)) * S)

    def driven(*rows):
        recognizer = world.make(verification={'max_candidates': 12}, top_k=12)
        recognizer.use_map(places, WithoutPoses(keyframes, row_of))
        for n, row in enumerate(rows):
            rgb = world.query(row, row // 4, world.poses[row])
            answer = recognizer.process(rgb, n * S)
        return answer

    found = driven(5)
    assert (found.status, found.reason.partition(':')[0]) == (Status.CANDIDATE, 'ambiguous')
    assert {match.row for match in found.matches[:2]} == {5, 37}
    assert [(f.status, f.matches[0].row) for f in (driven(2, 3, 4, 5), driven(10, 11, 4, 5))] == [
        (Status.VERIFIED, 5),
        (Status.VERIFIED, 37),
    ]


class WithoutPoses:
    """Keyframes whose poses nobody knows; `row_of`: the source's for each place."""

    def __init__(self, source, row_of=range(12)):
        self._source = source
        self._row_of = row_of

    def keyframe(self, place):
        return dataclasses.replace(self._source.keyframe(self._row_of[place]), pose=None)

    def neighbours(self, place):
        return []

    def landmarks(self, place):
        return None


def test_cameras_match_their_own_places_only_if_so_configured(world):
    at = pose((0.2, 0, 0))
    rgb = world.query(1, 0, at)  # of camera 0's places
    across = world.make().process(rgb, S, camera=1, intrinsics=CAMERA)
    assert across.status is Status.VERIFIED
    assert across.relative_pose.metric
    assert across.pose is None, 'how the other camera is mounted is not known'
    mounting = pose((0.1, 0.0, 0.3), (0, 90, 0))
    world.known.cameras = (
        MapCamera(1, None, (*mounting[:3, 3], *Rotation.from_matrix(mounting[:3, :3]).as_quat())),
    )
    across = world.make().process(rgb, S, camera=1, intrinsics=CAMERA)
    body = at @ np.linalg.inv(mounting)
    np.testing.assert_allclose(across.pose.position, body[:3, 3], atol=0.03)
    found = Rotation.from_quat(across.pose.orientation_xyzw).as_matrix()
    assert turned_deg(found, body[:3, :3]) < 0.5
    assert across.pose.covariance[0, 0] < 0.1**2
    world.known.cameras = ()
    recognizer = world.make(match_across_cameras=False)
    own = recognizer.process(rgb, S, camera=1, intrinsics=CAMERA)
    assert own.status is Status.REJECTED
    assert {match.camera for match in own.matches} == {1}
    assert own.reason.startswith('below_threshold')
    none = recognizer.process(rgb, S, camera=9)
    assert (none.status, none.matches) == (Status.REJECTED, ())
    assert none.reason == (
        'camera_unmapped: the map holds no places that camera 9 saw, and match_across_cameras '
        'is off'
    )
    assert recognizer.process(rgb, 2 * S, camera=0, intrinsics=CAMERA).status is Status.VERIFIED


def test_each_camera_has_a_time_of_its_own(world):
    recognizer = world.make()
    counts = []
    for n in range(4):
        for camera in (0, 1):
            rgb = world.query(4 * camera + n, 2, pose((0.15 * n, 0, 0)))
            found = recognizer.process(rgb, n * S + camera, camera=camera)
            counts.append(found.consistent_count)
    assert counts[-2:] == [4, 4]


def test_the_filter_is_told_of_odometry(world):
    """Standing by odometry: the count of pictures that agree does not grow."""
    recognizer = world.make()
    at = OdometryPose(np.zeros(3), np.array([0.0, 0, 0, 1]), True, 0)
    counts = [
        recognizer.process(world.query(1, 2, pose()), n * S, odometry=at).consistent_count
        for n in range(5)
    ]
    assert counts == [1] * 5
    assert recognizer._motion_to(Moved(at, 3.0)).distance_m == 3.0
    assert recognizer._motion_to(Moved(dataclasses.replace(at, drive=1), 9.0)) is None


def Moved(at, x):  # noqa: N802
    moved = dataclasses.replace(at, position=np.array([x, 0.0, 0.0]))
    return SimpleNamespace(camera=0, odometry=moved)


def test_odometry_of_a_late_picture_is_no_part_of_the_way(world):
    recognizer = world.make()
    at = OdometryPose(np.zeros(3), np.array([0.0, 0, 0, 1]), True, 0)
    before = dataclasses.replace(at, position=np.array([-3.0, 0.0, 0.0]))
    recognizer.process(world.query(1, 2, pose()), S, odometry=at)
    recognizer.process(world.query(1, 2, pose()), S - S // 20, odometry=before)
    assert recognizer._motion_to(Moved(at, 3.0)).distance_m == 3.0


def test_a_time_gap_is_logged(world, caplog):
    recognizer = world.make()
    recognizer.process(world.query(1, 0, pose()), S)
    with caplog.at_level('WARNING', 'vpr_ros'):
        recognizer.process(world.query(1, 0, pose()), 100 * S)
    assert caplog.messages == [
        'camera 0: time_gap: no picture for 99.0 s: forgetting what earlier pictures told of the '
        'place'
    ]


def test_a_picture_beside_the_stream_leaves_no_trace(world):
    recognizer = world.make()
    alone = recognizer.recognize_alone(world.query(1, 0, pose((0.15, 0, 0))), 7)
    assert alone.status is Status.VERIFIED
    other = recognizer.recognize_alone(world.query(1, 3, pose()), 7)
    assert other.status is Status.CANDIDATE
    assert other.reason == 'filter_off: pictures are judged one by one'
    first = recognizer.process(world.query(1, 3, pose()), S)
    assert (first.query_id, first.consistent_count) == (0, 1)


def test_places_that_are_added_are_found_and_widen_the_pose(world, describe, pictures):
    recognizer = world.make()
    before = recognizer.process(world.query(1, 2, pose()), S).pose.covariance[0, 0]
    new = np.full((60, 80, 3), 30, np.uint8)
    new[20:, 30:] = (200, 60, 90)
    world.known.add(
        describe.extract(new)[np.newaxis],
        stamps_ns=np.array([99]),
        positions=np.array([[500.0, 0, 0]]),
    )
    recognizer.local.features[new.tobytes()] = recognizer._keyframes.keyframes[11].features
    recognizer._keyframes.keyframes.append(None)
    found = recognizer.process(new, 2 * S)
    assert found.matches[0].row == 12
    assert found.pose.covariance[0, 0] > 10 * before
