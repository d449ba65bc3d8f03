# SPDX-License-Identifier: Apache-2.0
"""Small training sets in the layout of GSV-Cities, rendered: for tests, not for good models.

DIRECTORY/Dataframes/CITY.csv and DIRECTORY/Images/CITY/*.jpg, as published by Ali-bey et al.
(GSV-Cities, 2022): several pictures of each place, of different years and months.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vpr_ros.demo.light import DAY, EVENING
from vpr_ros.demo.plan import Town
from vpr_ros.demo.renderer import Camera, Renderer, View
from vpr_ros.demo.sequence import Lens, make_scene, paint_town
from vpr_ros.demo.town import CAMERA_HEIGHT_M, make_town, make_traffic

CITY = 'Rendertown'
COLUMNS = ('place_id', 'year', 'month', 'northdeg', 'city_id', 'lat', 'lon', 'panoid')
PLACE_PITCH_M = 16.0
_SIGHT_M = 75.0  # houses farther from every place are left out
_ORIGIN_DEG = (48.0, 11.0)  # latitude, longitude of the map frame's zero
_M_PER_DEG = 111_320.0


@dataclass(frozen=True)
class _Place:
    """A point on a street and the way to look."""

    x: float
    y: float
    yaw: float


def make_gsv_cities(directory: Path, places: int, views: int, seed: int = 0) -> Path:
    """Render a set.

    Views of a place lie within 2 m and 6 degrees of it; even ones are taken by day, odd ones in
    the evening with other cars and people.

    Args:
        directory: Where `Dataframes` and `Images` go.
        places: Number of places, 1 or more.
        views: Pictures of each place, 1 or more.
        seed: The same seed gives the same files.

    Returns:
        The CSV file.

    Raises:
        ValueError: More places than the town has, or fewer than one place or view.
    """
    town = make_town(seed)
    available = list(_places(town))
    if not 1 <= places <= len(available):
        raise ValueError(f'places must be between 1 and {len(available)}, not {places}')
    if views < 1:
        raise ValueError(f'views must be at least 1, not {views}')
    rng = np.random.default_rng((seed, 6))
    chosen = [available[int(i)] for i in np.sort(rng.permutation(len(available))[:places])]
    painted = paint_town(_near(town, chosen))
    images = directory / 'Images' / CITY
    images.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, str]] = []
    camera = Camera().scaled(0.5)
    for first, light in ((0, DAY), (1, EVENING)):
        scene = make_scene(town, painted, make_traffic(town, 10 + first), light)
        renderer, lens = Renderer(scene, camera), Lens(camera, light.noise, first)
        for view in range(first, views, 2):
            for number, place in enumerate(chosen):
                row, pose = _view_of(place, number, view, rng)
                rows.append(row)
                rgb = lens(renderer.render(pose), view * len(chosen) + number)
                _write_jpeg(images / file_name(row), rgb)
    return _write_csv(directory / 'Dataframes' / f'{CITY}.csv', rows)


def file_name(row: dict[str, str]) -> str:
    """The picture's name, made of its row as the published set does."""
    return (
        f'{row["city_id"]}_{int(row["place_id"]):07d}_{int(row["year"]):04d}_'
        f'{int(row["month"]):02d}_{int(row["northdeg"]):03d}_{row["lat"]}_{row["lon"]}_'
        f'{row["panoid"]}.jpg'
    )


def _places(town: Town) -> Iterator[_Place]:
    """Points along the right lane of every street, both ways."""
    for street in town.streets:
        yaw = float(np.arctan2(street.along[1], street.along[0]))
        for at in np.arange(6.0, street.length_m - 12.0, PLACE_PITCH_M).tolist():
            for turn, left in ((0.0, -1.5), (np.pi, 1.5)):
                x, y = street.point(float(at), left)
                yield _Place(float(x), float(y), yaw + turn)


def _near(town: Town, places: list[_Place]) -> Town:
    """The town without the houses that no place can see."""
    points = np.array([(place.x, place.y) for place in places])
    houses = tuple(
        house
        for house in town.houses
        if np.linalg.norm(points - house.box[:2], axis=1).min() < _SIGHT_M
    )
    return Town(
        town.streets, houses, town.blocks, town.props, town.lap_one, town.lap_two, town.seed
    )


def _view_of(
    place: _Place, number: int, view: int, rng: np.random.Generator
) -> tuple[dict[str, str], View]:
    x, y = rng.normal((place.x, place.y), 0.6)
    yaw = place.yaw + float(rng.uniform(-0.1, 0.1))
    row = {
        'place_id': str(number),
        'year': str(2015 + view % 8),
        'month': str(1 + (5 + 7 * view) % 12),
        'northdeg': str(round(90 - np.degrees(yaw)) % 360),
        'city_id': CITY,
        'lat': f'{_ORIGIN_DEG[0] + y / _M_PER_DEG:.7f}',
        'lon': f'{_ORIGIN_DEG[1] + x / (_M_PER_DEG * np.cos(np.radians(_ORIGIN_DEG[0]))):.7f}',
        'panoid': f'render{number:05d}v{view:02d}',
    }
    return row, View(np.array([x, y, CAMERA_HEIGHT_M]), yaw, float(rng.uniform(0.04, 0.14)))


def _write_jpeg(path: Path, rgb: np.ndarray) -> None:
    _, jpeg = cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    path.write_bytes(jpeg.tobytes())


def _write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: (int(row['place_id']), row['panoid'])))
    return path
