# SPDX-License-Identifier: Apache-2.0
"""The report of a run: one page that needs no network, and its figures as PNG.

The figures are drawn once, by `figures`; the page shows the same files. `page/report.js` knows
where in each of them every picture is, and shows the pair behind a point.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from vpr_ros.evaluation import figures, gallery, summary, thumbnails
from vpr_ros.evaluation.figures import COLOURS, CannotDrawError, Drawing
from vpr_ros.evaluation.gallery import Case
from vpr_ros.evaluation.outcomes import DROPPED, Outcomes, Verdict
from vpr_ros.evaluation.results import protocol
from vpr_ros.evaluation.run import Run
from vpr_ros.evaluation.scores import RETRIEVED, stages
from vpr_ros.evaluation.thumbnails import Sheets
from vpr_ros.recognizer import Status

PAGE = 'report.html'
PAGE_BYTES = 9_500_000  # at most
_GALLERY_BYTES = 2_000_000  # of these
_MAX_SHOWN = 4000  # pictures that can be pointed at; the figures show all
_TITLES = {
    'route': 'Where it worked',
    'precision_recall': 'Precision and recall',
    'similarity': 'Similarity along the run',
    'similarity_matrix': 'Every picture against every place',
    'latency': 'How long it took',
}
FILES = (PAGE, *(f'{name}.png' for name in _TITLES))  # that a report may have
_STATUSES = {DROPPED: 'dropped', **{int(status): status.name.lower() for status in Status}}


def write_report(
    run: Run,
    outcomes: Outcomes,
    numbers: dict[str, float],
    intervals: dict[str, tuple[float, float]],
    out: Path,
) -> list[Path]:
    """Write `report.html` and its figures.

    Args:
        run: What was asked and answered, of one picture at least.
        outcomes: The same, judged.
        numbers: As `scores.numbers` returns them.
        intervals: As `scores.intervals` returns them.
        out: Folder, made if there is none.

    Returns:
        The files written: the page, then the figures.

    Raises:
        OSError: The folder cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    reached = stages(outcomes, run.threshold)
    drawn = _draw_all(
        {
            'route': partial(figures.draw_route, run, outcomes),
            'precision_recall': partial(
                figures.draw_precision_recall, run, outcomes, reached, intervals
            ),
            'similarity': partial(figures.draw_similarity, run, outcomes),
            'similarity_matrix': partial(figures.draw_similarity_matrix, run, outcomes),
            'latency': partial(figures.draw_latency, run, outcomes),
        },
        out,
    )
    pictures = _Pictures.read(run, outcomes)
    context: dict[str, Any] = {
        'title': run.title,
        'is_live': run.is_live,
        'headline': summary.headline(run, outcomes, numbers, intervals, reached),
        'protocol': protocol(run, outcomes),
        'verdicts': _tally(outcomes),
        'groups': summary.groups(outcomes, numbers, intervals, reached),
        'settings': (
            summary.settings(run, outcomes, reached[RETRIEVED])
            if summary.has_truth(outcomes)
            else []
        ),
        'endings': summary.endings(run, outcomes),
        'figures': {name: _panel(name, figure) for name, figure in drawn.items()},
        'latencies': summary.stage_latencies(run, outcomes),
        'counts': run.counts,
        'description': run.description,
        **_gallery(run, outcomes, pictures),
    }
    marks = {name: d.marks for name, d in drawn.items() if isinstance(d, Drawing)}
    page = _fitted_page(context, _data(run, outcomes, pictures, marks), run, pictures)
    (out / PAGE).write_text(page, encoding='utf-8')
    return [out / PAGE, *(d.path for d in drawn.values() if isinstance(d, Drawing))]


def _draw_all(
    drawers: Mapping[str, Callable[[Path], Drawing]], out: Path
) -> dict[str, Drawing | CannotDrawError]:
    drawn: dict[str, Drawing | CannotDrawError] = {}
    for name, draw in drawers.items():
        path = out / f'{name}.png'
        try:
            drawn[name] = draw(path)
        except CannotDrawError as reason:
            drawn[name] = reason
    return drawn


