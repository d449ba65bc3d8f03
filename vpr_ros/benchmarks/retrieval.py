# SPDX-License-Identifier: Apache-2.0
"""Look the queries of a set up in a map of its references, as the robot would.

Memory is bounded by the map's search index, whatever the size of the set: pictures are read a few
batches ahead, descriptors go to a file and are read from it page by page.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from tqdm import tqdm

from vpr_ros.benchmarks.retrieval_set import Picture, RetrievalSet
from vpr_ros.model_ref import ModelRef
from vpr_ros.place_map import PlaceMap

BATCH = 16  # pictures that are described at once
READ_AHEAD = 16  # batches: a benchmark's pictures do not fit the memory
QUERIES = 4096  # that are in memory at once


@dataclass(frozen=True)
class Describer:
    """Anything that turns pictures into descriptors, a network or not.

    Attributes:
        ref: Its name and descriptor size D.
        extract_batch: Pictures, uint8 RGB (H, W, 3) each, to float32 (B, D) of unit norm.
    """

    ref: ModelRef
    extract_batch: Callable[[Sequence[np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Found:
    """The best matches of every query of a set.

    Attributes:
        rows: (Q, K) int64, rows of the references, best first; -1 where the query was looked up
            among fewer than K.
        similarities: (Q, K) float32, their cosine similarities; -inf there.
    """

    rows: np.ndarray
    similarities: np.ndarray


def look_up(
    describer: Describer, asked: RetrievalSet, *, top_k: int, batch_size: int = BATCH
) -> Found:
    """Build a map of the references and look every query up in it.

    Args:
        describer: What describes the pictures.
        asked: The set.
        top_k: Matches a query; K is the smaller of this and the number of references.
        batch_size: Pictures that are described at once.

    Raises:
        OSError: The descriptors do not fit the disk of the temporary folder (TMPDIR names
            another).
    """
    with TemporaryDirectory(prefix='vpr_') as folder:
        references, queries = (
            _describe(describer, pictures, Path(folder) / name, batch_size=batch_size)
            for name, pictures in (('references', asked.references), ('queries', asked.queries))
        )
        return _search(describer.ref, references, queries, asked.searched, top_k)


def _search(
    ref: ModelRef,
    references: np.ndarray,
    queries: np.ndarray,
    searched: np.ndarray | None,
    top_k: int,
) -> Found:
    """Let the map grow as far as each query may see, and look it up then."""
    place_map = PlaceMap(ref)
    shape = len(queries), min(top_k, len(references))
    found = Found(np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32))
    reach = np.full(len(queries), len(references)) if searched is None else searched
    for size in np.unique(reach):
        start = len(place_map)
        place_map.add(references[start:size], stamps_ns=np.arange(start, size))
        asking = np.flatnonzero(reach == size)
        for some in np.split(asking, range(QUERIES, len(asking), QUERIES)):
            similarities, rows = place_map.search_batch(queries[some], top_k)
            found.rows[some, : rows.shape[1]] = rows
            found.similarities[some, : rows.shape[1]] = similarities
    return found


def _describe(
    describer: Describer, pictures: Sequence[Picture], path: Path, *, batch_size: int
) -> np.ndarray:
    """Describe pictures into a file; return it memory-mapped, (N, D) float32, read-only."""
    batches = [pictures[i : i + batch_size] for i in range(0, len(pictures), batch_size)]
    progress = tqdm(  # disable=None: none where nobody watches a terminal
        _read_ahead(batches),
        path.name,
        total=len(batches),
        unit='batch',
        leave=False,
        disable=None,
    )
    with path.open('wb') as file:
        for batch in progress:
            descriptors = np.ascontiguousarray(describer.extract_batch(batch), np.float32)
            file.write(descriptors.data)
    return np.memmap(path, np.float32, 'r').reshape(len(pictures), -1)


def _read_ahead(batches: Sequence[Sequence[Picture]]) -> Iterator[list[np.ndarray]]:
    """Yield batches of pictures in order; some of the next ones are read meanwhile."""
    ahead: deque[Future[list[np.ndarray]]] = deque()
    with ThreadPoolExecutor() as readers:
        for batch in batches:
            ahead.append(readers.submit(_read, batch))
            if len(ahead) > READ_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _read(batch: Sequence[Picture]) -> list[np.ndarray]:
    return [picture() for picture in batch]
