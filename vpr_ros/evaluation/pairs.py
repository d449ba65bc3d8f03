# SPDX-License-Identifier: Apache-2.0
"""Files that say which reference picture shows the place of which query picture."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vpr_ros.errors import SourceError

COLUMNS = ['query', 'reference']


def read_pairs(
    path: Path, queries: Sequence[str], references: Sequence[str], *, tolerance: int
) -> list[np.ndarray | None]:
    """Read a CSV file with the columns `query` and `reference`, names of pictures.

    A query may stand in several rows; one that stands in none is not judged, one whose reference
    is empty has no place in the map.

    Args:
        path: The file.
        queries: Names of the query pictures, in order.
        references: Names of the reference pictures, in order.
        tolerance: Pictures either side of the named reference that are right as well.

    Returns:
        For each query the indices of the references that are right, None: not known.

    Raises:
        FileNotFoundError: There is no such file.
        SourceError: Other columns, or a name that no picture has.
    """
    with path.open(newline='', encoding='utf-8') as file:
        rows = csv.DictReader(file)
        if rows.fieldnames is None or list(rows.fieldnames) != COLUMNS:
            raise SourceError(
                f'{path} must be a CSV file with the columns {", ".join(COLUMNS)}, not '
                f'{", ".join(rows.fieldnames or ()) or "empty"}'
            )
        number_of = {name: number for number, name in enumerate(references)}
        found: dict[str, set[int]] = {}
        for line, row in enumerate(rows, 2):
            right = found.setdefault(_known(row['query'], queries, path, line), set())
            if row['reference']:
                number = number_of[_known(row['reference'], references, path, line)]
                right.update(range(max(0, number - tolerance), number + tolerance + 1))
    last = len(references)
    return [
        np.array(sorted(n for n in found[name] if n < last), np.int64) if name in found else None
        for name in queries
    ]


def _known(name: str, names: Sequence[str], path: Path, line: int) -> str:
    if name not in names:
        some = f'such as {names[0]}' if names else 'there are none'
        raise SourceError(f'{path}, line {line}: no picture is called {name!r} ({some})')
    return name
