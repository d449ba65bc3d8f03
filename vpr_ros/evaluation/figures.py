# SPDX-License-Identifier: Apache-2.0
"""The figures of a run, and where in each of them every picture is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from vpr_ros.evaluation import matrix
from vpr_ros.evaluation.metrics import PrecisionRecall
from vpr_ros.evaluation.outcomes import Outcomes, Verdict
from vpr_ros.evaluation.run import Run
from vpr_ros.evaluation.scores import RETRIEVED, Stage
from vpr_ros.poses import NS_PER_S

# Told apart with any colour vision, and by their shapes: wrong is a cross, missed a ring.
COLOURS = {
    Verdict.RIGHT: '#0077bb',
    Verdict.MISSED: '#e69f00',
    Verdict.WRONG: '#d1330f',
    Verdict.UNMAPPED: '#98a2ad',
    Verdict.UNJUDGED: '#7a68a6',
    Verdict.DROPPED: '#2f353d',
}
# Drawn in this order, what needs attention last.
_DEPTHS = (
    Verdict.DROPPED,
    Verdict.UNMAPPED,
    Verdict.UNJUDGED,
    Verdict.RIGHT,
    Verdict.MISSED,
    Verdict.WRONG,
)
_INK, _FAINT, _PAPER = '#22282f', '#7b8794', '#ffffff'
_TEAL, _SLATE = '#1c9276', '#51616f'
_GREYS = LinearSegmentedColormap.from_list('greys', ['#ffffff', '#cfd4da', '#5d6670'])
_WIDTH, _DPI = 10.0, 160  # inches; 1600 pixels, sharp on a screen of twice the usual density
_STYLE: dict[Any, Any] = {
    'font.family': ['DejaVu Sans'],
    'font.size': 9.5,
    'axes.edgecolor': '#b8c0c8',
    'axes.labelcolor': _INK,
    'axes.linewidth': 0.8,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'axes.axisbelow': True,
    'axes.titlesize': 10,
    'axes.titlelocation': 'left',
    'axes.titlecolor': _INK,
    'grid.color': '#e9ecef',
    'grid.linewidth': 0.8,
    'xtick.color': _FAINT,
    'ytick.color': _FAINT,
    'xtick.labelcolor': _INK,
    'ytick.labelcolor': _INK,
    'xtick.major.size': 3,
    'ytick.major.size': 3,
    'legend.frameon': False,
    'legend.fontsize': 9,
    'text.color': _INK,
}


@dataclass(frozen=True)
class Drawing:
    """A figure as it was drawn.

    Attributes:
        path: PNG file.
        caption: How to read it.
        marks: (Q, 2) float64, where each picture is: fractions of the width from the left and of
            the height from the top; NaN: not in this figure.
    """

    path: Path
    caption: str
    marks: np.ndarray


class CannotDrawError(ValueError):
    """What a figure would show is not known; the text says what is missing."""


# --- the route ------------------------------------------------------------------------------


def draw_route(run: Run, outcomes: Outcomes, path: Path) -> Drawing:
    """Draw the outcomes where they happened, from above; without positions, along the run."""
    places = np.asarray(run.place_map.places['position'], np.float64)
    best = best_rows(run)
    if run.truth is not None and run.truth.track is not None:
        at = run.truth.track.positions
        told = 'Each picture is where it was taken'
    else:  # all that is known is what was claimed
        at = np.full((len(outcomes), 3), np.nan)
        claims = np.flatnonzero(outcomes.accepted & (best >= 0))
        at[claims] = places[best[claims]]
        told = 'Where the pictures were taken is not known: each accepted one is at its match'
    if not np.isfinite(at).all(axis=1).any():
        return _draw_strip(run, outcomes, path)
    return _draw_plan(outcomes, places, at, best, told, path)


def _draw_plan(
    outcomes: Outcomes,
    places: np.ndarray,
    at: np.ndarray,
    best: np.ndarray,
    told: str,
    path: Path,
) -> Drawing:
    known = np.isfinite(at).all(axis=1)
    across, up = _top_view(np.concatenate([places, at]))
    everything = np.concatenate([places, at[known]])[:, (across, up)]
    extent = np.ptp(everything[np.isfinite(everything).all(axis=1)], axis=0)
    height = np.clip(_WIDTH * (extent[1] + 1e-9) / (extent[0] + 1e-9), 2.4, 5.6) + 0.9
    with _figure(height) as figure:
        axes = figure.subplots()
        axes.plot(places[:, across], places[:, up], '.', color='#c3cad2', ms=5, zorder=1)
        verdicts = np.array(outcomes.verdicts())
        wrong = known & (verdicts == Verdict.WRONG) & (best >= 0)
        lines = np.stack([at[wrong], places[best[wrong]]], axis=1)[:, :, (across, up)]
        alpha = float(np.clip(15 / max(1, len(lines)), 0.1, 0.6))  # many must not be one blot
        colour = to_rgba(COLOURS[Verdict.WRONG], alpha)
        axes.add_collection(LineCollection(list(lines), colors=[colour], lw=0.8, zorder=2))
        _scatter(axes, at[:, across], at[:, up], verdicts, num_places=len(places))
        axes.set_aspect('equal', adjustable='datalim')
        axes.margins(0.03)
        axes.set(xlabel=f'{"xyz"[across]} [m]', ylabel=f'{"xyz"[up]} [m]')
        _legend_above(axes)
        marks = _save(figure, axes, at[:, (across, up)], path)
    caption = f'{told}; grey dots are the places of the map'
    if wrong.any():
        caption += '; lines lead from a wrong match to the place that was claimed'
    if not known.all():
        caption += f'. {int((~known).sum())} pictures have no position and are not drawn'
    return Drawing(path, f'{caption}.', marks)


def _top_view(positions: np.ndarray) -> tuple[int, int]:
    """Return the axes to draw: x and y, unless the world lies flat another way (as in KITTI)."""
    known = positions[np.isfinite(positions).all(axis=1)]
    extent = np.ptp(known, axis=0)
    flat = int(np.argmin(extent[:2]))
    if extent[flat] < extent[2] / 3:
        return (1 - flat, 2)
    return (0, 1)


def _draw_strip(run: Run, outcomes: Outcomes, path: Path) -> Drawing:
    """Draw a lane for each verdict, with a stroke for each picture."""
    x, label = _along(run, outcomes)
    verdicts = np.array(outcomes.verdicts())
    lanes = [verdict for verdict in COLOURS if (verdicts == verdict).any()]
    points = np.full((len(outcomes), 2), np.nan)
    with _figure(0.9 + 0.45 * len(lanes)) as figure:
        axes = figure.subplots()
        for lane, verdict in enumerate(reversed(lanes)):
            chosen = verdicts == verdict
            points[chosen] = np.column_stack([x[chosen], np.full(chosen.sum(), lane)])
            axes.vlines(x[chosen], lane - 0.36, lane + 0.36, color=COLOURS[verdict], lw=1.2)
        names = [f'{v.value}  {int((verdicts == v).sum())}' for v in reversed(lanes)]
        axes.set_yticks(range(len(lanes)), names)
        axes.tick_params(axis='y', length=0)
        axes.grid(axis='y', visible=False)
        axes.spines['left'].set_visible(False)
        axes.set_ylim(-0.6, len(lanes) - 0.4)
        axes.margins(x=0.01)
        axes.set_xlabel(label)
        marks = _save(figure, axes, points, path)
    caption = 'Positions are not known, so that the run is drawn as a strip: a stroke a picture.'
    return Drawing(path, caption, marks)


# --- precision and recall -------------------------------------------------------------------


def draw_precision_recall(
    run: Run,
    outcomes: Outcomes,
    stages: Mapping[str, Stage],
    intervals: Mapping[str, tuple[float, float]],
    path: Path,
) -> Drawing:
    """Draw precision against recall, and both against the threshold.

    Raises:
        CannotDrawError: No mapped picture was answered and judged.
    """
    retrieved = stages[RETRIEVED]
    if not (outcomes.judged & outcomes.answered & outcomes.mapped).any():
        raise CannotDrawError('it is not known of any answered picture which places are right')
    if not len(retrieved.curve.thresholds):
        raise CannotDrawError('no judged picture had a match')
    with _figure(4.7) as figure:
        left, right = figure.subplots(1, 2)
        for style, (name, stage) in zip(('-', '--', ':'), stages.items(), strict=False):
            _draw_curve(left, stage.curve, style, name if len(stages) > 1 else '')
        _draw_operating_point(left, retrieved, run.threshold, intervals)
        _draw_best(left, retrieved.curve)
        lowest = min(stage.curve.precision.min() for stage in stages.values())
        bottom = min(0.8, np.floor(10 * lowest) / 10)
        left.set(xlabel='recall', ylabel='precision', xlim=(0, 1.03), ylim=(bottom, 1.03))
        _legend_above(left, ncols=2)
        _draw_against_threshold(right, retrieved.curve, run.threshold, 'in force')
        points = _on_curve(outcomes, retrieved.curve)
        marks = _save(figure, left, points, path)
    caption = (
        'Left: what every threshold would have given; the whiskers are 95 % intervals, the legend '
        'names thresholds. Right: the same against the threshold: move the dashed line, read off '
        'both.'
    )
    return Drawing(path, caption, marks)


def draw_calibration(
    curve: PrecisionRecall,
    chosen: tuple[float, float, float],
    precision_at_least: float,
    path: Path,
) -> None:
    """Draw what every threshold would have given and which of them was chosen.

    Args:
        curve: Of all thresholds.
        chosen: Threshold, recall and precision.
        precision_at_least: Lower bound of the precision, drawn as a whisker.
        path: The PNG file.
    """
    threshold, recall, precision = chosen
    with _figure(4.7) as figure:
        left, right = figure.subplots(1, 2)
        _draw_curve(left, curve, '-', '')
        blue = COLOURS[Verdict.RIGHT]
        left.plot([recall] * 2, [precision_at_least, precision], color=blue, lw=1.4, zorder=3)
        left.plot(recall, precision_at_least, '_', color=blue, ms=9, zorder=3)
        _draw_point(left, recall, precision, f'{threshold:.3f}, chosen')
        _draw_best(left, curve)
        lowest = min(curve.precision.min(), precision_at_least)
        bottom = min(0.8, np.floor(10 * lowest) / 10)
        left.set(xlabel='recall', ylabel='precision', xlim=(0, 1.03), ylim=(bottom, 1.03))
        _legend_above(left, ncols=2)
        _draw_against_threshold(right, curve, threshold, 'chosen')
        _save(figure, left, np.empty((0, 2)), path)


def _draw_curve(axes: Axes, curve: PrecisionRecall, style: str, name: str) -> None:
    recall = np.append(0, curve.recall)
    precision = np.append(curve.precision[:1], curve.precision)
    label = f'{name}, average precision {curve.average_precision:.3f}'
    label = label.removeprefix(', ')
    axes.plot(recall, precision, style, color=_INK, lw=1.6, label=label, clip_on=False)


def _draw_operating_point(
    axes: Axes, stage: Stage, threshold: float, intervals: Mapping[str, tuple[float, float]]
) -> None:
    if np.isnan(stage.precision):
        axes.plot([], [], ' ', label=f'{threshold:.3f}, in force: accepts nothing')
        return
    low, high = intervals.get('recall', (np.nan, np.nan))
    axes.plot([low, high], [stage.precision] * 2, color=COLOURS[Verdict.RIGHT], lw=1, zorder=3)
    low, high = intervals.get('precision', (np.nan, np.nan))
    axes.plot([stage.recall] * 2, [low, high], color=COLOURS[Verdict.RIGHT], lw=1, zorder=3)
    _draw_point(axes, stage.recall, stage.precision, f'{threshold:.3f}, in force')


def _draw_point(axes: Axes, recall: float, precision: float, label: str) -> None:
    axes.plot(
        recall,
        precision,
        'D',
        color=COLOURS[Verdict.RIGHT],
        mec=_PAPER,
        ms=8,
        zorder=4,
        clip_on=False,
        label=label,
    )


def _draw_best(axes: Axes, curve: PrecisionRecall) -> None:
    for percent, marker in ((99, 's'), (100, 'o')):
        recall, threshold = curve.best_recall(percent / 100)
        if np.isnan(threshold):
            continue
        axes.plot(
            recall,
            np.interp(-threshold, -curve.thresholds, curve.precision),
            marker,
            color=_PAPER,
            mec=_INK,
            mew=1.5,
            ms=7 if marker == 'o' else 9,  # they may be at one spot
            zorder=3,
            clip_on=False,
            label=f'{threshold:.3f}, {percent} % precision',
        )


def _draw_against_threshold(
    axes: Axes, curve: PrecisionRecall, threshold: float, name_of_threshold: str
) -> None:
    for values, colour, name in (
        (curve.precision, _INK, 'precision'),
        (curve.recall, _TEAL, 'recall'),
    ):
        axes.step(curve.thresholds, values, where='pre', color=colour, lw=1.8, label=name)
    axes.axvline(threshold, color=_INK, ls='--', lw=1)
    axes.annotate(
        f' {name_of_threshold}\n {threshold:.3f}',
        (threshold, 0.02),
        xycoords=('data', 'axes fraction'),
        fontsize=8.5,
        va='bottom',
    )
    axes.set(xlabel='threshold on the similarity', ylim=(0, 1.03))
    _legend_above(axes)


def _on_curve(outcomes: Outcomes, curve: PrecisionRecall) -> np.ndarray:
    """Return the recall and precision (Q, 2) if each picture were the last that is accepted."""
    points = np.full((len(outcomes), 2), np.nan)
    swept = np.flatnonzero(outcomes.judged & np.isfinite(outcomes.similarity))
    step = np.searchsorted(-curve.thresholds, -outcomes.similarity[swept])
    points[swept] = np.column_stack([curve.recall[step], curve.precision[step]])
    return points


# --- similarity over time -------------------------------------------------------------------


def draw_similarity(run: Run, outcomes: Outcomes, path: Path) -> Drawing:
    """Draw the best similarity of every picture, and the probability where there is one."""
    x, label = _along(run, outcomes)
    verdicts = np.array(outcomes.verdicts())
    has_probability = bool(np.isfinite(outcomes.probability).any())
    with _figure(5.8 if has_probability else 3.9) as figure:
        panels = figure.subplots(1 + has_probability, 1, sharex=True, squeeze=False)[:, 0]
        for axes in panels:
            _shade_unmapped(axes, x, outcomes)
        axes = panels[0]
        _scatter(axes, x, outcomes.similarity, verdicts)
        _mark_dropped(axes, x, verdicts)
        axes.axhline(run.threshold, color=_INK, ls='--', lw=1, zorder=2)
        axes.annotate(
            f'threshold\n{run.threshold:.3f}',
            (1, run.threshold),
            xycoords=('axes fraction', 'data'),
            xytext=(4, 0),
            textcoords='offset points',
            va='center',
            fontsize=8.5,
        )
        axes.set_ylabel('similarity of the best match')
        axes.margins(x=0.01, y=0.08)
        if has_probability:
            _scatter(panels[1], x, outcomes.probability, verdicts)
            panels[1].set(ylabel='probability', ylim=(-0.04, 1.04))
        panels[-1].set_xlabel(label)
        _legend_above(axes)
        points = np.column_stack([x, outcomes.similarity])
        marks = _save(figure, axes, points, path)
    caption = 'Above the dashed line a picture is accepted'
    if (outcomes.judged & ~outcomes.mapped).any():
        caption += '; where the ground is grey, the map does not have the place'
    caption += _said_of_dropped(outcomes)
    return Drawing(path, f'{caption}.', marks)


def _shade_unmapped(axes: Axes, x: np.ndarray, outcomes: Outcomes) -> None:
    unmapped = outcomes.judged & ~outcomes.mapped
    middle = (x[1:] + x[:-1]) / 2
    left, right = np.concatenate([x[:1], middle]), np.concatenate([middle, x[-1:]])
    changes = np.flatnonzero(np.diff(np.concatenate([[0], unmapped, [0]])))
    for start, end in zip(changes[::2], changes[1::2], strict=True):
        axes.axvspan(left[start], right[end - 1], color='#eef0f3', lw=0, zorder=0)


def _said_of_dropped(outcomes: Outcomes) -> str:
    if outcomes.answered.all():
        return ''
    return '; strokes at the foot are pictures that were dropped'


def _mark_dropped(axes: Axes, x: np.ndarray, verdicts: np.ndarray) -> None:
    dropped = verdicts == Verdict.DROPPED
    if dropped.any():
        axes.vlines(
            x[dropped],
            *(0, 0.05),
            transform=axes.get_xaxis_transform(),
            color=COLOURS[Verdict.DROPPED],
            lw=1,
            label=f'{Verdict.DROPPED.value} ({int(dropped.sum())})',
        )


# --- every picture against every place ------------------------------------------------------


def draw_similarity_matrix(run: Run, outcomes: Outcomes, path: Path) -> Drawing:
    """Draw all similarities with the accepted matches and the truth.

    Raises:
        CannotDrawError: The map is empty or the answers carry no descriptors.
    """
    descriptors = [
        None if answer.recognition is None else answer.recognition.descriptor
        for answer in run.answers
    ]
    num_queries, num_places = len(descriptors), len(run.place_map)
    if num_places == 0:
        raise CannotDrawError('the map holds no places')
    if all(descriptor is None for descriptor in descriptors):
        raise CannotDrawError('the answers carry no descriptors')
    pooled = matrix.similarity_cells(descriptors, run.place_map.descriptors)
    height = float(np.clip(7.0 * num_queries / num_places, 2.5, 6.2)) + 1.0
    with _figure(height) as figure:
        axes = figure.subplots()
        axes.grid(visible=False)
        axes.set_facecolor('#fdf6e3')  # no descriptor: no similarity is of this colour
        low, high = np.nanpercentile(pooled, (2, 99.9))
        image = axes.imshow(
            pooled,
            cmap=_GREYS,
            vmin=low,
            vmax=high,
            extent=(-0.5, num_places - 0.5, num_queries - 0.5, -0.5),
            aspect='auto',
            interpolation='nearest',
        )
        bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.01, aspect=30)
        bar.set_label('cosine similarity')
        bar.outline.set_visible(False)
        has_truth = _draw_truth_band(axes, run, num_places)
        best, verdicts = best_rows(run), np.array(outcomes.verdicts())
        columns = np.where(best >= 0, best, np.nan)
        rows = np.arange(num_queries, dtype=np.float64)
        shown = np.where(outcomes.accepted, columns, np.nan)
        _scatter(axes, shown, rows, verdicts)
        axes.set(xlabel='place of the map', ylabel='picture')
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
        _legend_above(axes)
        marks = _save(figure, axes, np.column_stack([columns, rows]), path)
    caption = 'Dark is alike; accepted matches are marked'
    if has_truth:
        caption += '; right would be inside the green outline'
    per_cell = [max(1, -(-num // matrix.CELLS)) for num in (num_queries, num_places)]
    if max(per_cell) > 1:
        caption += (
            f'. A cell is the most alike of up to {per_cell[0]} pictures and {per_cell[1]} places'
        )
    missing = sum(descriptor is None for descriptor in descriptors)
    if missing:
        caption += f'. {missing} pictures without a descriptor are left blank'
    return Drawing(path, f'{caption}.', marks)


def _draw_truth_band(axes: Axes, run: Run, num_places: int) -> bool:
    if run.truth is None:
        return False
    marked = matrix.truth_cells(run.truth.positives, num_places)
    if not marked.any():
        return False
    # Four times as fine and with a margin: the outline goes round the cells, not through them.
    fine = np.pad(marked, 1).repeat(4, axis=0).repeat(4, axis=1).astype(np.float32)
    height, width = len(run.truth.positives) / marked.shape[0], num_places / marked.shape[1]
    x = -0.5 + width * ((np.arange(fine.shape[1]) + 0.5) / 4 - 1)
    y = -0.5 + height * ((np.arange(fine.shape[0]) + 0.5) / 4 - 1)
    axes.contour(x, y, fine, levels=[0.5], colors=[_TEAL], linewidths=0.9)
    axes.set(xlim=(-0.5, num_places - 0.5), ylim=(len(run.truth.positives) - 0.5, -0.5))
    return True


# --- latency --------------------------------------------------------------------------------


def draw_latency(run: Run, outcomes: Outcomes, path: Path) -> Drawing:
    """Draw the time from picture to answer along the run, and how it is distributed.

    Raises:
        CannotDrawError: Nothing was timed.
    """
    if not np.isfinite(outcomes.latency_s).any():
        raise CannotDrawError('no answer was timed')
    x, label = _along(run, outcomes)
    milliseconds = 1e3 * outcomes.latency_s
    known = milliseconds[np.isfinite(milliseconds)]
    with _figure(3.2) as figure:
        axes, side = figure.subplots(1, 2, sharey=True, width_ratios=(4, 1))
        axes.plot(x, milliseconds, '.', color=_SLATE, ms=4, alpha=0.7)
        _mark_dropped(axes, x, np.array(outcomes.verdicts()))
        axes.set(xlabel=label, ylabel='picture to answer [ms]')
        axes.margins(x=0.01)
        side.hist(known, bins=40, orientation='horizontal', color=_SLATE)
        side.set_xlabel('pictures')
        side.grid(axis='y', visible=False)
        for percent in (50, 95):
            value = float(np.percentile(known, percent))
            side.axhline(value, color=_INK, lw=0.8, ls='--')
            side.annotate(
                f'p{percent}\n{value:.1f}',
                (1, value),
                xycoords=('axes fraction', 'data'),
                xytext=(4, 0),
                textcoords='offset points',
                va='bottom' if percent == 95 else 'top',
                fontsize=8.5,
            )
        axes.set_ylim(0, 1.05 * known.max())
        marks = _save(figure, axes, np.column_stack([x, milliseconds]), path)
    caption = (
        'From a picture handed to DDS to its answer, queues and transport included'
        if run.is_live
        else 'From a picture at hand to its answer; reading and decoding are not included'
    )
    caption += _said_of_dropped(outcomes)
    return Drawing(path, f'{caption}.', marks)


# --- what they share ------------------------------------------------------------------------


def best_rows(run: Run) -> np.ndarray:
    """Return the row in the map of each picture's best match, (Q,) int64; -1: no match."""
    matches = (() if a.recognition is None else a.recognition.matches for a in run.answers)
    return np.array([found[0].row if found else -1 for found in matches], np.int64)


