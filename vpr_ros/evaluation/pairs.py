# SPDX-License-Identifier: Apache-2.0
"""Files that say which reference picture shows the place of which query picture."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
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
        SourceError: Other columns, a name that no picture has, or no pair at all.
    """
    with path.open(newline='', encoding='utf-8-sig') as file:
        rows = list(csv.reader(file))
    if not rows or rows[0] != COLUMNS:
        found_columns = ', '.join(rows[0]) if rows else 'nothing'
        raise SourceError(
            f'{path} must be a CSV file with the columns {", ".join(COLUMNS)}; it has '
            f'{found_columns}'
        )
    query_numbers = {name: number for number, name in enumerate(queries)}
    reference_numbers = {name: number for number, name in enumerate(references)}
    found: list[set[int] | None] = [None] * len(queries)
    for line, row in enumerate(rows[1:], 2):
        if len(row) != len(COLUMNS):
            raise SourceError(f'{path}, line {line}: {len(row)} values, not {len(COLUMNS)}')
        query = _number(row[0], query_numbers, path, line)
        right = found[query] = found[query] or set()
        if row[1]:
            number = _number(row[1], reference_numbers, path, line)
            last = min(number + tolerance, len(references) - 1)
            right.update(range(max(0, number - tolerance), last + 1))
    if all(right is None for right in found):
        raise SourceError(f'{path} names no pair')
    return [None if right is None else np.array(sorted(right), np.int64) for right in found]


def _number(name: str, numbers: Mapping[str, int], path: Path, line: int) -> int:
    if name not in numbers:
        some = f'such as {next(iter(numbers))}' if numbers else 'there are none'
        raise SourceError(f'{path}, line {line}: no picture is called {name!r} ({some})')
    return numbers[name]
