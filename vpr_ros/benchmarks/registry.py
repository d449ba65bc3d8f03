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
from vpr_ros.benchmarks.revisits import read_run
from vpr_ros.benchmarks.utm_names import read_utm_names
from vpr_ros.errors import SourceError


@dataclass(frozen=True)
class Benchmark:
    """How to read a benchmark.

    Attributes:
        read: Makes the set from its folder and what `takes` names.
        pictures: Where its pictures lie in that folder.
        hit: What counts as a hit.
        lists: Files that come apart from the pictures; they may lie in another folder, or in the
            subfolders of it in which gsv-cities and MixVPR keep them.
        takes: Options of `open_benchmark` that it knows.
        published: References and queries of the published files, where these were looked at.
    """

    read: Callable[..., RetrievalSet]
    pictures: str
    hit: str
    lists: str = ''
    takes: tuple[str, ...] = ()
    published: tuple[int, int] | None = None


_METRES = 'within 25 m'
_LISTS = '{dbImages,qImages,gt}.npy'
_MSLS_PICTURES = 'train_val/{cph,sf}/{database,query}/images/'


def _pittsburgh(split: str, published: tuple[int, int] | None = None) -> Benchmark:
    return Benchmark(
        partial(read_pittsburgh, split),
        '000/..., queries_real/...',
        _METRES,
        lists=f'{split}.mat or {split}_{_LISTS}',
        takes=('lists',),
        published=published,
    )


def _msls(which: str, *, unmatched: bool, queries: int) -> Benchmark:
    return Benchmark(
        partial(msls.read_subset, unmatched=unmatched),
        _MSLS_PICTURES,
        f'{_METRES}; {which}',
        lists='msls_val_{dbImages,qImages,qIdx,pIdx}.npy',
        takes=('lists',),
        published=(18_871, queries),
    )


def _listed(prefix: str, folder: str, references: int, queries: int) -> Benchmark:
    return Benchmark(
        partial(read_listed, prefix, folder=folder),
        'ref/, query/',
        'as the lists say',
        lists=f'{prefix}_{_LISTS}',
        takes=('lists',),
        published=(references, queries),
    )


def _positions_in_names(queries: str) -> Benchmark:
    return Benchmark(
        partial(read_utm_names, queries=queries),
        f'database/, {queries}/, names @UTM_east@UTM_north@...',
        _METRES,
        takes=('radius_m',),
    )


def _two_walks(references: tuple[str, ...], queries: tuple[str, ...]) -> Benchmark:
    return Benchmark(
        partial(read_folders, references=references, queries=queries),
        ', '.join(' or '.join(f'{name}/' for name in names) for names in (references, queries)),
        'within 2 pictures',
        takes=('tolerance',),
    )


def _one_run(poses: str, *, apart: int) -> Benchmark:
    return Benchmark(
        partial(read_run, poses=poses, apart=apart),
        f'rgb/, {poses}',
        f'within 0.5 m and 30 degrees, more than {apart} pictures before',
        takes=('radius_m',),
    )


BENCHMARKS = {
    'pitts30k_train': _pittsburgh('pitts30k_train'),
    'pitts30k_val': _pittsburgh('pitts30k_val', (10_000, 7_608)),
    'pitts30k_test': _pittsburgh('pitts30k_test', (10_000, 6_816)),
    'pitts250k_train': _pittsburgh('pitts250k_train'),
    'pitts250k_val': _pittsburgh('pitts250k_val'),
    'pitts250k_test': _pittsburgh('pitts250k_test', (83_952, 8_280)),
    'msls_val': _msls('the official 740 queries', unmatched=False, queries=740),
    'msls_val_747': _msls('the 740 and the 7 without a hit', unmatched=True, queries=747),
    'msls_val_all': Benchmark(
        msls.read_all,
        f'{_MSLS_PICTURES}, raw.csv and postprocessed.csv above them',
        f'{_METRES}; all queries, about 11,000',
    ),
    'nordland_2760': Benchmark(
        nordland.read_thinned,
        'ref/, query/, numbered',
        'within 1 frame; each 10th is asked',
        lists=f'none, or Nordland_{_LISTS}',
        takes=('lists',),
        published=(27_592, 2_760),
    ),
    'nordland_27592': Benchmark(
        nordland.read_full,
        'ref/, query/, numbered',
        'within 10 frames; all are asked',
        published=(27_592, 27_592),
    ),
    'sped': _listed('SPED', 'SPED', 607, 607),
    'essex3in1': _listed('ESSEX', 'ESSEX', 210, 210),
    'cross_season': _listed('CrossSeason', 'CrossSeason', 191, 191),
    'inria_holidays': _listed('Inria', 'InriaHolidays', 512, 300),
    'tokyo247': _positions_in_names('queries'),
    'sf_xl_v1': _positions_in_names('queries_v1'),
    'sf_xl_v2': _positions_in_names('queries_v2'),
    'utm': _positions_in_names('queries'),
    'gardens_point_day': _two_walks(('day_left',), ('day_right',)),
    'gardens_point_night': _two_walks(('day_right',), ('night_right',)),
    'gardens_point_day_night': _two_walks(('day_left',), ('night_right',)),
    'folders': _two_walks(('reference', 'ref', 'database'), ('query', 'queries')),
    'red_kitchen': _one_run('poses_tum.txt', apart=150),
    'tum_fr1_desk': _one_run('groundtruth.txt', apart=100),
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
        name: A key of `BENCHMARKS`.
        root: Folder of its pictures.
        lists: Folder of its .npy or .mat files, if not there; sets without such files ignore it.
        radius_m: Largest distance of a hit, metres, of those that take it.
        tolerance: Pictures either side that count, of those that take it.

    Raises:
        FileNotFoundError: A folder, a file or a picture is not there.
        SourceError: An unknown name, an option that this benchmark does not have, or a file that
            cannot be used.
        ValueError: A negative option.
    """
    if name not in BENCHMARKS:
        raise SourceError(f'no benchmark is called {name!r}; there are {", ".join(BENCHMARKS)}')
    benchmark = BENCHMARKS[name]
    for option, value in (('radius_m', radius_m), ('tolerance', tolerance)):
        if value is not None and option not in benchmark.takes:
            raise SourceError(
                f'{name} has its own rule of what is a hit, {benchmark.hit}: {option} does not '
                'apply, leave it out'
            )
    for folder in (root, lists):
        if folder is not None and not Path(folder).is_dir():
            raise FileNotFoundError(f'there is no folder {folder} to read {name} from')
    given: dict[str, Any] = {
        'lists': Path(lists) if lists else None, 'radius_m': radius_m, 'tolerance': tolerance
    }  # fmt: skip
    options = {key: given[key] for key in benchmark.takes if given[key] is not None}
    asked = replace(benchmark.read(Path(root), **options), name=name)
    unlike = unlike_published(asked)
    return replace(asked, protocol=f'{asked.protocol}, {unlike}') if unlike else asked


def unlike_published(asked: RetrievalSet) -> str:
    """Say that a benchmark has another size than its published files.

    Returns:
        A clause; empty where the sizes agree, or that of the published files is not known here.
    """
    published = BENCHMARKS[asked.name].published
    if published is None or published == (len(asked.references), len(asked.queries)):
        return ''
    return f'unlike the published set of {published[1]} queries among {published[0]} references'