def _along(run: Run, outcomes: Outcomes) -> tuple[np.ndarray, str]:
    """Return where along the run each picture is, (Q,) float64, and what that is measured in."""
    if not run.has_times:
        return np.arange(len(outcomes), dtype=np.float64), 'picture'
    seconds = (outcomes.stamp_ns - outcomes.stamp_ns[0]) / NS_PER_S
    if np.ptp(seconds) > 600:
        return seconds / 60, 'time [min]'
    return seconds, 'time [s]'


def _scatter(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    verdicts: np.ndarray,
    *,
    num_places: int = 0,
) -> None:
    """Draw pictures by verdict, what needs attention on top."""
    if num_places:
        axes.plot([], [], '.', color='#c3cad2', ms=7, label=f'places of the map ({num_places})')
    drawn = np.isfinite(x) & np.isfinite(y)
    size = float(np.clip(5000 / len(x), 10, 36))  # points squared
    for depth, verdict in enumerate(_DEPTHS):
        chosen = drawn & (verdicts == verdict)
        if not chosen.any():
            continue
        colour = COLOURS[verdict]
        look: dict[str, Any] = {'marker': 'o', 's': size, 'color': to_rgba(colour, 0.85), 'lw': 0}
        if verdict in (Verdict.WRONG, Verdict.DROPPED):
            marker = 'x' if verdict is Verdict.WRONG else '|'
            look = {'marker': marker, 's': 1.6 * size, 'color': colour, 'lw': 1.3}
        elif verdict is Verdict.MISSED:
            look = {'marker': 'o', 's': 1.2 * size, 'fc': 'none', 'ec': colour, 'lw': 1.2}
        label = f'{verdict.value} ({int(chosen.sum())})'
        axes.scatter(x[chosen], y[chosen], zorder=3 + depth, label=label, **look)


