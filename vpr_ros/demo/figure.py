# SPDX-License-Identifier: Apache-2.0
"""One picture of a run: the way, the map, right and wrong closures, similarity over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np

mpl.use('Agg')
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.gridspec import GridSpecFromSubplotSpec, SubplotSpec
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from vpr_ros.demo.plan import Town
from vpr_ros.demo.scoring import Score
from vpr_ros.demo.trials import Trial
from vpr_ros.evaluation.figures import COLOURS
from vpr_ros.evaluation.outcomes import Verdict

LABELS = {
    Verdict.RIGHT: 'right',
    Verdict.WRONG: 'wrong',
    Verdict.MISSED: 'missed',
    Verdict.UNMAPPED: 'not on the map',
    Verdict.UNJUDGED: 'no truth',
}
_NUM_PAIRS = 6


def save_figure(path: Path, trial: Trial, score: Score, *, threshold: float) -> None:
    """Draw a run and write it as PNG."""
    figure = plt.figure(figsize=(16, 10), dpi=100, facecolor='white')
    rows = figure.add_gridspec(
        2, 1, height_ratios=(2.5, 1), hspace=0.2, left=0.045, right=0.99, top=0.92, bottom=0.06
    )
    upper = rows[0].subgridspec(1, 2, width_ratios=(1.0, 1.28), wspace=0.04)
    matched = np.array([r.matches[0].row if r.matches else -1 for r in score.recognitions])
    if trial.track is not None:
        _draw_plan(figure.add_subplot(upper[0]), trial, score, matched)
    else:
        _draw_order(figure.add_subplot(upper[0]), score, matched)
    _draw_pairs(figure, upper[1], trial, score, matched)
    _draw_similarity(figure.add_subplot(rows[1]), trial, score, threshold)
    figure.suptitle(_headline(score), fontsize=15, x=0.045, ha='left', weight='bold')
    figure.savefig(path)
    plt.close(figure)


def _headline(score: Score) -> str:
    text = f'{score.counts.processed} of {score.counts.sent} pictures processed'
    if not np.isnan(score.recall):
        text += f'   ·   recall {100 * score.recall:.1f} %'
    if not np.isnan(score.precision):
        text += f'   ·   precision {100 * score.precision:.1f} %'
    latency = score.latency
    return f'{text}   ·   latency p50 {latency.p50_ms:.0f} ms, p95 {latency.p95_ms:.0f} ms'


def _draw_town(axes: Axes, town: Town) -> None:
    for layer, colour in enumerate(('#e6e3dd', '#f7f6f3')):
        for street in town.streets:
            x_min, y_min, x_max, y_max = street.road if layer else street.ground
            axes.add_patch(
                Rectangle(
                    (x_min, y_min),
                    x_max - x_min,
                    y_max - y_min,
                    color=colour,
                    lw=0,
                    zorder=0.5 * layer,
                )
            )
    for house in town.houses:
        x_min, y_min, x_max, y_max = house.box
        pale = tuple(0.45 * c / 255 + 0.55 for c in house.colour)
        axes.add_patch(
            Rectangle(
                (x_min, y_min),
                x_max - x_min,
                y_max - y_min,
                facecolor=pale,
                edgecolor='#b9b4aa',
                lw=0.6,
                zorder=0.8,
            )
        )
    axes.set_facecolor('#dfe8d5')


def _draw_plan(axes: Axes, trial: Trial, score: Score, matched: np.ndarray) -> None:
    assert trial.track is not None  # the caller chose this drawing because of it
    if trial.town is not None:
        _draw_town(axes, trial.town)
    places = trial.place_map.places['position']
    axes.plot(places[:, 0], places[:, 1], '.', color='#22313f', ms=3.5, zorder=2)
    at = trial.track.positions[list(score.pictures)]
    for verdict in (v for v in Verdict if v in score.verdicts):
        chosen = np.array([v is verdict for v in score.verdicts])
        axes.scatter(at[chosen, 0], at[chosen, 1], s=15, color=COLOURS[verdict], zorder=3)
        if verdict is Verdict.WRONG:
            for start, row in zip(at[chosen], matched[chosen], strict=True):
                axes.plot(
                    [start[0], places[row, 0]],
                    [start[1], places[row, 1]],
                    '-',
                    lw=1,
                    color=COLOURS[verdict],
                    alpha=0.7,
                    zorder=2.5,
                )
    axes.set_aspect('equal')
    axes.margins(0.02)
    axes.set_xlabel('x [m]', labelpad=1)
    axes.set_ylabel('y [m]', labelpad=1)
    _add_legend(axes, score, places=len(places))


def _draw_order(axes: Axes, score: Score, matched: np.ndarray) -> None:
    colours = [COLOURS[verdict] for verdict in score.verdicts]
    axes.scatter(score.pictures, matched, s=16, c=colours)
    axes.set_xlabel('number of the picture')
    axes.set_ylabel('best match in the map')
    axes.grid(alpha=0.3)
    _add_legend(axes, score, places=0)


def _add_legend(axes: Axes, score: Score, *, places: int) -> None:
    """A legend in a strip that is added above the data."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.17 * (high - low))
    axes.legend(
        handles=_legend(score, places=places),
        loc='upper center',
        ncols=2,
        fontsize=9,
        framealpha=0.9,
        handletextpad=0.2,
        columnspacing=1.0,
    )


