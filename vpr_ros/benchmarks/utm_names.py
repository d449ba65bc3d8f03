# SPDX-License-Identifier: Apache-2.0
"""Sets whose file names hold positions, `@UTM_east@UTM_north@...@.jpg`.

The convention of VPR-datasets-downloader: Tokyo 24/7, SF-XL and most others can be had in it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vpr_ros.benchmarks.assembly import retrieval_set, rows_within, subfolder
from vpr_ros.benchmarks.retrieval_set import RetrievalSet
from vpr_ros.errors import SourceError
from vpr_ros.picture_folder import PICTURE_SUFFIXES

RADIUS_M = 25.0


def read_utm_names(root: Path, *, queries: str, radius_m: float = RADIUS_M) -> RetrievalSet:
    """Read database/ and a folder of queries, subfolders included.

    Args:
        root: Folder that holds both.
        queries: Name of the folder of queries.
        radius_m: Largest distance of a hit, metres.

    Raises:
        FileNotFoundError: A folder is not there.
        SourceError: A name without a position, or no pictures.
    """
    folders = subfolder(root, 'database'), subfolder(root, queries)
    pictures = [_pictures(folder) for folder in folders]
    references_m, queries_m = (
        _positions(files, folder) for files, folder in zip(pictures, folders, strict=True)
    )
    return retrieval_set(
        f'a reference within {radius_m:g} m of the query by the UTM positions in the file names',
        references=pictures[0],
        queries=pictures[1],
        truth=rows_within(
            radius_m, references_m=references_m, queries_m=queries_m, source=Path(root)
        ),
        source=Path(root),
    )


def _pictures(folder: Path) -> list[Path]:
    found = (p for p in folder.rglob('*') if p.suffix.lower() in PICTURE_SUFFIXES)
    files = sorted(p for p in found if not p.name.startswith('.'))
    if not files:
        raise SourceError(
            f'{folder} holds no pictures ({", ".join(PICTURE_SUFFIXES)}); unpack them'
        )
    return files


def _positions(files: list[Path], folder: Path) -> np.ndarray:
    """Return (N, 2) metres east and north."""
    positions = [_position(file.name) for file in files]
    unknown = [file for file, found in zip(files, positions, strict=True) if found is None]
    if unknown:
        raise SourceError(
            f'{len(unknown)} of the {len(files)} pictures in {folder} are not named '
            f'@UTM_east@UTM_north@..., the first is {unknown[0].name}; rename or remove them'
        )
    return np.array(positions, np.float64)


def _position(name: str) -> tuple[float, float] | None:
    try:
        _, east, north, _ = name.split('@', 3)
        return float(east), float(north)
    except ValueError:
        return None
