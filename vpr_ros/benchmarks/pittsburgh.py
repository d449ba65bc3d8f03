# SPDX-License-Identifier: Apache-2.0
"""Pittsburgh (pitts30k, pitts250k): a MATLAB dbStruct, or the lists of gsv-cities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from vpr_ros.benchmarks.assembly import find_file, present, retrieval_set, rows_within
from vpr_ros.benchmarks.name_lists import read_listed
from vpr_ros.benchmarks.retrieval_set import RetrievalSet
from vpr_ros.errors import SourceError

RADIUS_M = 25.0
FOLDER = 'Pittsburgh'
QUERIES = 'queries_real'

# Positions in the dbStruct; field names differ between releases, the order does not.
_REFERENCES, _REFERENCES_M, _QUERIES, _QUERIES_M = 1, 2, 3, 4


def read_pittsburgh(split: str, root: Path, lists: Path | None = None) -> RetrievalSet:
    """Read SPLIT.mat, or where there is none the lists SPLIT_*.npy.

    Args:
        split: Such as `pitts30k_test`.
        root: Folder with the references and, in `queries_real/`, the queries.
        lists: Folder of SPLIT.mat or the lists, if not there.

    Raises:
        FileNotFoundError: Neither is there, or pictures are missing.
        SourceError: A file of another layout.
    """
    path = find_file(f'{split}.mat', root, lists, folder=FOLDER)
    if path is None:
        try:
            return read_listed(split, root, lists, folder=FOLDER)
        except FileNotFoundError as error:
            raise FileNotFoundError(f'there is no {split}.mat, and {error}') from None
    struct = _read_struct(path)
    references = _names(struct[_REFERENCES], path)
    queries = [f'{QUERIES}/{name}' for name in _names(struct[_QUERIES], path)]
    return retrieval_set(
        f'a reference within {RADIUS_M:g} m of the query by the UTM positions in {path.name}',
        references=present(root, references, source=path),
        queries=present(root, queries, source=path),
        truth=rows_within(
            RADIUS_M,
            references_m=_positions(struct[_REFERENCES_M], len(references), path),
            queries_m=_positions(struct[_QUERIES_M], len(queries), path),
            source=path,
        ),
        source=path,
    )


def _read_struct(path: Path) -> tuple[Any, ...]:
    """Return the fields of the file's one dbStruct."""
    try:
        struct = loadmat(path)['dbStruct'].item()
    except KeyError:
        raise _other_layout(path, 'it holds no dbStruct') from None
    except Exception as error:  # loadmat raises what its parts raise
        raise _other_layout(path, str(error)) from error
    if not isinstance(struct, tuple) or len(struct) <= _QUERIES_M:
        raise _other_layout(path, 'dbStruct is no struct with names and positions')
    return struct


def _names(field: np.ndarray, path: Path) -> list[str]:
    names = [np.asarray(cell).squeeze().tolist() for cell in field.ravel()]
    if not names or not all(isinstance(name, str) for name in names):
        raise _other_layout(path, 'there are no file names where they should be')
    return names


def _positions(field: np.ndarray, count: int, path: Path) -> np.ndarray:
    if field.shape != (2, count) or field.dtype.kind not in 'iuf':
        raise _other_layout(
            path, f'the positions of {count} pictures are {field.dtype} {field.shape}'
        )
    return field.T.astype(np.float64)


def _other_layout(path: Path, what: str) -> SourceError:
    return SourceError(
        f'{path} is not a dbStruct of NetVLAD (whichSet, names, (2, N) UTM metres, query names, '
        f'(2, Q) UTM metres, ...): {what}; save it so with -v7, or take the published file'
    )
