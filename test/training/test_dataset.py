# SPDX-License-Identifier: Apache-2.0
import dataclasses
import itertools

import cv2
import numpy as np
import pytest
import torch

from training.augment import augment, change_viewpoint, make_night, random_window
from training.dataset import STEPS_APART, MixedBatches, PlaceDataset
from training.places import EARTH_RADIUS_M, Place, gsv_cities
from vpr_ros.picture_folder import read_picture


@pytest.fixture
def places(rendered_gsv):
    return gsv_cities(rendered_gsv)


def dataset(places, **changes):
    settings = {'views': 4, 'size': (48, 64), 'night': 0.5, 'viewpoint': 1.0, 'seed': 1}
    return PlaceDataset(places, **(settings | changes))


def test_item_has_k_views_and_one_label(places):
    views, labels = dataset(places)[3, 0]
    assert views.shape == (4, 48, 64, 3)
    assert views.dtype == torch.uint8
    assert labels.tolist() in ([6] * 4, [7] * 4)
    assert len({view.numpy().tobytes() for view in views}) == 4


def test_an_item_is_decided_by_its_key(places):
    one, other = dataset(places), dataset(places)
    assert torch.equal(one[2, 5][0], other[2, 5][0])
    assert not torch.equal(one[2, 5][0], one[2, 6][0])


def test_a_mirrored_place_is_another_place(places):
    labels = {int(dataset(places)[2, draw][1][0]) for draw in range(20)}
    assert labels == {4, 5}


def test_a_batch_is_mirrored_as_a_whole(places):
    for draw in range(6):
        sides = {int(dataset(places)[index, draw][1][0]) % 2 for index in range(len(places))}
        assert len(sides) == 1


def test_views_of_a_mirrored_place_are_all_mirrored(tmp_path):
    dark_left = np.full((60, 80, 3), 30, np.uint8)
    dark_left[:, 40:] = 200
    cv2.imwrite(str(tmp_path / 'dark_left.png'), dark_left)
    place = Place('half', (tmp_path / 'dark_left.png',), source='gsv')
    for draw in range(8):
        views, labels = dataset([place], night=0.0, viewpoint=0.2)[0, draw]
        halves = views.float().mean(dim=(1, 3)).split(32, dim=1)
        dark_right = halves[0].mean(dim=1) > halves[1].mean(dim=1)
        assert dark_right.tolist() == [bool(label % 2) for label in labels]


def test_each_draw_of_a_fixed_camera_is_a_place_of_its_own(places):
    cameras = [dataclasses.replace(place, source='camera') for place in places]
    keys = [(index, draw) for index in (0, 2) for draw in (0, 1, 2)]
    labels = [int(dataset(cameras)[key][1][0]) for key in keys]
    assert len(set(labels)) == 6
    assert max(labels) < 0


def batches(places, per_source, *, count, **changes):
    """The indices of the first batches."""
    settings = {'min_distance_m': 0, 'neighbours': 1, 'seed': 0} | changes
    drawn = itertools.islice(MixedBatches(places, per_source, **settings), count)
    return [[index for index, _ in batch] for batch in drawn]


def in_a_row(places, metres):
    """The places along a meridian."""
    step = np.degrees(metres / EARTH_RADIUS_M)
    return [dataclasses.replace(p, position=(i * step, 0.0)) for i, p in enumerate(places)]


def test_a_batch_has_its_share_of_each_source_and_no_place_twice(places):
    mixed = [
        dataclasses.replace(p, source='clip' if i < 5 else 'gsv') for i, p in enumerate(places)
    ]
    for indices in batches(mixed, {'gsv': 4, 'clip': 2}, count=5):
        assert len(set(indices)) == 6
        assert sum(index < 5 for index in indices) == 2


def test_batches_go_on_from_a_step(places):
    first = batches(places, {'gsv': 3}, count=5)
    assert first[3:] == batches(places, {'gsv': 3}, count=2, start=3)


