# SPDX-License-Identifier: Apache-2.0
"""Mapillary Street-level Sequences, validation cities: three sets of queries, one of references.

Papers print numbers on 740 queries, others on all of about 11,000 and 5 points lower.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from vpr_ros.benchmarks.assembly import present, required_file, retrieval_set, rows_within
from vpr_ros.benchmarks.name_lists import read_names, read_rows
from vpr_ros.benchmarks.object_arrays import read_array
from vpr_ros.benchmarks.retrieval_set import RetrievalSet
from vpr_ros.errors import SourceError

RADIUS_M = 25.0
CITIES = ('cph', 'sf')
LISTS = 'msls_val'


def read_subset(root: Path, lists: Path | None = None, *, unmatched: bool) -> RetrievalSet:
    """Read the official subset as MixVPR publishes it (dbImages, qImages, qIdx, pIdx).

    Args:
        root: Folder that holds `train_val/`.
        lists: Folder of the lists, if not there.
        unmatched: Whether the queries without a reference are asked, too; they are misses.

    Raises:
        FileNotFoundError: A list or a picture is not there.
        SourceError: A list is damaged or does not fit the others.
    """
    references, queries, kept, truth = (
        required_file(f'msls_val_{name}.npy', root, lists, folder=LISTS)
        for name in ('dbImages', 'qImages', 'qIdx', 'pIdx')
    )
    names = read_names(queries)
    rows_of = _rows_by_query(kept, truth, num_queries=len(names))
    asked = range(len(names)) if unmatched else list(rows_of)
    which = f'every picture of {queries.name}' if unmatched else f'the subset in {kept.name}'
    return retrieval_set(
        f'a reference that {truth.name} names for the query (within {RADIUS_M:g} m), '
        f'asked is {which}',
        references=present(root, read_names(references), source=references),
        queries=present(root, [names[query] for query in asked], source=queries),
        truth=[rows_of.get(query, np.empty(0, np.int64)) for query in asked],
        source=truth,
    )


def _rows_by_query(kept: Path, truth: Path, *, num_queries: int) -> dict[int, np.ndarray]:
    """Return the truth of each query in qIdx, in the order of that file."""
    index, rows = read_array(kept), read_rows(truth)
    if index.dtype.kind not in 'iu' or index.shape != (len(rows),):
        raise SourceError(
            f'{kept} holds {index.dtype} {index.shape}, {truth} has the truth of {len(rows)} '
            'queries; take both from one release'
        )
    outside = index[(index < 0) | (index >= num_queries)]
    if len(outside):
        raise SourceError(
            f'{kept} names query {outside[0]}, there are {num_queries}, from 0; take all files '
            'from one release'
        )
    return dict(zip(index.tolist(), rows, strict=True))


def read_all(root: Path) -> RetrievalSet:
    """Read every picture of both cities, panoramas left out, with the positions of its metadata.

    Args:
        root: Folder that holds `train_val/`.

    Raises:
        FileNotFoundError: A table or a picture is not there.
        SourceError: A table without the columns that it should have.
    """
    base = Path(root) / 'train_val'
    references, references_m = _read_cities(base, 'database')
    queries, queries_m = _read_cities(base, 'query')
    return retrieval_set(
        f'a reference within {RADIUS_M:g} m of the query by the UTM positions in '
        f'postprocessed.csv, asked is every picture of {" and ".join(CITIES)} that is no panorama',
        references=references,
        queries=queries,
        # In one go: by their UTM zones the cities lie 2,000 km apart.
        truth=rows_within(RADIUS_M, references_m=references_m, queries_m=queries_m, source=base),
        source=base,
    )


def _read_cities(base: Path, kind: str) -> tuple[list[Path], np.ndarray]:
    """Return the pictures of a kind and their positions, (N, 2) metres east and north."""
    files: list[Path] = []
    positions: list[tuple[float, float]] = []
    for city in CITIES:
        folder = base / city / kind
        table = folder / 'postprocessed.csv'
        panoramas = {
            row['key'] for row in _rows(folder / 'raw.csv', 'key', 'pano') if row['pano'] == 'True'
        }
        rows = _rows(table, 'key', 'easting', 'northing')
        kept = [row for row in rows if row['key'] not in panoramas]
        files += present(folder / 'images', [f'{row["key"]}.jpg' for row in kept], source=table)
        positions += [_position(row, table) for row in kept]
    return files, np.array(positions, np.float64).reshape(-1, 2)


def _rows(table: Path, *columns: str) -> list[dict[str, str]]:
    if not table.is_file():
        raise FileNotFoundError(
            f'there is no {table}; unpack the metadata of the data set there, or give the folder '
            'that holds train_val/ as the root'
        )
    with table.open(newline='', encoding='utf-8') as file:
        reader = csv.DictReader(file)
        for column in columns:
            if column not in (reader.fieldnames or ()):
                raise SourceError(
                    f'{table} has no column {column!r}, only {reader.fieldnames}; unpack the '
                    'metadata of the data set again'
                )
        return list(reader)


def _position(row: dict[str, str], table: Path) -> tuple[float, float]:
    try:
        return float(row['easting']), float(row['northing'])
    except (TypeError, ValueError):
        raise SourceError(
            f'{table}: {row["key"]} is at {row["easting"]!r}, {row["northing"]!r}, no metres; '
            'unpack the metadata of the data set again'
        ) from None
