# SPDX-License-Identifier: Apache-2.0
"""A question with a known answer: pictures to look up among others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vpr_ros.errors import SourceError
from vpr_ros.evaluation.truth import positives_by_order
from vpr_ros.picture_folder import picture_files, read_picture

Picture = Callable[[], np.ndarray]  # reads, or makes, one uint8 RGB picture (H, W, 3)


@dataclass(frozen=True)
class RetrievalSet:
    """Queries to look up among references.

    Attributes:
        name: Name in tables.
        protocol: What is asked, one sentence.
        references: The pictures of the map.
        queries: The pictures to look up.
        truth: For each query the rows (int64) of the references that show its place.
        vicinity: For each query the rows of the references that show its place or look onto it,
            such as neighbours in a walk: no mistake worth a threshold, and no hit either.
        searched: (Q,) of how many references, from the first, each query is looked up among, for
            a map that grows; None: all.
    """

    name: str
    protocol: str
    references: Sequence[Picture]
    queries: Sequence[Picture]
    truth: Sequence[np.ndarray]
    vicinity: Sequence[np.ndarray]
    searched: np.ndarray | None = None


def pictures_of(files: Sequence[Path]) -> list[Picture]:
    """Return what reads each file when it is asked to."""
    return [partial(read_picture, path) for path in files]


def traverse_set(reference: Path, query: Path, *, tolerance: int) -> RetrievalSet:
    """Ask for each picture of a traverse among those of another traverse of the same route.

    Args:
        reference: Folder of pictures; names are sorted as people sort them.
        query: The same of the other traverse.
        tolerance: Pictures either side that still count.

    Raises:
        SourceError: A folder without pictures.
        OSError: A folder is not there.
    """
    references, queries = picture_files(reference), picture_files(query)
    for folder, files in ((reference, references), (query, queries)):
        if not files:
            raise SourceError(f'{folder} holds no pictures; copy them there, without subfolders')
    truth = positives_by_order(len(queries), len(references), tolerance)
    return RetrievalSet(
        f'{query.name} in {reference.name}', f'same picture number, +-{tolerance}',
        pictures_of(references), pictures_of(queries), truth, truth,
    )  # fmt: skip
