# SPDX-License-Identifier: Apache-2.0
"""Places to learn from: each is a set of pictures that show the same spot.

Three layouts are read: GSV-Cities, a folder a fixed camera, and a folder a walked clip.
"""

from __future__ import annotations

import csv
import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpr_ros.picture_folder import picture_files

EARTH_RADIUS_M = 6_371_000.0

logger = logging.getLogger(__name__)

# GSV-Cities gives each city its own range of place_id; file names hold the rest.
IDS_PER_CITY = 100_000


@dataclass(frozen=True)
class Place:
    """One place.

    Attributes:
        name: Unique name, for people and for splits.
        pictures: Files of its views, at least one.
        source: Kind of source; a training batch draws a fixed number of places from each.
        position: Latitude and longitude, degrees; NaN where it is not known.
        walk: Name of the clip that it was cut from; empty where there is none.
        step: Number of its first picture in that clip.
    """

    name: str
    pictures: tuple[Path, ...]
    source: str
    position: tuple[float, float] = (math.nan, math.nan)
    walk: str = ''
    step: int = 0


def gsv_cities(root: Path, cities: Sequence[str] = (), *, min_pictures: int = 2) -> list[Place]:
    """Read places of the GSV-Cities layout (`Dataframes/CITY.csv`, `Images/CITY/*.jpg`).

    Args:
        root: Folder that holds `Dataframes` and `Images`.
        cities: Names of the cities; all that have a dataframe when empty.
        min_pictures: Places with fewer pictures on disk are left out.

    Raises:
        FileNotFoundError: No dataframe, or not one of its pictures, is there.
    """
    frames = Path(root) / 'Dataframes'
    names = list(cities) or sorted(path.stem for path in frames.glob('*.csv'))
    if not names:
        raise FileNotFoundError(f'no Dataframes/*.csv in {root}: not a GSV-Cities folder')
    places = []
    for name in names:
        places += _read_city(Path(root), name, min_pictures)
    return places


def _read_city(root: Path, city: str, min_pictures: int) -> list[Place]:
    """Read one city; pictures that the table names and the disk lacks are counted and named."""
    folder = root / 'Images' / city
    found = {_identity(path.stem, city): path for path in sorted(folder.glob(f'{city}_*'))}
    pictures: dict[int, list[Path]] = defaultdict(list)
    positions: dict[int, tuple[float, float]] = {}
    missing = []
    # File names hold lat and lon as texts that a parsed float does not print back: made from the
    # table they would name files that do not exist. Place, heading and panorama find them.
    with (root / 'Dataframes' / f'{city}.csv').open(newline='') as table:
        for row in csv.DictReader(table):
            place_id = int(row['place_id'])
            key = (place_id % IDS_PER_CITY, int(row['northdeg']), row['panoid'])
            if key in found:
                pictures[place_id].append(found[key])
                positions[place_id] = float(row['lat']), float(row['lon'])
            else:
                missing.append('_'.join(row.values()))
    if not pictures:
        raise FileNotFoundError(f'{folder} has none of the {len(missing)} pictures of {city}.csv')
    if missing:
        logger.warning(
            '%s: %d of the pictures in the table are not in %s, the first is %s',
            city, len(missing), folder, missing[0],
        )  # fmt: skip
    return [
        Place(f'{city}/{place_id}', tuple(files), 'gsv', positions[place_id])
        for place_id, files in sorted(pictures.items())
        if len(files) >= min_pictures
    ]


def _identity(stem: str, city: str) -> tuple[int, int, str]:
    """Return (place, northdeg, panoid) of `City_place_year_month_northdeg_lat_lon_panoid`."""
    place, _, _, northdeg, _, _, panoid = stem.removeprefix(f'{city}_').split('_', 6)
    return int(place), int(northdeg), panoid


def fixed_cameras(root: Path) -> list[Place]:
    """Read a folder a camera; every picture of a camera shows its one place.

    Raises:
        FileNotFoundError: There is no folder with pictures.
    """
    return [
        Place(folder.name, tuple(files), source='camera')
        for folder, files in _picture_folders(root)
    ]


def walked_clips(root: Path) -> list[tuple[Path, ...]]:
    """Read a folder a clip: pictures in the order of a walk.

    Raises:
        FileNotFoundError: There is no folder with pictures.
    """
    return [tuple(files) for _, files in _picture_folders(root)]


def cut_clip(clip: Sequence[Path], *, views: int = 2) -> list[Place]:
    """Make a place of each `views` consecutive pictures of a clip; places overlap."""
    walk = clip[0].parent.name
    return [
        Place(f'{walk}/{start}', tuple(clip[start : start + views]), 'clip', walk=walk, step=start)
        for start in range(len(clip) - views + 1)
    ]


def positions_m(places: Sequence[Place]) -> np.ndarray:
    """Return (N, 3) metres from the centre of the Earth; NaN where it is not known."""
    latitude, longitude = np.radians([place.position for place in places]).T
    across = np.cos(latitude)
    unit = (across * np.cos(longitude), across * np.sin(longitude), np.sin(latitude))
    return EARTH_RADIUS_M * np.stack(unit, axis=1)


def _picture_folders(root: Path) -> list[tuple[Path, list[Path]]]:
    root = Path(root)
    folders = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    found = [(folder, files) for folder in folders if (files := picture_files(folder))]
    if not found:
        raise FileNotFoundError(f'{root} holds no folder with pictures')
    return found
