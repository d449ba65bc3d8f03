# SPDX-License-Identifier: Apache-2.0
"""The town's plan, its laps, what is recorded of them and the training sets made of it."""

import csv
from itertools import combinations

import cv2
import numpy as np
import pytest

from vpr_ros.bags import Bag
from vpr_ros.demo import plan as parts
from vpr_ros.demo import record, town
from vpr_ros.demo.gsv_set import COLUMNS, file_name, make_gsv_cities
from vpr_ros.demo.renderer import Camera, Renderer
from vpr_ros.demo.route import drive_along, rounded_line
from vpr_ros.demo.sequence import Lens, make_scene, paint_town, render_views, views
from vpr_ros.demo.trials import WITHIN_DEG, WITHIN_M
from vpr_ros.evaluation.truth import PositivesByPose, Track
from vpr_ros.sources import BagSource

CAMERA = Camera().scaled(0.5)


@pytest.fixture(scope='module')
def plan():
    return town.make_town()


@pytest.fixture(scope='module')
def painted(plan):
    return paint_town(plan)


def test_the_same_seed_gives_the_same_town_and_another_another(plan):
    assert town.make_town() == plan
    assert town.make_town(1) != plan


def test_no_house_stands_on_a_street_or_in_another_house(plan):
    for house in plan.houses:
        assert not any(parts.overlaps(house.box, s.ground) for s in plan.streets)
    for first, second in combinations(plan.houses, 2):
        assert not parts.overlaps(first.box, second.box)


def test_the_trap_street_has_the_houses_of_a_mapped_one(plan):
    brick, twin = (
        {
            (h.style, h.storeys, h.colour, h.seed)
            for h in plan.houses
            if h.style == 'terrace' and near(h, name)
        }
        for name in ('Brick Lane', 'Twin Row')
    )
    assert brick
    assert brick & twin


def near(house, name):
    street = next(s for s in town.STREETS if s.name == name)
    return parts.overlaps(house.box, street.corridor(street.half_m + 9))


def test_a_drive_keeps_its_distance_from_the_line():
    line = rounded_line([(0, 0), (50, 0), (50, 40)], radius=7.0)
    drive = drive_along(line, spacing_m=1.0, left_m=1.5, sway_m=0.0, camera_height_m=1.2)
    steps = np.linalg.norm(np.diff(drive.positions, axis=0), axis=1)
    assert steps == pytest.approx(1.0, abs=0.02)
    assert drive.positions[10] == pytest.approx([10.0, 1.5, 1.2], abs=0.01)
    assert drive.positions[-1, 0] == pytest.approx(48.5, abs=0.05)  # left of north is west
    assert drive.yaws[[5, -1]] == pytest.approx([0, np.pi / 2], abs=0.02)
    assert np.linalg.norm(drive.orientations_xyzw, axis=1) == pytest.approx(1.0)


def test_most_of_lap_two_is_mapped_and_a_part_is_not(plan):
    first, second = record.make_laps(plan, spacing_m=1.5)
    places, queries = (
        Track(lap.drive.positions, lap.drive.orientations_xyzw) for lap in (first, second)
    )
    rows = PositivesByPose(queries, places, within_m=WITHIN_M, within_deg=WITHIN_DEG)
    known = np.array([len(row) > 0 for row in rows])
    assert 0.6 < known.mean() < 0.8
    assert known[:10].all()
    assert known[-10:].all()
    north = second.drive.positions[:, 1] > 80  # only the streets that lap one never saw
    assert north.any()
    assert not known[north].any()


def test_lap_two_is_shifted_sideways_by_what_is_said(plan):
    first, second = record.make_laps(plan, spacing_m=1.0)
    start = slice(5, 55)  # along Market Street
    shift = second.drive.positions[start, 1].mean() - first.drive.positions[start, 1].mean()
    assert 0.5 < shift < 1.1


def test_traffic_changes_between_laps(plan):
    first, second = (town.make_traffic(plan, lap) for lap in (1, 2))
    assert first.cars != second.cars
    assert first.people != second.people
    assert town.make_traffic(plan, 1) == first


def test_pictures_are_the_same_every_time_and_change_with_the_light(plan, painted):
    laps = record.make_laps(plan, spacing_m=1.0)
    pictures = {}
    for lap in laps:
        scene = make_scene(plan, painted, town.make_traffic(plan, lap.number), lap.light)
        places = views(lap.drive, pitch_rad=0.09, pitch_jitter_rad=0.004, seed=lap.number)[10:14]
        lens = Lens(CAMERA, lap.light.noise, lap.number)
        runs = [list(render_views(Renderer(scene, CAMERA), lens, places)) for _ in range(2)]
        assert np.array_equal(*runs)
        pictures[lap.light.name] = np.array(runs[0])
    assert pictures['day'].shape == (4, 240, 320, 3)
    assert pictures['day'].std() > 30  # something is to be seen
    day, evening = (p.reshape(-1, 3).mean(axis=0) for p in pictures.values())
    assert evening[0] / evening[2] > 1.1 * day[0] / day[2]  # a redder light


def test_a_recorded_lap_holds_pictures_calibration_odometry_and_truth(plan, painted, tmp_path):
    lap = record.make_laps(plan, spacing_m=20.0)[0]
    record.record_lap(plan, painted, lap, CAMERA, tmp_path / 'lap')
    with Bag(tmp_path / 'lap') as bag:
        assert {topic.count for topic in bag.topics.values()} == {len(lap.drive)}
        _, info = next(bag.messages(bag.topics[record.CAMERA_INFO_TOPIC]))
        assert np.array(info.k).reshape(3, 3) == pytest.approx(CAMERA.matrix)
    source = BagSource(tmp_path / 'lap')
    assert next(source.frames()).rgb.shape == (240, 320, 3)
    poses = source.poses(record.TRUTH_TOPIC)
    assert poses.trajectory.positions == pytest.approx(lap.drive.positions)
    assert poses.trajectory.stamps_ns.tolist() == lap.stamps_ns.tolist()
    odometry = source.poses(record.ODOMETRY_TOPIC).trajectory.positions
    assert odometry[0] == pytest.approx(lap.drive.positions[0])
    assert np.linalg.norm(odometry - lap.drive.positions, axis=1).max() > 0.05  # it drifts


def test_gsv_set_has_the_published_layout(tmp_path):
    table = make_gsv_cities(tmp_path, places=3, views=4, seed=2)
    assert table == tmp_path / 'Dataframes' / 'Rendertown.csv'
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row['place_id'] for row in rows] == ['0'] * 4 + ['1'] * 4 + ['2'] * 4
    pictures = {}
    for row in rows:
        path = tmp_path / 'Images' / 'Rendertown' / file_name(row)
        picture = cv2.imread(str(path))
        assert picture is not None, path
        pictures[row['place_id'], row['panoid']] = picture
    assert len({picture.tobytes() for picture in pictures.values()}) == 12
    assert len(list((tmp_path / 'Images' / 'Rendertown').iterdir())) == 12


def test_gsv_set_refuses_more_places_than_there_are(tmp_path):
    with pytest.raises(ValueError, match='places must be between 1 and'):
        make_gsv_cities(tmp_path, places=10_000, views=2)
    with pytest.raises(ValueError, match='views must be at least 1'):
        make_gsv_cities(tmp_path, places=1, views=0)
