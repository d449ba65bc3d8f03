# SPDX-License-Identifier: Apache-2.0
"""The files that a run leaves: `metrics.json`, and `queries.csv` with a row for every picture.

`metrics.json`, schema 1: `schema_version`, `kind` (`run`), what the run describes of itself
(`Run.description`), `protocol`, counts (`num_…`), `endings` (how many pictures got how far, by
the code of the reason why no further), every number of `scores.numbers` by its name at
the top level (null: undefined), `intervals` (95 %, [low, high]), `latency_ms` by stage. New keys
may be added; a change of meaning raises the version.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from vpr_ros.errors import SourceError
from vpr_ros.evaluation.outcomes import DROPPED, Outcomes
from vpr_ros.evaluation.run import Run
from vpr_ros.evaluation.scores import finite
from vpr_ros.evaluation.summary import endings, stage_latencies
from vpr_ros.recognizer import Status

SCHEMA_VERSION = '1'
METRICS, QUERIES = 'metrics.json', 'queries.csv'
_DROPPED = 'DROPPED'
_REQUIRED = ('protocol', 'threshold', 'asks_only_mapped', 'query', 'num_queries')
_NUMBERS = (
    'similarity',
    'probability',
    'position_error_m',
    'angle_error_deg',
    'latency_s',
)

_COLUMNS = (
    'index',
    'name',
    'stamp_ns',
    'camera',
    'verdict',
    'status',
    'reason',
    'judged',
    'mapped',
    'right',
    'rank',
    'place_ids',
    'rows',
    *_NUMBERS,
)


def protocol(run: Run, outcomes: Outcomes) -> str:
    """Say in one sentence what is right and which pictures count."""
    if run.truth is None:
        return f'nothing is judged: no truth was given for the {len(outcomes)} pictures'
    asked = 'whose place is in the map' if run.truth.asks_only_mapped else 'judged'
    mask = outcomes.mapped if run.truth.asks_only_mapped else outcomes.judged
    hurry = '' if run.is_live else '; verification without its limit of time'
    return (
        f'right is {run.truth.rule}; recall@K over the {int((mask & outcomes.answered).sum())} '
        f'pictures {asked}, of {len(outcomes)}; {len(run.place_map)} places{hurry}'
    )


def metrics(
    run: Run,
    outcomes: Outcomes,
    numbers: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
) -> dict[str, Any]:
    """Return the content of `metrics.json`."""
    return {
        'schema_version': SCHEMA_VERSION,
        'kind': 'run',
        'title': run.title,
        **run.description,
        'protocol': protocol(run, outcomes),
        'is_live': run.is_live,
        'asks_only_mapped': run.truth is not None and run.truth.asks_only_mapped,
        'num_queries': len(outcomes),
        'num_answered': int(outcomes.answered.sum()),
        'num_judged': int(outcomes.judged.sum()),
        'num_mapped': int(outcomes.mapped.sum()),
        'num_accepted': int(outcomes.accepted.sum()),
        'num_places': len(run.place_map),
        'counts': dict(run.counts),
        'threshold': run.threshold,
        'endings': [asdict(ending) for ending in endings(run, outcomes)],
        **finite(numbers),
        'intervals': {
            name: list(finite({'low': low, 'high': high}).values())
            for name, (low, high) in intervals.items()
        },
        'latency_ms': {
            row.stage: {
                'p50': row.latency.p50_ms,
                'p95': row.latency.p95_ms,
                'p99': row.latency.p99_ms,
                'max': row.latency.max_ms,
            }
            for row in stage_latencies(run, outcomes)
        },
    }


def write_metrics(content: Mapping[str, Any], folder: Path) -> None:
    """Write `metrics.json`."""
    (folder / METRICS).write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


def write_queries(run: Run, outcomes: Outcomes, folder: Path) -> None:
    """Write `queries.csv`: what came of every picture; `read_outcomes` reads it back."""
    verdicts = outcomes.verdicts()
    with (folder / QUERIES).open('w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for i, answer in enumerate(run.answers):
            matches = () if answer.recognition is None else answer.recognition.matches
            status = outcomes.status[i]
            writer.writerow(
                [
                    answer.index,
                    answer.name,
                    answer.stamp_ns,
                    answer.camera,
                    verdicts[i].value,
                    _DROPPED if status == DROPPED else Status(status).name,
                    '' if answer.recognition is None else answer.recognition.reason,
                    int(outcomes.judged[i]),
                    int(outcomes.mapped[i]),
                    int(outcomes.right[i]),
                    outcomes.rank[i],
                    ' '.join(str(match.place_id) for match in matches),
                    ' '.join(str(match.row) for match in matches),
                    *(_cell(getattr(outcomes, name)[i]) for name in _NUMBERS),
                ]
            )


def _cell(value: float) -> str:
    return repr(float(value)) if np.isfinite(value) else ''


def read_metrics(folder: Path) -> dict[str, Any]:
    """Read `metrics.json` of a run.

    Raises:
        FileNotFoundError: There is none.
        SourceError: It is damaged, or of another kind or schema.
    """
    path = _existing(folder / METRICS)
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise SourceError(f'{path} is not JSON: {error}') from error
    found = (content.get('schema_version'), content.get('kind')) if type(content) is dict else ()
    if found != (SCHEMA_VERSION, 'run'):
        raise SourceError(
            f'{path} is no run of schema {SCHEMA_VERSION} (it says {found}); `vpr evaluate` makes '
            'one (of a benchmark there is none)'
        )
    if missing := [key for key in _REQUIRED if key not in content]:
        raise SourceError(f'{path} lacks {", ".join(missing)}; evaluate again')
    return content


def read_outcomes(folder: Path) -> tuple[list[str], Outcomes]:
    """Read `queries.csv`: names of the pictures and what came of them.

    Raises:
        FileNotFoundError: There is none.
        SourceError: It is damaged.
    """
    path = _existing(folder / QUERIES)
    try:
        with path.open(newline='', encoding='utf-8') as file:
            header, *lines = csv.reader(file)
        rows = [dict(zip(header, line, strict=True)) for line in lines]
        return [row['name'] for row in rows], Outcomes(
            stamp_ns=np.array([int(row['stamp_ns']) for row in rows], np.int64),
            status=np.array([_status(row['status']) for row in rows], np.int8),
            judged=np.array([row['judged'] == '1' for row in rows], bool),
            mapped=np.array([row['mapped'] == '1' for row in rows], bool),
            right=np.array([row['right'] == '1' for row in rows], bool),
            rank=np.array([int(row['rank']) for row in rows], np.int32),
            **{name: np.array([_number(row[name]) for row in rows]) for name in _NUMBERS},
        )
    except (KeyError, ValueError) as error:
        raise SourceError(f'{path} is damaged ({error!r}); evaluate again') from error


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f'no {path}; `vpr evaluate --out {path.parent}` writes it')
    return path


def _status(text: str) -> int:
    return DROPPED if text == _DROPPED else int(Status[text])


def _number(text: str) -> float:
    return float(text) if text else np.nan


@contextmanager
def written_into(out: Path, *, owned: Collection[str] = ()) -> Iterator[Path]:
    """Give an empty folder to fill; when the block ends without error its files move to `out`.

    Files of the same name are replaced, others in `out` stay. After an error nothing is there
    that was not there before.

    Args:
        out: The folder for results.
        owned: Names that are ours: what an earlier run left under them is removed.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f'.{out.name}.', dir=out.parent) as scratch:
        folder = Path(scratch)
        yield folder
        out.mkdir(exist_ok=True)
        for name in set(owned) - {path.name for path in folder.iterdir()}:
            (out / name).unlink(missing_ok=True)
        for path in sorted(folder.iterdir()):
            path.replace(out / path.name)
