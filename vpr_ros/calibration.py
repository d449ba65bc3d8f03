# SPDX-License-Identifier: Apache-2.0
"""A threshold for a wanted precision, from a map itself and from runs that were judged.

Each place of a map is asked twice for its best match, never among its neighbours along the drive:
as a revisit, among the other places, if the drive came back (right: a place within a distance and
an angle), and as a place that the map lacks, among those that lie elsewhere, where every match is
wrong. Without the second question a map whose every place is revisited would accept anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from scipy.special import betaincinv

from vpr_ros.errors import CalibrationError
from vpr_ros.evaluation import results
from vpr_ros.evaluation.metrics import PrecisionRecall, precision_recall
from vpr_ros.evaluation.truth import PositivesByPose, Track
from vpr_ros.map_calibration import MapCalibration
from vpr_ros.place_map import PlaceMap

CONFIDENCE = 0.95
MOST_ASKED = 5000  # places of a map that are asked, evenly spread
_ELSEWHERE = 4  # times as far as what is right: there a match is wrong beyond doubt
_TURNED_AWAY_DEG = 90.0  # or so far turned: most cameras then see nothing in common
_QUERIES_A_TIME = 256
_FEW_ERRORS = 0.01  # fraction; a bound nearer to 1 would take hundreds of matches


@dataclass(frozen=True)
class Trials:
    """Pictures and their best matches, judged; all arrays have the length Q.

    Attributes:
        similarity: float64, cosine similarity of the best match.
        right: bool, whether the best match is right.
        revisit: bool, whether a right match was there to be found.
        source: What they are, for people.
    """

    similarity: np.ndarray
    right: np.ndarray
    revisit: np.ndarray
    source: str

    def __len__(self) -> int:
        """Return Q."""
        return len(self.similarity)


@dataclass(frozen=True)
class ByPose:
    """What is right in a map with poses.

    Attributes:
        within_m: A place so near is right.
        within_deg: And turned no further, where both orientations are known.
        apart_m: Places up to so far along the drive are neighbours, whatever they look like.
    """

    within_m: float = 5.0
    within_deg: float = 30.0
    apart_m: float = 20.0


@dataclass(frozen=True)
class ByOrder:
    """What is right in a map of one drive that does not come back.

    What lies between right and clearly elsewhere is not asked: without the nearest neighbours,
    which a robot would find, the next ones would be mistaken for the ones after them.

    Attributes:
        tolerance: So many places beyond the neighbours, either side, are right.
        apart: So many places either side are neighbours, too easy to ask for.
    """

    tolerance: int = 2
    apart: int = 1


def trials_of_map(place_map: PlaceMap, rule: ByPose | ByOrder) -> Trials:
    """Ask each place of a map for its best match among the others.

    Args:
        place_map: With poses for `ByPose`; places without a position are left out.
        rule: What is right.

    Raises:
        CalibrationError: The map is too small for the rule; the text says what to change.
    """
    if isinstance(rule, ByPose):
        return _asked_by_pose(place_map, rule)
    num = len(place_map)
    rows = np.arange(num)

    def candidates(query: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        steps = np.abs(rows - query)
        right = (steps > rule.apart) & (steps <= rule.apart + rule.tolerance)
        elsewhere = steps > _ELSEWHERE * (rule.apart + rule.tolerance)
        return right | elsewhere, right, elsewhere

    source = (
        f'{num} places, each among the others but {rule.apart} either side; right is one of the '
        f'next {rule.tolerance} either side, by order'
    )
    return _ask(place_map, rows, candidates, source)


def _asked_by_pose(place_map: PlaceMap, rule: ByPose) -> Trials:
    places = place_map.places
    positions, orientations = places['position'], places['orientation_xyzw']
    known = np.isfinite(positions).all(axis=1)
    if not known.any():
        raise CalibrationError(
            f'{place_map.directory} has no positions: judge by order (--tolerance) or give a run '
            '(--run)'
        )
    way: np.ndarray = np.zeros(len(places))
    way[np.flatnonzero(known)[1:]] = np.linalg.norm(np.diff(positions[known], axis=0), axis=1)
    way = np.cumsum(way)
    track = Track(positions, orientations)
    positives = PositivesByPose(track, track, within_m=rule.within_m, within_deg=rule.within_deg)

    def candidates(query: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        others = known & (np.abs(way - way[query]) > rule.apart_m)
        right = np.zeros(len(places), bool)
        right[positives[query]] = True
        far = np.linalg.norm(positions - positions[query], axis=1) > _ELSEWHERE * rule.within_m
        cosine = np.clip(np.abs(orientations @ orientations[query]), 0, 1)
        away = np.degrees(2 * np.arccos(cosine)) > _TURNED_AWAY_DEG  # NaN compares as False
        return others, right & others, (far | away) & others

    source = (
        f'{int(known.sum())} places, each among those more than {rule.apart_m:g} m of driving '
        f'away; right is one within {rule.within_m:g} m and {rule.within_deg:g} degrees'
    )
    return _ask(place_map, np.flatnonzero(known), candidates, source)


def _ask(
    place_map: PlaceMap,
    asked: np.ndarray,
    candidates: Callable[[int], tuple[np.ndarray, np.ndarray, np.ndarray]],
    source: str,
) -> Trials:
    """Ask some places; `candidates` marks what is no neighbour, what is right, what is elsewhere.

    Raises:
        CalibrationError: Nothing lies elsewhere.
    """
    if len(asked) > MOST_ASKED:
        asked = asked[np.linspace(0, len(asked) - 1, MOST_ASKED).astype(np.int64)]
        source += f'; {MOST_ASKED} of them asked'
    descriptors = np.asarray(place_map.descriptors, np.float32)
    found: list[tuple[float, bool, bool]] = []
    for start in range(0, len(asked), _QUERIES_A_TIME):
        queries = asked[start : start + _QUERIES_A_TIME]
        alike = descriptors[queries] @ descriptors.T
        for query, similarity in zip(queries, alike, strict=True):
            others, right, elsewhere = candidates(int(query))
            if right.any():
                best = int(np.where(others, similarity, -np.inf).argmax())
                found.append((float(similarity[best]), bool(right[best]), True))
            if elsewhere.any():
                found.append((float(similarity[elsewhere].max()), False, False))
    trials = Trials(*_columns(found), source=source)
    if trials.revisit.all():
        raise CalibrationError(
            f'{place_map.directory}: none of {len(asked)} places lies clearly elsewhere than '
            'another, so that nothing could be mistaken: narrow what is right (--within, '
            '--tolerance) or give a run (--run)'
        )
    return trials


def _columns(rows: list[tuple[float, bool, bool]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    similarity, right, revisit = np.array(rows, float).reshape(-1, 3).T
    return similarity, right.astype(bool), revisit.astype(bool)


def trials_of_run(folder: Path, place_map: PlaceMap) -> Trials:
    """Read a judged run, the results folder of `vpr evaluate` or `vpr replay`.

    Raises:
        FileNotFoundError: No results there.
        SourceError: They are damaged.
        CalibrationError: They are of another model, or nothing in them is judged.
    """
    made_by = results.read_metrics(folder).get('model')
    sha256 = made_by.get('sha256') if isinstance(made_by, dict) else None
    if sha256 != place_map.model.sha256:
        raise CalibrationError(
            f'{folder} was made with another model (sha256 {str(sha256)[:12]}…) than the map '
            f'({place_map.model.name}, {place_map.model.sha256[:12]}…): evaluate again with it'
        )
    _, outcomes = results.read_outcomes(folder)
    used = outcomes.take(
        np.flatnonzero(outcomes.judged & outcomes.answered & np.isfinite(outcomes.similarity))
    )
    if not len(used):
        raise CalibrationError(
            f'nothing in {folder} is judged: evaluate again with a truth (--poses, --pose-topic, '
            '--tolerance or --pairs)'
        )
    return Trials(
        used.similarity, used.right, used.mapped, f'run {folder}, {len(used)} judged pictures'
    )


@dataclass(frozen=True)
class Choice:
    """A threshold, and what it was chosen from.

    Attributes:
        calibration: What the map records.
        curve: Precision and recall of all thresholds.
        num_revisits: Pictures with a right match to be found.
    """

    calibration: MapCalibration
    curve: PrecisionRecall
    num_revisits: int

    @property
    def is_sure(self) -> bool:
        """Whether errors are surely no more than twice as many as wanted, or one in a hundred."""
        most = max(2 * (1 - self.calibration.wanted_precision), _FEW_ERRORS)
        return 1 - self.calibration.precision_at_least <= most


def choose(trials: Sequence[Trials], precision: float) -> Choice:
    """Choose the threshold with the largest recall of those with a precision.

    Args:
        trials: All count the same, picture by picture.
        precision: Wanted, fraction above 0; 1: none wrong.

    Raises:
        ValueError: Another precision.
        CalibrationError: There are no revisits, or no threshold has the precision.
    """
    if not 0 < precision <= 1:
        raise ValueError(f'precision must lie above 0 and up to 1, not {precision}')
    similarity = np.concatenate([part.similarity for part in trials])
    right = np.concatenate([part.right for part in trials])
    num_revisits = int(sum(part.revisit.sum() for part in trials))
    source = ' and '.join(part.source for part in trials)
    if not num_revisits:
        raise CalibrationError(
            f'there are no revisits to measure recall by ({source}): give a judged run of a '
            'second drive (--run), or widen what is right (--within, --within-angle)'
        )
    curve = precision_recall(similarity, right, num_revisits)
    recall, threshold = curve.best_recall(precision)
    if not recall > 0:
        best = int(np.argmax(curve.precision))
        raise CalibrationError(
            f'no threshold has a precision of {precision:g}: the best is '
            f'{curve.precision[best]:.4f} at {curve.thresholds[best]:.4f}, with a recall of '
            f'{curve.recall[best]:.4f} ({source}); want less (--precision), or find out whether '
            'the poses are right and the places differ'
        )
    accepted = similarity >= threshold
    num_accepted, num_right = int(accepted.sum()), int((accepted & right).sum())
    calibration = MapCalibration(
        min_similarity=threshold,
        wanted_precision=precision,
        precision=num_right / num_accepted,
        precision_at_least=lower_bound(num_right, num_accepted),
        recall=recall,
        num_pairs=len(similarity),
        num_accepted=num_accepted,
        source=source,
        created=datetime.now(timezone.utc).isoformat(timespec='seconds'),
    )
    return Choice(calibration, curve, num_revisits)


def lower_bound(successes: int, trials: int, *, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided lower bound of a share (Clopper and Pearson, Biometrika 1934).

    Args:
        successes: How many of the trials succeeded.
        trials: Independent ones; successive pictures of a drive are not quite.
        confidence: How sure the share is not lower, fraction.
    """
    if successes == 0:
        return 0.0
    return float(betaincinv(successes, trials - successes + 1, 1 - confidence))