def _legend_above(axes: Axes, *, ncols: int = 6) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc='lower left',
            bbox_to_anchor=(0, 1),
            ncols=ncols,
            borderaxespad=0.2,
            handletextpad=0.3,
            columnspacing=1.4,
        )


@contextmanager
def _figure(height: float) -> Iterator[Figure]:
    with mpl.rc_context(_STYLE):
        yield Figure((_WIDTH, height), dpi=_DPI, layout='constrained', facecolor=_PAPER)


def _save(figure: Figure, axes: Axes, points: np.ndarray, path: Path) -> np.ndarray:
    """Write the PNG and return where in it the points of the axes are, as `Drawing.marks`."""
    figure.draw_without_rendering()
    figure.set_layout_engine('none')  # what was drawn is what is written
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    rgb = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert('RGB')
    few = rgb.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(path, optimize=True)  # a quarter of the bytes that all colours would take
    pixels = axes.transData.transform(points)
    return _fractions(pixels, figure.bbox.size)


def _fractions(pixels: np.ndarray, size: Iterable[float]) -> np.ndarray:
    across, up = (pixels / np.asarray(size)).T
    marks = np.column_stack([across, 1 - up])
    marks[~((marks >= 0) & (marks <= 1)).all(axis=1)] = np.nan
    return marks