def _legend(score: Score, *, places: int) -> list[Line2D]:
    handles = []
    if places:
        handles.append(
            Line2D(
                [], [], ls='', marker='.', color='#22313f', label=f'places of the map ({places})'
            )
        )
    for verdict, name in LABELS.items():
        count = sum(v is verdict for v in score.verdicts)
        if count:
            handles.append(
                Line2D(
                    [],
                    [],
                    ls='',
                    marker='o',
                    color=COLOURS[verdict],
                    label=f'{name} ({count})',
                )
            )
    return handles


def _draw_similarity(axes: Axes, trial: Trial, score: Score, threshold: float) -> None:
    numbers = np.array(score.pictures)
    if trial.positives is not None:
        unknown = np.array([rows is not None and not len(rows) for rows in trial.positives], float)
        axes.fill_between(
            np.arange(len(unknown)),
            0,
            1,
            where=unknown > 0,
            step='mid',
            color='#eceff1',
            transform=axes.get_xaxis_transform(),
            label='not on the map',
        )
    similarities = np.array(
        [r.matches[0].similarity if r.matches else np.nan for r in score.recognitions]
    )
    axes.plot(numbers, similarities, '-', lw=0.8, color='#c3cad1', zorder=1)
    colours = [COLOURS[verdict] for verdict in score.verdicts]
    axes.scatter(numbers, similarities, s=12, c=colours, zorder=2)
    axes.axhline(threshold, color='#22313f', lw=1, ls='--')
    axes.text(
        numbers[-1] if len(numbers) else 0,
        threshold,
        f'threshold {threshold:.2f} ',
        ha='right',
        va='bottom',
        fontsize=9,
        bbox={'facecolor': 'white', 'alpha': 0.8, 'lw': 0, 'pad': 1},
        zorder=3,
    )
    axes.set_xlim(-2, max(numbers, default=0) + 3)
    axes.set_xlabel('picture, in the order of the drive', labelpad=1)
    axes.set_ylabel('similarity of the best match')
    axes.grid(alpha=0.25)


def choose_examples(score: Score) -> list[int]:
    """Up to six answers worth a look: first the wrong, then spread over the right and rejected."""
    by_verdict = {v: [i for i, own in enumerate(score.verdicts) if own is v] for v in Verdict}
    chosen = _spread(by_verdict[Verdict.WRONG], 1)
    chosen += _spread(by_verdict[Verdict.MISSED], 1)
    chosen += _spread(by_verdict[Verdict.UNMAPPED], 1)
    rest = by_verdict[Verdict.RIGHT] or by_verdict[Verdict.UNJUDGED]
    chosen = _spread(rest, _NUM_PAIRS - len(chosen)) + chosen
    return [number for number in chosen if score.recognitions[number].matches]


def _spread(numbers: Sequence[int], count: int) -> list[int]:
    if not numbers or count == 0:
        return []
    at = (np.arange(count) + 0.5) / count * len(numbers)
    return sorted({numbers[int(i)] for i in at})


def _draw_pairs(
    figure: plt.Figure,
    where: SubplotSpec,
    trial: Trial,
    score: Score,
    matched: np.ndarray,
) -> None:
    grid: GridSpecFromSubplotSpec = where.subgridspec(3, 4, wspace=0.02, hspace=0.17)
    examples = choose_examples(score)
    queries = _query_pictures(trial, {score.pictures[number] for number in examples})
    for place, number in enumerate(examples):
        similarity = score.recognitions[number].matches[0].similarity
        verdict = score.verdicts[number]
        row, column = place % 3, 2 * (place // 3)
        pair = (queries.get(score.pictures[number]), _map_picture(trial, int(matched[number])))
        titles = (f'query: {LABELS[verdict]}', f'best match: {similarity:.2f}')
        for offset, (rgb, title) in enumerate(zip(pair, titles, strict=True)):
            axes = figure.add_subplot(grid[row, column + offset])
            if rgb is not None:
                axes.imshow(rgb)
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set(color=COLOURS[verdict], linewidth=2)
            axes.set_title(title, fontsize=9, pad=3, color=COLOURS[verdict], loc='left')


def _query_pictures(trial: Trial, wanted: set[int]) -> dict[int, np.ndarray]:
    return {frame.index: frame.rgb for frame in trial.source.frames() if frame.index in wanted}


def _map_picture(trial: Trial, row: int) -> np.ndarray | None:
    """The picture kept with the map, RGB uint8; None where the map keeps none."""
    bgr = cv2.imread(str(trial.map_directory / trial.place_map.images[row]))
    return None if bgr is None else cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
