# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from tiny_model import write_tiny_model

from vpr_ros.errors import MapModelMismatchError, ModelError
from vpr_ros.extractor import DescriptorExtractor
from vpr_ros.model_ref import ModelRef
from vpr_ros.place_map import PlaceMap
from vpr_ros.recognizer import PlaceRecognizer, RecognizerConfig, Status


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
    assert recognition.status is Status.CANDIDATE and recognition.reason == ''
    assert recognition.matches[0].place_id == 4 and len(recognition.matches) == 5
    assert recognition.stamp_ns == 77
    np.testing.assert_array_equal(recognition.pose.position, [4, 0, 0])
    assert set(recognition.timings_s) == {'quality', 'extract', 'search'}


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