def _panel(name: str, figure: Drawing | CannotDrawError) -> dict[str, Any]:
    if isinstance(figure, CannotDrawError):
        return {'title': _TITLES[name], 'missing': str(figure)}
    data = figure.path.read_bytes()
    width, height = (int.from_bytes(data[at : at + 4], 'big') for at in (16, 20))  # PNG's IHDR
    return {
        'title': _TITLES[name],
        'missing': '',
        'caption': figure.caption,
        'uri': thumbnails.data_uri(data, 'image/png'),
        'width': width,
        'height': height,
    }


def _tally(outcomes: Outcomes) -> list[dict[str, Any]]:
    verdicts = outcomes.verdicts()
    return [
        {
            'slug': verdict.name.lower(),
            'label': verdict.value,
            'colour': colour,
            'count': verdicts.count(verdict),
            'meaning': summary.VERDICT_MEANINGS[verdict],
        }
        for verdict, colour in COLOURS.items()
    ]


# --- the pictures ---------------------------------------------------------------------------


@dataclass(frozen=True)
class _Pictures:
    """What the page shows of pictures.

    Attributes:
        shown: Numbers in the run of those that can be pointed at, ascending.
        best: (Q,) int64, row of the best match; -1: none.
        false: Cases of the gallery.
        missed: Likewise.
        queries: `Answer.index` to uint8 RGB (H, W, 3).
        places: Row in the map to the same.
    """

    shown: Sequence[int]
    best: np.ndarray
    false: Sequence[Case]
    missed: Sequence[Case]
    queries: Mapping[int, np.ndarray]
    places: Mapping[int, np.ndarray]

    @classmethod
    def read(cls, run: Run, outcomes: Outcomes) -> _Pictures:
        """Choose them and read each once."""
        false = gallery.worst_false(run, outcomes)
        missed = gallery.worst_missed(run, outcomes)
        cases = [*false, *missed]
        step = -(-len(outcomes) // _MAX_SHOWN)
        shown = sorted({*range(0, len(outcomes), step), *(case.picture for case in cases)})
        best = figures.best_rows(run)
        return cls(
            shown,
            best,
            false,
            missed,
            thumbnails.read_small(
                run.query_pictures,
                [run.answers[number].index for number in shown],
                [run.answers[case.picture].index for case in cases],
            ),
            thumbnails.read_small(
                run.place_pictures,
                [row for row in best[shown].tolist() if row >= 0],
                [row for case in cases for row in (case.claimed, case.true) if row >= 0],
            ),
        )


def _place_name(run: Run, row: int) -> str:
    return run.place_map.images[row] or f'place {row}'


def _gallery(run: Run, outcomes: Outcomes, pictures: _Pictures) -> dict[str, Any]:
    """Return the cases as the template shows them."""
    cases = [*pictures.false, *pictures.missed]
    asked = {run.answers[case.picture].index for case in cases}
    rows = {row for case in cases for row in (case.claimed, case.true)}
    queries, places = thumbnails.singles(
        (
            {index: rgb for index, rgb in pictures.queries.items() if index in asked},
            {row: rgb for row, rgb in pictures.places.items() if row in rows},
        ),
        _GALLERY_BYTES,
    )

    def picture(role: str, name: str, uri: str | None) -> dict[str, Any]:
        return {'role': role, 'name': name, 'uri': uri}

    def view(case: Case, roles: Mapping[str, int], text: str) -> dict[str, Any]:
        answer = run.answers[case.picture]
        found = [
            picture(role, _place_name(run, row), places.get(row))
            for role, row in roles.items()
            if row >= 0
        ]
        query = picture('query', answer.name, queries.get(answer.index))
        return {'picture': case.picture, 'pictures': [query, *found], 'text': text}

    similarity = outcomes.similarity
    verdicts = outcomes.verdicts()
    return {
        'num_false': verdicts.count(Verdict.WRONG),
        'false_cases': [
            view(
                case,
                {'taken for': case.claimed, 'true place': case.true},
                f'similarity {similarity[case.picture]:.3f}'
                + ('' if case.true >= 0 else '; the map does not have this place'),
            )
            for case in pictures.false
        ],
        'num_missed': verdicts.count(Verdict.MISSED),
        'missed_cases': [
            view(
                case,
                {'true place': case.true, 'looks most like': case.claimed},
                _why_missed(run, outcomes, case),
            )
            for case in pictures.missed
        ],
    }


def _why_missed(run: Run, outcomes: Outcomes, case: Case) -> str:
    recognition = run.answers[case.picture].recognition
    reason = '' if recognition is None else recognition.reason
    rank = outcomes.rank[case.picture]
    found = f'; the true place is match {rank}' if rank else '; the true place is not found'
    return reason + found


# --- the page -------------------------------------------------------------------------------


def _data(
    run: Run, outcomes: Outcomes, pictures: _Pictures, marks: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Return what the script needs, as JSON values; `sheets` come later."""
    shown = np.array(pictures.shown)
    verdicts = list(COLOURS)
    columns: dict[str, list[Any]] = {'verdict': [], 'status': [], 'reason': [], 'name': []}
    own = outcomes.verdicts()
    for number in pictures.shown:
        answer = run.answers[number]
        columns['name'].append(answer.name)
        columns['reason'].append(answer.recognition.reason if answer.recognition else '')
        columns['verdict'].append(verdicts.index(own[number]))
        columns['status'].append(int(outcomes.status[number]))
    best = pictures.best[shown].tolist()
    return {
        'total': len(outcomes),
        'threshold': run.threshold,
        'verdicts': [{'slug': v.name.lower(), 'label': v.value} for v in verdicts],
        'statuses': _STATUSES,
        'pictures': {
            **columns,
            'number': pictures.shown,
            'index': [run.answers[number].index for number in pictures.shown],
            'match': [None if row < 0 else row for row in best],
            'rank': outcomes.rank[shown].tolist(),
            'similarity': _values(outcomes.similarity[shown], 4),
            'probability': _values(outcomes.probability[shown], 4),
            'position_error_m': _values(outcomes.position_error_m[shown], 3),
            'angle_error_deg': _values(outcomes.angle_error_deg[shown], 2),
            'latency_ms': _values(1e3 * outcomes.latency_s[shown], 2),
        },
        'places': {row: _place_name(run, row) for row in set(best) if row >= 0},
        'marks': {
            name: [
                None if np.isnan(x) else (round(x, 4), round(y, 4)) for x, y in at[shown].tolist()
            ]
            for name, at in marks.items()
        },
    }


def _values(values: np.ndarray, digits: int) -> list[float | None]:
    return [round(value, digits) if np.isfinite(value) else None for value in values.tolist()]


def _fitted_page(
    context: dict[str, Any], data: dict[str, Any], run: Run, pictures: _Pictures
) -> str:
    """Render the page with pairs as large as it has room for."""
    indices = data['pictures']['index']
    pairs = list(zip(indices, pictures.best[list(pictures.shown)].tolist(), strict=True))
    groups = (pictures.queries, pictures.places)
    empty, _ = thumbnails.sheets(groups, [], 0)
    room = PAGE_BYTES - len(_render(context, data, empty, []).encode()) - 4096  # for remarks
    made, num_left_out = thumbnails.sheets(groups, pairs, room)
    remarks = []
    if len(pictures.shown) < len(run.answers):
        remarks.append(
            f'{len(pictures.shown)} of {len(run.answers)} pictures can be pointed at; the figures '
            'and the numbers are of all.'
        )
    if num_left_out:
        remarks.append(
            f'{num_left_out} of {len(pairs)} pairs of pictures are not shown, to keep the page '
            f'under {PAGE_BYTES / 1e6:.1f} MB.'
        )
    for name, group, wanted in (
        ('query', pictures.queries, set(indices)),
        ('place', pictures.places, {row for _, row in pairs if row >= 0}),
    ):
        if missing := len(wanted - set(group)):
            remarks.append(f'{missing} of {len(wanted)} {name} pictures could not be read again.')
    return _render(context, data, made, remarks)


def _render(
    context: dict[str, Any], data: dict[str, Any], made: Sequence[Sheets], remarks: Sequence[str]
) -> str:
    folder = Path(__file__).parent / 'page'
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies['json.dumps_kwargs'] = {'allow_nan': False, 'separators': (',', ':')}
    environment.filters['json'] = partial(json.dumps, indent=2, ensure_ascii=False)
    sheets = {
        name: {
            **{key: value for key, value in asdict(group).items() if key != 'cells'},
            'numbers': list(group.cells),
        }
        for name, group in zip(('queries', 'places'), made, strict=True)
    }
    css, js = ((folder / f'report.{kind}').read_text('utf-8') for kind in ('css', 'js'))
    return environment.get_template('report.html').render(
        **context, data={**data, 'sheets': sheets}, remarks=remarks, css=css, js=js
    )
