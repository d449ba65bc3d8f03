# SPDX-License-Identifier: Apache-2.0
"""The filter over time, one call a picture: `SequenceFilter.update`."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Sequence

import numpy as np

from vpr_ros.poses import NS_PER_S, SWAPPED_NS
from vpr_ros.sequence_filter.bayes import MAX_ACTIVE, PlaceBelief
from vpr_ros.sequence_filter.chain import SAME_PLACE_STEPS, Chain
from vpr_ros.sequence_filter.config import Belief, Motion, SequenceFilterConfig
from vpr_ros.sequence_filter.motion import Move, move_by_odometry, move_by_prior
from vpr_ros.sequence_filter.observation import Evidence, Observation
from vpr_ros.sequence_filter.pace import PacedBelief
from vpr_ros.sequence_filter.places import Places

_INTERVALS = 15  # that the usual time between pictures is taken from
_DEFAULTS = SequenceFilterConfig()
_EDGES_OF_SUM = 300_000  # pairs looked at where masses are added up, likeliest places first
_PART_STEPS = 10.0  # about a place, where geometry tells which it is
_STILL = 0.1  # steps; less than this is standing, where the map has no positions


class SequenceFilter:
    """Judges a picture's matches by the pictures before it.

    One filter belongs to one camera and one map. Similarities of all places are best; the best few
    hundred do for large maps (the rest is then taken to be as similar as the last of them).

    After a kidnapping the belief has to leave the old place and gather at the new one: that takes
    about log(N) / log(likelihood of one picture) pictures that show something new, which
    `test/test_sequence_filter.py` holds to 15 at 1,000 places.

    A map without positions, whose places are in the order of a drive, is followed by place and
    pace (see `pace`), exactly, up to 10,485 places at the default `prior_steps`: an update touches
    every place at every pace, so its time grows with the map. Larger maps, and maps that grow
    while pictures come in, are followed by place alone, a Gaussian of `prior_steps` either way.
    """

    def __init__(
        self,
        *,
        threshold: float,
        config: SequenceFilterConfig = _DEFAULTS,
        max_active: int = MAX_ACTIVE,
    ) -> None:
        """Start without places; `grow` brings them.

        Args:
            threshold: Cosine similarity from which a match counts: the model's, or the user's.
            config: What can be tuned.
            max_active: Places that are held one by one; smaller maps are exact. Not for maps
                followed by place and pace, which are always exact.

        Raises:
            ValueError: The threshold is no cosine.
        """
        if not -1.0 <= threshold <= 1.0:
            raise ValueError(f'threshold must be a cosine similarity, -1 to 1, not {threshold}')
        self.config = config
        self._threshold = threshold
        self._places = Places(
            place_radius_m=config.place_radius_m, place_angle_deg=config.place_angle_deg
        )
        self._observation = Observation(config, threshold)
        self._max_active = max_active
        self._belief: PlaceBelief | PacedBelief = PacedBelief(config)
        self._chain = Chain(self._places)
        self.reset()

    def __len__(self) -> int:
        """Return N, the number of places."""
        return len(self._places)

    @property
    def is_metric(self) -> bool:
        """Whether places are told apart by their positions, not by their order."""
        return self._places.is_metric

    @property
    def has_pace(self) -> bool:
        """Whether the pictures so far are followed by place and pace."""
        return isinstance(self._belief, PacedBelief)

    def reset(self) -> None:
        """Forget all pictures; the places stay."""
        self._belief.reset()
        self._chain.reset()
        self._observation.reset()
        self._stamp_ns: int | None = None
        self._intervals_s: deque[float] = deque(maxlen=_INTERVALS)

    def grow(
        self,
        num_places: int,
        positions: np.ndarray | None = None,
        orientations_xyzw: np.ndarray | None = None,
        *,
        pieces: Sequence[int] | None = None,
        cameras: Sequence[int] | np.ndarray | None = None,
    ) -> None:
        """Take in places that were added at the end of the map.

        Args:
            num_places: How many places the map has now, the known ones included.
            positions: (n, 3) metres, of the n new ones; None or NaN: unknown.
            orientations_xyzw: (n, 4) unit quaternions of the views; None or NaN: unknown.
            pieces: (n,) number of the piece of odometry that gave each its position; None: all
                positions are in one frame.
            cameras: (n,) number of the camera that saw each; None: the same.

        Raises:
            ValueError: The map has shrunk (make a new filter), or the arrays do not fit.
        """
        n = num_places - len(self)
        if n < 0:
            raise ValueError(
                f'the map has {num_places} places, the filter knew {len(self)}: make a new one'
            )
        given = np.full((n, 3), np.nan) if positions is None else np.asarray(positions, float)
        views = (
            np.full((n, 4), np.nan)
            if orientations_xyzw is None
            else np.asarray(orientations_xyzw, float)
        )
        if len(given) != n or len(views) != n:
            raise ValueError(f'{n} places are new, not {len(given)} ({len(views)} orientations)')
        self._places.append(given, views, pieces=_numbers(pieces, n), cameras=_numbers(cameras, n))
        self._hold()

    def _hold(self) -> None:
        """Hold the belief by place and pace where that tells something, else by place alone.

        In a map that grows with the drive, the newest places follow the camera at its own pace: a
        street that looks the same all along would be taken for one passed before.
        """
        if isinstance(self._belief, PlaceBelief):
            return
        fits = PacedBelief.can_hold(len(self), self.config.prior_steps)
        if fits and not self._places.is_metric and self._belief.is_blank:
            self._belief.start(self._places.turns)
            return
        alone = PlaceBelief(self._places, max_active=self._max_active)
        if not self._belief.is_blank:
            alone.take_over(self._belief)
        self._belief = alone

    def update(
        self,
        similarities: np.ndarray,
        stamp_ns: int,
        motion: Motion | None = None,
        *,
        rows: np.ndarray | None = None,
        asked: np.ndarray | None = None,
    ) -> Belief:
        """Take in one picture.

        Pictures that could not be described (blank, dark) are left out; the motion given with the
        next one then has to span them. One that comes late (`is_late`) is judged by what is
        believed, and changes nothing of it.

        Args:
            similarities: (N,) cosine similarities of all places in map order; or (K,) of `rows`.
            stamp_ns: The picture's stamp, nanoseconds.
            motion: How the camera moved since the last picture given here; None: unknown.
            rows: (K,) the most similar places, different ones; None: all.
            asked: Places whose probability is wanted; None: `rows`, or all places.

        Returns:
            What is believed now.

        Raises:
            ValueError: The arrays do not fit the map, or a similarity is not finite.
        """
        given, rows = self._checked(similarities, rows)
        asked = rows if asked is None else np.asarray(asked, np.int64)
        asked = np.arange(len(self)) if asked is None else asked
        if rows is not None and len(rows) == len(self):
            given, rows = given[np.argsort(rows)], None  # all are known, if in another order
        late = self.is_late(stamp_ns)
        interval_s, restarted = (None, '') if late else self._clock(stamp_ns)
        if len(given) == 0:
            return _nothing(asked, 'no_places: the map holds no places yet', restarted)
        if self.config.mode == 'off':
            return _nothing(asked, 'filter_off: pictures are judged one by one', restarted)
        evidence = self._observation.evidence(given, rows, len(self), late=late)
        move = self._move(motion, evidence.weight, interval_s)
        chain = copy.copy(self._chain)
        if self.config.mode == 'sequence':
            belief = self._by_sequence(given, rows, asked, evidence, move, restarted)
        else:
            if interval_s is not None:
                self._belief.predict(move, come_back=self.config.return_probability)
            self._belief.correct(evidence)
            belief = self._by_belief(given, rows, asked, evidence, move, restarted)
        if late:
            self._chain = chain
        return belief

    def is_late(self, stamp_ns: int) -> bool:
        """Return whether a picture was overtaken by the last one, as they may arrive swapped."""
        return self._stamp_ns is not None and 0 < self._stamp_ns - stamp_ns <= SWAPPED_NS

    def _checked(
        self, similarities: np.ndarray, rows: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        given = np.asarray(similarities)
        expected = (len(self),) if rows is None else (len(rows),)
        if given.shape != expected:
            raise ValueError(f'similarities must be {expected}, not {given.shape}')
        if not np.isfinite(given).all():
            raise ValueError('a similarity is NaN or infinite')
        if rows is None:
            return given, None
        rows = np.asarray(rows, np.int64)
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(self)):
            raise ValueError(
                f'rows must lie between 0 and {len(self) - 1}, not {rows.min()} to {rows.max()}'
            )
        if len(np.unique(rows)) != len(rows):
            raise ValueError('a row is given twice')
        return given, rows

    def _clock(self, stamp_ns: int) -> tuple[float | None, str]:
        """Return seconds since the last picture, None if there is none; and why that is so."""
        before, restarted = self._stamp_ns, ''
        if before is not None:
            interval_s = (stamp_ns - before) / NS_PER_S
            if interval_s < 0:
                restarted = f'clock_back: the clock went back by {-interval_s:.3f} s'
            elif interval_s > self.config.max_gap_s:
                restarted = f'time_gap: no picture for {interval_s:.1f} s'
            if restarted:
                self.reset()
                before = None
        self._stamp_ns = stamp_ns
        return (None if before is None else interval_s), restarted

    def _move(self, motion: Motion | None, novelty: float, interval_s: float | None) -> Move:
        if interval_s is None:
            return move_by_prior(1.0, 1.0, 0.0, self.config)
        usual_s = float(np.median(self._intervals_s)) if self._intervals_s else interval_s
        self._intervals_s.append(interval_s)
        if motion is not None and self._places.is_metric:
            return move_by_odometry(motion, self._places, self.config)
        if motion is not None and self._stands(motion):
            novelty = 0.0
        gap_ratio = interval_s / usual_s if usual_s > 0 else 1.0
        return move_by_prior(novelty, gap_ratio, interval_s / self.config.max_gap_s, self.config)

    def _stands(self, motion: Motion) -> bool:
        moved = abs(motion.distance_m) / self.config.place_radius_m
        turned = math.degrees(abs(motion.yaw_rad)) / self.config.place_angle_deg
        return max(moved, turned) < _STILL

    def _by_belief(
        self,
        given: np.ndarray,
        rows: np.ndarray | None,
        asked: np.ndarray,
        evidence: Evidence,
        move: Move,
        restarted: str,
    ) -> Belief:
        around = self._mass_around()
        centre = int(np.argmax(around))
        best = self._most_alike(self._same(centre), evidence)
        similarity = float(_of_rows(given, rows, np.array([best]))[0])
        supported = similarity >= self._threshold
        if supported:
            self._chain.extend(best, move, evidence.weight)
        probability = float(around[centre])
        reason = self._objection(probability, supported=supported)
        return Belief(
            rows=asked,
            probability=around[asked],
            part=self._part_of(asked),
            off_map=self._belief.off,
            best_row=best,
            best_probability=probability,
            consistent_count=self._chain.count,
            is_consistent=not reason,
            reason=reason,
            restarted=restarted,
        )

    def _mass_around(self) -> np.ndarray:
        """Return (N,) the probability of each place and those too near to be told apart."""
        rows, mass = self._belief.heaviest()
        edges = self._places.near(rows, SAME_PLACE_STEPS, max_edges=_EDGES_OF_SUM)
        near = edges.turn_steps <= SAME_PLACE_STEPS
        around = np.bincount(edges.row[near], mass[edges.source[near]], minlength=len(self))
        return np.minimum(around, 1.0)

    def _part_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the share of the belief on the map that lies around each of some places."""
        edges = self._places.near(rows, _PART_STEPS)
        mass = np.bincount(edges.source, self._belief.mass_of(edges.row), minlength=len(rows))
        return np.minimum(mass / max(1.0 - self._belief.off, 1e-300), 1.0)

    def _most_alike(self, rows: np.ndarray, evidence: Evidence) -> int:
        """Return the likeliest of some places once this picture is looked at again.

        A belief without paces smooths over neighbours; which of them the picture shows, it says
        best itself. Where the pace is known, the pictures before say it better.
        """
        log_mass = np.log(np.maximum(self._belief.mass_of(rows), 1e-300))
        if isinstance(self._belief, PacedBelief):
            return int(rows[np.argmax(log_mass)])
        log_ratio = _of_rows(evidence.log_ratio, evidence.rows, rows)
        return int(rows[np.argmax(log_ratio + log_mass)])

    def _same(self, row: int) -> np.ndarray:
        """Return the places too near to one to be told apart from it, ascending."""
        edges = self._places.near(np.array([row]), SAME_PLACE_STEPS)
        return np.sort(edges.row[edges.turn_steps <= SAME_PLACE_STEPS])

    def _objection(self, probability: float, *, supported: bool) -> str:
        least, off = self.config.min_probability, self._belief.off
        if probability < least and off > 0.5:
            return f'off_map: with probability {off:.2f} the camera is off the map'
        if probability < least:
            return f'ambiguous: the likeliest place has probability {probability:.2f}, not {least}'
        if not supported:
            return 'unsupported: the picture itself does not look like the place expected'
        return self._too_few()

    def _too_few(self) -> str:
        count, least = self._chain.count, self.config.min_pictures
        return f'few_pictures: {count} of {least} pictures agree' if count < least else ''

    def _by_sequence(
        self,
        given: np.ndarray,
        rows: np.ndarray | None,
        asked: np.ndarray,
        evidence: Evidence,
        move: Move,
        restarted: str,
    ) -> Belief:
        """Apply the plain rule: n successive best matches follow each other."""
        top = int(np.argmax(given))
        best, similarity = (top if rows is None else int(rows[top])), float(given[top])
        if similarity < self._threshold:
            self._chain.reset()
            reason = (
                f'below_threshold: best similarity {similarity:.3f} is below {self._threshold:.3f}'
            )
        else:
            self._chain.extend(best, move, evidence.weight)
            reason = self._too_few()
        return Belief(
            rows=asked,
            probability=np.full(len(asked), np.nan),
            part=np.full(len(asked), np.nan),
            off_map=math.nan,
            best_row=best,
            best_probability=math.nan,
            consistent_count=self._chain.count,
            is_consistent=not reason,
            reason=reason,
            restarted=restarted,
        )


def _of_rows(values: np.ndarray, rows: np.ndarray | None, wanted: np.ndarray) -> np.ndarray:
    """Return what a picture gave to some places; -inf: it gave them nothing.

    Args:
        values: (N,) of all places, or (K,) of `rows`.
        rows: (K,) int64; None: all places.
        wanted: (W,) int64.
    """
    if rows is None:
        return values[wanted]
    order = np.argsort(rows)
    at = order[np.minimum(np.searchsorted(rows, wanted, sorter=order), len(order) - 1)]
    return np.where(rows[at] == wanted, values[at], -np.inf)


def _numbers(given: Sequence[int] | np.ndarray | None, n: int) -> np.ndarray:
    return np.zeros(n, np.int64) if given is None else np.asarray(given, np.int64)


def _nothing(asked: np.ndarray, reason: str, restarted: str) -> Belief:
    return Belief(
        rows=asked,
        probability=np.full(len(asked), np.nan),
        part=np.full(len(asked), np.nan),
        off_map=math.nan,
        best_row=-1,
        best_probability=math.nan,
        consistent_count=0,
        is_consistent=False,
        reason=reason,
        restarted=restarted,
    )
