# SPDX-License-Identifier: Apache-2.0
"""Two folders of one route, picture i of one at the place of picture i of the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vpr_ros.benchmarks.assembly import protocol, subfolder
from vpr_ros.benchmarks.retrieval_set import RetrievalSet, traverse_set


def read_folders(
    root: Path, *, references: Sequence[str], queries: Sequence[str], tolerance: int = 2
) -> RetrievalSet:
    """Read a folder of references and one of queries; names are sorted as people sort them.

    Args:
        root: Folder that holds both.
        references: What the folder of references may be called.
        queries: What the folder of queries may be called.
        tolerance: Pictures either side that still count.

    Raises:
        FileNotFoundError: A folder is not there.
        SourceError: A folder without pictures.
    """
    asked = traverse_set(
        subfolder(root, *references), subfolder(root, *queries), tolerance=tolerance
    )
    hit = f'the reference of the {asked.protocol}'
    return replace(
        asked, protocol=protocol(hit, asked.truth, num_references=len(asked.references))
    )
