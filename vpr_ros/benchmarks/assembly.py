# SPDX-License-Identifier: Apache-2.0
"""What all readers share: folders, files, pictures that must be there, and the set made of them.

Every mistake is found before a network runs, and its text names the file, the value, the remedy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from vpr_ros.benchmarks.retrieval_set import RetrievalSet, pictures_of
from vpr_ros.errors import SourceError


def retrieval_set(
    hit: str,
    *,
    references: Sequence[Path],
    queries: Sequence[Path],
    truth: Sequence[np.ndarray],
    source: Path,
) -> RetrievalSet:
    """Make a set of pictures on disk; `open_benchmark` gives it its name.

    Args:
        hit: What counts as a hit, a noun with its rule.
        references: Pictures of the map.
        queries: Pictures to look up.
        truth: For each query the rows of the references that are hits.
        source: Where `truth` is from, for error texts.

    Raises:
        SourceError: No pictures, or a truth that does not fit them.
    """
    for kind, pictures in (('references', references), ('queries', queries)):
        if not pictures:
            raise SourceError(f'{source} names no {kind}; get the data set again')
    if len(truth) != len(queries):
        raise SourceError(
            f'{source} has the truth of {len(truth)} queries, there are {len(queries)}; '
            'take all its files from one release'
        )
    for query, rows in enumerate(truth):
        outside = rows[(rows < 0) | (rows >= len(references))]
        if len(outside):
            raise SourceError(
                f'{source} says that query {query} shows reference {outside[0]}, there are '
                f'{len(references)}, from 0; take all its files from one release'
            )
    return RetrievalSet(
        '', protocol(hit, truth, num_references=len(references)),
        pictures_of(references), pictures_of(queries), truth, truth,
    )  # fmt: skip


def protocol(hit: str, truth: Sequence[np.ndarray], *, num_references: int) -> str:
    """Say what counts as a hit and which queries count."""
    without = sum(len(rows) == 0 for rows in truth)
    misses = f', {without} of them, which have no such reference, as misses' if without else ''
    return (
        f'a hit is {hit}; all {len(truth)} queries among {num_references} references count{misses}'
    )


def rows_within(
    radius_m: float, *, references_m: np.ndarray, queries_m: np.ndarray, source: Path
) -> list[np.ndarray]:
    """Return for each query the rows of the references within a radius, its edge included.

    Args:
        radius_m: Metres, 0 or more.
        references_m: (N, 2) float64, metres east and north.
        queries_m: (Q, 2) float64, metres east and north.
        source: Where they are from, for error texts.

    Returns:
        Q arrays of rows, int64, ascending.

    Raises:
        SourceError: A position is not finite.
        ValueError: A negative radius.
    """
    if not radius_m >= 0:
        raise ValueError(f'radius_m must be 0 or more, not {radius_m}')
    for kind, positions in (('reference', references_m), ('query', queries_m)):
        unknown = np.flatnonzero(~np.isfinite(positions).all(axis=1))
        if len(unknown):
            raise SourceError(
                f'{source}: {len(unknown)} positions are not finite, the first is that of '
                f'{kind} {unknown[0]}: {positions[unknown[0]].tolist()}; leave it out'
            )
    found = cKDTree(references_m).query_ball_point(queries_m, radius_m, return_sorted=True)
    return [np.array(rows, np.int64) for rows in found]


def present(root: Path, names: Iterable[str], *, source: Path) -> list[Path]:
    """Return the files of the names that a list holds.

    Raises:
        FileNotFoundError: Some are not there; they are counted and the first is named.
    """
    files = [root / name for name in names]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} of the {len(files)} pictures that {source} names are not in {root}, '
            f'the first is {missing[0]}; get them, or give the folder that holds them as the root'
        )
    return files


def subfolder(root: Path, *names: str) -> Path:
    """Return the first of some folders that is there.

    Raises:
        FileNotFoundError: None is.
    """
    for name in names:
        if (root / name).is_dir():
            return root / name
    wanted = ' or '.join(f'{name}/' for name in names)
    raise FileNotFoundError(f'{root} has no {wanted}; give the folder that holds it as the root')


def find_file(name: str, root: Path, lists: Path | None, *, folder: str) -> Path | None:
    """Look for a file that comes apart from the pictures, as the field's repositories keep it.

    Args:
        name: Name of the file.
        root: The pictures' folder.
        lists: Where to look instead of there.
        folder: What the repositories call the folder of this set, inside `datasets/`.
    """
    base = lists or root
    places = (base, base / folder, base / 'datasets', base / 'datasets' / folder)
    return next((place / name for place in places if (place / name).is_file()), None)


def required_file(name: str, root: Path, lists: Path | None, *, folder: str) -> Path:
    """As `find_file`, of a file that must be there.

    Raises:
        FileNotFoundError: It is not.
    """
    found = find_file(name, root, lists, folder=folder)
    if found is None:
        base = lists or root
        raise FileNotFoundError(
            f'{name} is not in {base}, nor in its {folder}/, datasets/ and datasets/{folder}/; '
            'give the folder that holds it as lists'
        )
    return found
