# SPDX-License-Identifier: Apache-2.0
"""Sets as gsv-cities publishes them: PREFIX_dbImages.npy, PREFIX_qImages.npy and PREFIX_gt.npy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vpr_ros.benchmarks.assembly import present, required_file, retrieval_set
from vpr_ros.benchmarks.object_arrays import read_array
from vpr_ros.benchmarks.retrieval_set import RetrievalSet
from vpr_ros.errors import SourceError


def read_listed(
    prefix: str, root: Path, lists: Path | None = None, *, folder: str = ''
) -> RetrievalSet:
    """Read the references and queries that two lists name, and which of them match.

    Args:
        prefix: Of the three file names.
        root: Folder that the names are relative to.
        lists: Folder of the lists, if not there.
        folder: What the repositories call the folder of the lists; `prefix` when empty.

    Raises:
        FileNotFoundError: A list or a picture is not there.
        SourceError: A list is damaged or does not fit the others.
    """
    references, queries, truth = (
        required_file(f'{prefix}_{name}.npy', root, lists, folder=folder or prefix)
        for name in ('dbImages', 'qImages', 'gt')
    )
    return retrieval_set(
        f'a reference that {truth.name} names for the query',
        references=present(root, read_names(references), source=references),
        queries=present(root, read_names(queries), source=queries),
        truth=read_rows(truth),
        source=truth,
    )


def read_names(path: Path) -> list[str]:
    """Read a list of file names.

    Raises:
        FileNotFoundError: There is no such file.
        SourceError: It holds something else.
    """
    array = read_array(path)
    try:
        names = array.tolist() if array.ndim == 1 else []
    except (SystemError, ValueError):  # a text with a code that no character has
        names = []
    if not names or not all(isinstance(name, str) for name in names):
        raise SourceError(
            f'{path} is no list of file names but {array.dtype} {array.shape}; take it from its '
            'publisher again'
        )
    return names


def read_rows(path: Path) -> list[np.ndarray]:
    """Read one list of rows per query, (Q,) or (Q, K) numbers or Q arrays of numbers.

    Returns:
        Q arrays of int64.

    Raises:
        FileNotFoundError: There is no such file.
        SourceError: It holds something else.
    """
    array = read_array(path)
    if array.ndim == 0:
        raise SourceError(f'{path} holds one value, not rows for each query')
    return [_row(row, query, path) for query, row in enumerate(array)]


def _row(row: Any, query: int, path: Path) -> np.ndarray:
    numbers = np.atleast_1d(row)
    if numbers.dtype == object and all(isinstance(number, int) for number in numbers.flat):
        numbers = np.array(numbers.tolist())
    if numbers.size and (numbers.dtype.kind not in 'iu' or numbers.ndim != 1):
        raise SourceError(
            f'{path}: the truth of query {query} is {row!r:.60}, not row numbers; take the file '
            'from its publisher again'
        )
    return numbers.reshape(-1).astype(np.int64)
