# SPDX-License-Identifier: Apache-2.0
"""Nordland: one railway line in two seasons, frame i of one at the place of frame i of the other.

Two protocols carry its name and lie 18 points apart.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from vpr_ros.benchmarks.assembly import find_file, retrieval_set, subfolder
from vpr_ros.benchmarks.name_lists import read_listed
from vpr_ros.benchmarks.retrieval_set import RetrievalSet
from vpr_ros.errors import SourceError
from vpr_ros.evaluation.truth import positives_by_order
from vpr_ros.picture_folder import picture_files

LISTS = 'Nordland'
EVERY = 10  # of the thinned protocol
THINNED_TOLERANCE, FULL_TOLERANCE = 1, 10  # frames


def read_full(root: Path) -> RetrievalSet:
    """Read ref/ and query/, every frame asked, +-10 frames.

    Raises:
        FileNotFoundError: A folder is not there.
        SourceError: The pictures are not numbered alike.
    """
    references, queries = _frames(root)
    if len(queries) != len(references):
        raise _uneven(root, len(references), len(queries), f'{len(references)}')
    return retrieval_set(
        f'a reference at most {FULL_TOLERANCE} frames from the query, every frame asked',
        references=references,
        queries=queries,
        truth=positives_by_order(len(queries), len(references), FULL_TOLERANCE),
        source=root,
    )


def read_thinned(root: Path, lists: Path | None = None) -> RetrievalSet:
    """Read ref/ and query/, every tenth frame asked, +-1 frame.

    Where the lists of gsv-cities are, they say what is asked; else `query/` holds the tenth
    frames, or all, of which the tenth are taken.

    Raises:
        FileNotFoundError: A folder, or a picture that the lists name, is not there.
        SourceError: The pictures are not numbered alike, or do not fit the lists.
    """
    truth = find_file('Nordland_gt.npy', root, lists, folder=LISTS)
    if truth is not None:
        listed = read_listed(LISTS, root, lists)
        in_folder = len(picture_files(subfolder(root, 'query')))
        # All frames hold the listed names, too, but picture 1 would then not show frame 10.
        if in_folder != len(listed.queries):
            raise SourceError(
                f'{root / "query"} holds {in_folder} pictures, the lists beside {truth} name '
                f'{len(listed.queries)}: these are other frames; take the lists away, and each '
                f'{EVERY}th frame is asked'
            )
        return listed
    references, queries = _frames(root)
    thinned = -(-len(references) // EVERY)
    if len(queries) == len(references):
        queries = queries[::EVERY]
    if len(queries) != thinned:
        raise _uneven(root, len(references), len(queries), f'{thinned} or {len(references)}')
    return retrieval_set(
        f'a reference at most {THINNED_TOLERANCE} frame from the query, '
        f'each {EVERY}th frame asked',
        references=references,
        queries=queries,
        truth=positives_by_order(len(references), len(references), THINNED_TOLERANCE)[::EVERY],
        source=root,
    )


def _frames(root: Path) -> tuple[list[Path], list[Path]]:
    """Return the pictures of both seasons; a lost one would shift all that follow, unseen."""
    folders = subfolder(root, 'ref'), subfolder(root, 'query')
    seasons = [picture_files(folder) for folder in folders]
    starts = [_first_number(folder, files) for folder, files in zip(folders, seasons, strict=True)]
    if abs(starts[0] - starts[1]) > 1:  # some count from 0, some from 1
        raise SourceError(
            f'the frames of {folders[0]} begin at {starts[0]}, of {folders[1]} at {starts[1]}; '
            'get what is missing, or number both from 0'
        )
    return seasons[0], seasons[1]


def _first_number(folder: Path, files: list[Path]) -> int:
    """Check that the pictures are numbered evenly; return the first number."""
    numbers = [re.findall(r'\d+', file.stem) for file in files]
    unnumbered = [file.name for file, found in zip(files, numbers, strict=True) if not found]
    if not files or unnumbered:
        what = f'of {unnumbered[0]}' if unnumbered else 'because there are none'
        raise SourceError(f'{folder} must hold numbered pictures, which fails {what}')
    frames = np.array([int(found[-1]) for found in numbers])
    steps = np.diff(frames)
    uneven = np.flatnonzero((steps != steps[:1]) | (steps < 1))
    if len(uneven):
        raise SourceError(
            f'{folder} goes from {files[uneven[0]].name} to {files[uneven[0] + 1].name}, so '
            'picture i is no longer frame i; get what is missing, or number the frames evenly'
        )
    return int(frames[0])


def _uneven(root: Path, references: int, queries: int, wanted: str) -> SourceError:
    return SourceError(
        f'{root} holds {references} references and {queries} queries, not {wanted}; '
        'get the pictures that are missing'
    )