def test_places_of_a_batch_lie_apart(places):
    row = in_a_row(places, 10.0)
    for indices in batches(row, {'gsv': 3}, count=20, min_distance_m=25):
        assert min(np.diff(sorted(indices))) * 10 > 25
    with pytest.raises(ValueError, match=r'places of a batch of 6 lie 25 m .*; lower'):
        batches(row, {'gsv': 6}, count=1, min_distance_m=25)
    unknown = [dataclasses.replace(p, position=(np.nan, np.nan)) for p in places]
    assert len(batches(unknown, {'gsv': 6}, count=1, min_distance_m=25)[0]) == 6


def test_neighbours_are_drawn_together(places):
    street = in_a_row(places, 30.0)
    far = [dataclasses.replace(p, position=(p.position[0] + 1.0, 0.0)) for p in street]
    for indices in batches(street + far, {'gsv': 3}, count=20, min_distance_m=25, neighbours=3):
        assert len({index // len(street) for index in indices}) == 1
    walks = [dataclasses.replace(p, walk='ab'[i % 2], step=2 * i) for i, p in enumerate(places)]
    for indices in batches(walks, {'gsv': 4}, count=20, neighbours=2):
        assert [index % 2 for index in indices[::2]] == [index % 2 for index in indices[1::2]]


def test_places_of_a_walk_do_not_overlap_in_a_batch(places):
    walk = [dataclasses.replace(p, walk='hall', step=i) for i, p in enumerate(places)]
    for indices in batches(walk, {'gsv': 2}, count=20, neighbours=2):
        assert abs(indices[0] - indices[1]) >= STEPS_APART
    with pytest.raises(ValueError, match=r'places of a batch of 4 lie .* 4 steps of a walk apart'):
        batches(walk, {'gsv': 4}, count=1)


def test_too_few_places_for_a_batch(places):
    with pytest.raises(ValueError, match="wants 13 places of the source 'gsv', there are 12"):
        batches(places, {'gsv': 13}, count=1)


def test_augmented_view_has_shape_type_and_seed(places):
    rgb = read_picture(places[0].pictures[0])
    views = [augment(rgb, np.random.default_rng(3), size=(40, 30)) for _ in range(2)]
    assert views[0].shape == (40, 30, 3)
    assert views[0].dtype == np.uint8
    assert np.array_equal(*views)


def test_viewpoint_of_strength_zero_is_a_resize(places):
    rgb = read_picture(places[0].pictures[0])
    same = change_viewpoint(rgb, np.random.default_rng(0), size=rgb.shape[:2], strength=0.0)
    assert np.array_equal(same, rgb)


def test_night_puts_out_the_sky():
    light = np.full((64, 64, 3), 0.3, np.float32)
    light[:24] = 0.95
    ratios = []
    for seed in range(20):
        dark = make_night(light, np.random.default_rng(seed))
        ratios.append(dark[:12].mean() / dark[40:].mean())
    assert np.median(ratios) < 1.5  # 3.2 by day


def test_windows_are_within_the_picture():
    rng = np.random.default_rng(0)
    for _ in range(50):
        left, top, right, bottom = random_window(rng, smallest=0.5)
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1
        assert min(right - left, bottom - top) >= 0.5


@pytest.mark.parametrize('augmentation', ['strong', 'randaugment'])
def test_no_more_pixels_are_read_than_the_views_show(places, augmentation):
    asked = []

    def read(path, *, at_least):
        asked.append(at_least)
        return read_picture(path, at_least=at_least)

    dataset(places, read=read, augmentation=augmentation)[0, 0]
    camera = dataclasses.replace(places[0], source='camera')
    assert asked == [64] * 4, 'the whole picture is seen: the longer side of the views'
    for draw in range(8):  # a window of half the picture and more
        dataset([camera], read=read, augmentation=augmentation)[0, draw]
    assert 64 <= min(asked[4:]) <= max(asked[4:]) <= 128
    assert (max(asked) > 64) == (augmentation == 'strong')
