# SPDX-License-Identifier: Apache-2.0
"""The benchmarks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from vpr_ros.benchmarks import msls, nordland
from vpr_ros.benchmarks.folders import read_folders
from vpr_ros.benchmarks.name_lists import read_listed
from vpr_ros.benchmarks.pittsburgh import read_pittsburgh
from vpr_ros.benchmarks.retrieval_set import RetrievalSet
from vpr_ros.benchmarks.utm_names import read_utm_names
from vpr_ros.errors import SourceError


@dataclass(frozen=True)
class Benchmark:
    """How to read a benchmark.

    Attributes:
        read: Makes the set from its folder and what `takes` names.
        takes: Options of `open_benchmark` that it knows.
        published: References and queries of the published files, where these were looked at.
    """

    read: Callable[..., RetrievalSet]
    takes: tuple[str, ...]
    published: tuple[int, int] | None = None


def _pittsburgh(split: str, published: tuple[int, int] | None = None) -> Benchmark:
    return Benchmark(partial(read_pittsburgh, split), ('lists',), published)


def _listed(prefix: str, folder: str, references: int, queries: int) -> Benchmark:
    read = partial(read_listed, prefix, folder=folder)
    return Benchmark(read, ('lists',), (references, queries))


BENCHMARKS = {
    'pitts30k_train': _pittsburgh('pitts30k_train'),
    'pitts30k_val': _pittsburgh('pitts30k_val', (10_000, 7_608)),
    'pitts30k_test': _pittsburgh('pitts30k_test', (10_000, 6_816)),
    'pitts250k_train': _pittsburgh('pitts250k_train'),
    'pitts250k_val': _pittsburgh('pitts250k_val'),
    'pitts250k_test': _pittsburgh('pitts250k_test', (83_952, 8_280)),
    'msls_val': Benchmark(partial(msls.read_subset, unmatched=False), ('lists',), (18_871, 740)),
    'msls_val_747': Benchmark(
        partial(msls.read_subset, unmatched=True), ('lists',), (18_871, 747)
    ),
    'msls_val_all': Benchmark(msls.read_all, ()),
    'nordland_2760': Benchmark(nordland.read_thinned, ('lists',), (27_592, 2_760)),
    'nordland_27592': Benchmark(nordland.read_full, (), (27_592, 27_592)),
    'sped': _listed('SPED', 'SPED', 607, 607),
    'essex3in1': _listed('ESSEX', 'ESSEX', 210, 210),
    'cross_season': _listed('CrossSeason', 'CrossSeason', 191, 191),
    'inria_holidays': _listed('Inria', 'InriaHolidays', 512, 300),
    'tokyo247': Benchmark(read_utm_names, ('radius_m',)),
    'sf_xl_v1': Benchmark(partial(read_utm_names, queries='queries_v1'), ('radius_m',)),
    'sf_xl_v2': Benchmark(partial(read_utm_names, queries='queries_v2'), ('radius_m',)),
    'utm': Benchmark(read_utm_names, ('radius_m',)),
    'folders': Benchmark(read_folders, ('tolerance',)),
}


def open_benchmark(
    name: str,
    root: str | Path,
    *,
    lists: str | Path | None = None,
    radius_m: float | None = None,
    tolerance: int | None = None,
) -> RetrievalSet:
    """Read a benchmark; its pictures are found, not yet read.

    Args:
        name: A key of `BENCHMARKS`, see `vpr_ros.benchmarks`.
        root: Folder of its pictures.
        lists: Folder of its .npy or .mat files, if not there; sets without such files ignore it.
        radius_m: Largest distance of a hit, metres, where positions are in file names (25).
        tolerance: Pictures either side that count, of `folders` (2).

    Raises:
        FileNotFoundError: A folder, a file or a picture is not there.
        SourceError: An unknown name, or a file that cannot be used.
        ValueError: An option that this benchmark does not have, or a negative one.
    """
    if name not in BENCHMARKS:
        raise SourceError(f'no benchmark is called {name!r}; there are {", ".join(BENCHMARKS)}')
    benchmark = BENCHMARKS[name]
    for option, value in (('radius_m', radius_m), ('tolerance', tolerance)):
        if value is not None and option not in benchmark.takes:
            raise ValueError(f'{name} has its own rule of what is a hit: {option} does not apply')
    for folder in (root, lists):
        if folder is not None and not Path(folder).is_dir():
            raise FileNotFoundError(f'there is no folder {folder} to read {name} from')
    given: dict[str, Any] = {
        'lists': Path(lists) if lists else None, 'radius_m': radius_m, 'tolerance': tolerance
    }  # fmt: skip
    options = {key: given[key] for key in benchmark.takes if given[key] is not None}
    asked = benchmark.read(Path(root), **options)
    return replace(asked, name=name, protocol=asked.protocol + _if_unlike(benchmark, asked))


def _if_unlike(benchmark: Benchmark, asked: RetrievalSet) -> str:
    """Warn that numbers on this set do not compare with published ones."""
    published = benchmark.published
    if published is None or published == (len(asked.references), len(asked.queries)):
        return ''
    return f', unlike the published set of {published[1]} queries among {published[0]} references'
