# SPDX-License-Identifier: Apache-2.0
"""The filter over time, in worlds where the truth is known."""

import dataclasses
import itertools
import time

import numpy as np
import pytest

from vpr_ros.sequence_filter.config import Motion, SequenceFilterConfig
from vpr_ros.sequence_filter.filter import SequenceFilter
from vpr_ros.sequence_filter.pace import (
    MORE_RELIEF,
    NEW_PACE,
    PACE_CHANGE,
    PLACE_ERROR,
    PacedBelief,
    paces,
)
from vpr_ros.sequence_filter.places import Places

THRESHOLD = 0.45
S = 1_000_000_000  # nanoseconds in a second


class World:
    """A road whose views change smoothly; a view is known at any place along it.

    Places lie at 0, 1, 2, … metres; `looks(x)` is what the camera sees at x.
    """

    def __init__(self, n, *, seed=0, size=64, extent=1.5):
        rng = np.random.default_rng(seed)
        self.n = n
        self._anchors = rng.standard_normal((n + 40, size))
        self._extent = extent
        self._rng = rng
        self.descriptors = np.array([self._clean(x) for x in range(n)])
        self.positions = np.zeros((n, 3))
        self.positions[:, 0] = np.arange(n)

    def _clean(self, x):
        at = np.arange(-20, self.n + 20)
        near = np.abs(at - x) < 12
        weight = np.exp(-0.5 * ((at[near] - x) / self._extent) ** 2)
        return _unit(weight @ self._anchors[near])

    def looks(self, x, *, noise=0.6):
        grain = self._rng.standard_normal(self._anchors.shape[1])
        return _unit(self._clean(x) + noise * _unit(grain))

    def elsewhere(self):
        return _unit(self._rng.standard_normal(self._anchors.shape[1]))

    def filter(self, *, metric=True, **settings):
        positions = self.positions if metric else None
        config = SequenceFilterConfig(**settings)
        return filter_of(self.n, positions, config=config)


def filter_of(n, positions=None, orientations=None, *, cameras=None, **settings):
    """Return a filter of a map that is all there from the start."""
    made = SequenceFilter(threshold=THRESHOLD, **settings)
    made.grow(n, positions, orientations, cameras=cameras)
    return made


def _unit(vector):
    return vector / np.linalg.norm(vector)


def drive(world, sequence_filter, views, *, motions=None, start_s=0.0, every_s=1.0):
    """Give the filter some views; return its beliefs."""
    motions = [None] * len(views) if motions is None else motions
    return [
        sequence_filter.update(world.descriptors @ view, int((start_s + i * every_s) * S), motion)
        for i, (view, motion) in enumerate(zip(views, motions, strict=True))
    ]


def errors(beliefs, truth):
    """Return how many places each consistent belief is off."""
    return np.array(
        [abs(b.best_row - x) for b, x in zip(beliefs, truth, strict=True) if b.is_consistent]
    )


@pytest.mark.parametrize('metric', [True, False])
@pytest.mark.parametrize('odometry', [True, False])
def test_a_drive_along_the_map_is_followed(metric, odometry):
    world = World(300)
    truth = np.arange(100.0, 180.0)
    motions = [Motion(1.0)] * len(truth) if odometry else None
    beliefs = drive(
        world, world.filter(metric=metric), [world.looks(x) for x in truth], motions=motions
    )
    assert not beliefs[0].is_consistent  # one picture is no sequence
    assert all(b.is_consistent for b in beliefs[10:])
    assert errors(beliefs, truth).max() <= 2
    assert beliefs[-1].consistent_count > 50
    assert beliefs[-1].off_map < 0.05


def test_driving_backwards_is_followed():
    world = World(300)
    truth = np.arange(180.0, 100.0, -1.0)
    beliefs = drive(
        world, world.filter(), [world.looks(x) for x in truth], motions=[Motion(-1.0)] * len(truth)
    )
    assert all(b.is_consistent for b in beliefs[10:])
    assert errors(beliefs, truth).max() <= 2


def test_a_drive_elsewhere_is_off_the_map():
    world = World(300)
    beliefs = drive(world, world.filter(), [world.elsewhere() for _ in range(200)])
    assert not any(b.is_consistent for b in beliefs)
    assert beliefs[-1].off_map > 0.9
    assert beliefs[-1].reason.startswith('off_map: ')


def test_a_lap_the_other_way_round_closes_nothing():
    """The camera looks the other way: it passes every place and sees none of them."""
    world, reverse = World(300), World(300, seed=1)
    views = [reverse.looks(x) for x in np.arange(250.0, 50.0, -1.0)]
    beliefs = drive(world, world.filter(), views, motions=[Motion(1.0)] * len(views))
    assert not any(b.is_consistent for b in beliefs)


@pytest.mark.parametrize('odometry', [True, False])
@pytest.mark.parametrize('seed', [0, 1, 2])
def test_kidnapping_is_noticed_at_once_and_mended_within_15_pictures(seed, odometry):
    world = World(1000, seed=seed)
    truth = np.concatenate([np.arange(100.0, 140.0), np.arange(700.0, 740.0)])
    motions = [Motion(1.0)] * len(truth) if odometry else None
    beliefs = drive(world, world.filter(), [world.looks(x) for x in truth], motions=motions)
    assert all(b.is_consistent for b in beliefs[15:40])
    assert errors(beliefs, truth).max() <= 2  # never the old place after the jump
    assert all(b.is_consistent for b in beliefs[55:])


def test_standing_still_adds_no_evidence():
    """A single view that looks like a place stays a single view, however often it is seen."""
    world = World(300)
    view = world.looks(120.0)
    for motions in (None, [Motion(0.0)] * 200):
        noisy = [_unit(view + 0.01 * world.elsewhere()) for _ in range(200)]
        beliefs = drive(world, world.filter(), noisy, motions=motions, every_s=0.1)
        assert not any(b.is_consistent for b in beliefs)
        assert beliefs[-1].consistent_count <= 1


@pytest.mark.parametrize('odometry', [True, False])
def test_standing_still_keeps_what_is_known(odometry):
    world = World(300)
    truth = np.concatenate([np.arange(100.0, 130.0), np.full(300, 129.0)])
    view = world.looks(129.0, noise=0.2)
    views = [world.looks(x) for x in truth[:30]]
    views += [_unit(view + 0.01 * world.elsewhere()) for _ in range(300)]
    motions = [Motion(1.0)] * 30 + [Motion(0.0)] * 300 if odometry else None
    beliefs = drive(world, world.filter(), views, motions=motions)
    assert all(b.is_consistent for b in beliefs[10:])
    assert errors(beliefs[10:], truth[10:]).max() <= 2


def test_many_pictures_a_metre_end_where_few_do():
    """Thirty pictures a metre are hardly more evidence than one."""
    world = World(300)
    truth = np.arange(100.0, 130.0, 1 / 30)
    views = [world.looks(x, noise=0.0) for x in truth]
    beliefs = drive(
        world, world.filter(), views, motions=[Motion(1 / 30)] * len(truth), every_s=1 / 30
    )
    assert errors(beliefs, truth).max() <= 2
    assert beliefs[-1].is_consistent
    assert beliefs[-1].consistent_count < 150  # of 900 pictures on 30 m


def test_a_gap_beyond_the_limit_restarts():
    world = World(300)
    known = world.filter()
    drive(world, known, [world.looks(x) for x in np.arange(100.0, 130.0)])
    after = known.update(world.descriptors @ world.looks(131.0), 100 * S)
    assert after.restarted.startswith('time_gap: ')
    assert not after.is_consistent
    assert after.consistent_count == 1


def test_a_clock_that_goes_back_restarts():
    world = World(300)
    known = world.filter()
    drive(world, known, [world.looks(x) for x in np.arange(100.0, 130.0)], start_s=50)
    after = known.update(world.descriptors @ world.looks(131.0), 10 * S)
    assert after.restarted.startswith('clock_back: ')
    assert after.consistent_count == 1


@pytest.mark.parametrize('mode', ['bayes', 'sequence'])
@pytest.mark.parametrize('metric', [True, False])
def test_a_picture_that_comes_late_is_judged_but_changes_nothing(mode, metric):
    world = World(300)
    views = [world.looks(x, noise=0.2) for x in np.arange(100.0, 131.0)]
    plain, swapped = (world.filter(metric=metric, mode=mode) for _ in range(2))
    for known in (plain, swapped):
        drive(world, known, views[:30], motions=[Motion(1.0)] * 30)
    here, elsewhere = (
        swapped.update(world.descriptors @ view, late_ns, Motion(0.1))
        for view, late_ns in ((views[29], 29 * S - 1), (world.elsewhere(), 29 * S - S // 10))
    )
    assert (here.is_consistent, here.restarted) == (True, '')
    assert abs(here.best_row - 129) <= 1
    assert (elsewhere.is_consistent, elsewhere.restarted) == (False, '')
    after, expected = (
        known.update(world.descriptors @ views[30], 30 * S, Motion(1.0))
        for known in (plain, swapped)
    )
    np.testing.assert_array_equal(after.probability, expected.probability)
    assert after.consistent_count == expected.consistent_count > 10
    assert not swapped.is_late(30 * S)
    assert swapped.update(world.descriptors @ views[30], 30 * S - S // 10 - 1).restarted


def test_belief_spreads_with_the_gap():
    world = World(300)
    probabilities = []
    for gap_s in (1.0, 5.0, 20.0):
        known = world.filter(metric=False, novelty=0.0)
        drive(world, known, [world.looks(x, noise=0.2) for x in np.arange(100.0, 130.0)])
        flat = np.full(world.n, 0.2)  # a picture that says nothing about where
        probabilities.append(known.update(flat, int((29 + gap_s) * S)).best_probability)
    assert probabilities[0] > probabilities[1] > probabilities[2]


def test_odometry_that_jumps_loses_the_place_and_finds_it_again():
    world = World(300)
    truth = np.arange(100.0, 160.0)
    motions = [Motion(1.0)] * 60
    motions[30] = Motion(5000.0)
    beliefs = drive(world, world.filter(), [world.looks(x) for x in truth], motions=motions)
    assert errors(beliefs, truth).max() <= 2
    assert not beliefs[30].is_consistent
    assert all(b.is_consistent for b in beliefs[45:])


def test_odometry_settles_what_looks_alike():
    """Two stretches look the same; only the way between two landmarks tells them apart."""
    world = World(300)
    world.descriptors[200:240] = world.descriptors[100:140]
    truth = np.arange(80.0, 130.0)
    views = [world.looks(x) for x in truth]
    beliefs = drive(world, world.filter(), views, motions=[Motion(1.0)] * len(truth))
    assert errors(beliefs, truth).max() <= 2
    assert beliefs[-1].is_consistent
    began_there = drive(world, world.filter(), [world.looks(x) for x in np.arange(105.0, 135.0)])
    assert not any(b.is_consistent for b in began_there)
    assert began_there[-1].reason.startswith('ambiguous: ')


def test_a_map_that_grows_is_recognised_when_it_is_revisited():
    world = World(200)
    truth = np.concatenate([np.arange(200.0), np.arange(60.0, 120.0)])
    slam = SequenceFilter(threshold=THRESHOLD)
    beliefs = []
    for i, x in enumerate(truth):
        known = min(max(0, i - 50), 200)  # places wait outside the map until they are old
        if known > len(slam):
            slam.grow(known, world.positions[len(slam) : known])
        view = world.looks(x)
        motion = Motion(1.0) if i != 200 else Motion(139.0)
        beliefs.append(slam.update(world.descriptors[:known] @ view, i * S, motion))
    assert beliefs[0].reason.startswith('no_places: ')
    assert not any(b.is_consistent for b in beliefs[:200])
    assert all(b.is_consistent for b in beliefs[215:])
    assert errors(beliefs[200:], truth[200:]).max() <= 2


def test_a_second_drive_of_the_same_road_is_the_same_place():
    """Places of two drives that lie together share the probability, instead of splitting it."""
    world = World(150)
    world.descriptors = np.concatenate([world.descriptors, world.descriptors])
    positions = np.concatenate([world.positions, world.positions + np.array([0.0, 0.1, 0.0])])
    joined = filter_of(300, positions)
    truth = np.arange(50.0, 90.0)
    beliefs = drive(world, joined, [world.looks(x) for x in truth], motions=[Motion(1.0)] * 40)
    assert all(b.is_consistent for b in beliefs[12:])
    assert all(
        abs(b.best_row % 150 - x) <= 2 for b, x in zip(beliefs[12:], truth[12:], strict=True)
    )
    alone = filter_of(300)
    beliefs = drive(world, alone, [world.looks(x) for x in truth])
    assert not any(b.is_consistent for b in beliefs)  # without positions: two places


def test_a_turn_on_the_spot_follows_the_views():
    """Eight views at each place: the turn decides which one."""
    n, views = 40, 8
    world = World(n * views, extent=0.4)
    positions = np.repeat(world.positions[:n], views, axis=0)
    half = np.tile(np.arange(views) * np.pi / views, n)
    orientations = np.stack([0 * half, 0 * half, np.sin(half), np.cos(half)], axis=1)
    turning = filter_of(n * views, positions, orientations)
    truth = np.concatenate([np.arange(10) * views, 9 * views + np.arange(1, views)]).astype(float)
    motions = [Motion(1.0)] * 10 + [Motion(0.0, np.pi / 4)] * (views - 1)
    beliefs = drive(world, turning, [world.looks(x) for x in truth], motions=motions)
    assert beliefs[-1].is_consistent
    assert errors(beliefs[8:], truth[8:]).max() == 0


def brute_force(similarities, motions, positions, config):
    """Return the posteriors of the model written out as one matrix; the last entry is off."""
    n = similarities.shape[1]
    step = max(
        np.median(np.linalg.norm(np.diff(positions, axis=0), axis=1)), config.place_radius_m
    )
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=2) / step
    belief = np.append(np.full(n, 0.5 / n), 0.5)
    found = []
    for seen, motion in zip(similarities, motions, strict=True):
        if found:
            way = motion.distance_m / step
            share = min(1.0, way)
            expected = way / share
            sigma = 0.5 + config.odometry_error * expected
            error = ((apart - expected) / sigma) ** 2
            weight = np.where(apart <= expected + 3 * sigma, np.exp(-0.5 * error), 0.0)
            best = np.where(apart <= expected + 3 * sigma, error, np.inf).min(axis=1)
            stay = (1 - config.leave_probability) * np.exp(-0.5 * best)
            matrix = np.zeros((n + 1, n + 1))
            matrix[:n, :n] = weight / weight.sum(axis=1, keepdims=True) * stay[:, None]
            matrix[:n, n] = 1 - stay
            matrix[n, :n] = config.return_probability / n
            matrix[n, n] = 1 - config.return_probability
            belief = belief @ ((1 - share) * np.eye(n + 1) + share * matrix)
        distances = np.sqrt(2 - 2 * seen)
        near, far = np.quantile(distances, [0.025, 0.975])
        slope = np.log(config.likelihood_ratio) / (far - near)
        neutral = np.sqrt(2 - 2 * THRESHOLD) + config.off_map_relief * (far - near)
        belief[:n] *= np.exp(slope * (neutral - distances))
        belief /= belief.sum()
        found.append(belief.copy())
    return found


@pytest.mark.parametrize('length', [0.3, 1.0, 2.2])
def test_small_maps_are_exact(length):
    rng = np.random.default_rng(3)
    positions = np.cumsum(rng.uniform(0.5, 1.5, (40, 3)) * (1.0, 0.4, 0.0), axis=0)
    similarities = rng.uniform(0.0, 0.8, (12, 40))
    config = SequenceFilterConfig(novelty=0.0)
    motions = [Motion(length)] * 12
    exact = filter_of(40, positions, config=config)
    expected = brute_force(similarities, motions, positions, config)
    for i, (seen, motion, wanted) in enumerate(zip(similarities, motions, expected, strict=True)):
        belief = exact.update(seen, i * S, motion)
        rows, mass = exact._belief.rows, exact._belief.mass
        assert rows.tolist() == list(range(40))
        np.testing.assert_allclose(mass, wanted[:40], rtol=0, atol=1e-9)
        assert belief.off_map == pytest.approx(wanted[40], abs=1e-9)


def test_holding_few_places_changes_little():
    world = World(400)
    truth = np.arange(100.0, 140.0)
    views = [world.looks(x) for x in truth]
    config = SequenceFilterConfig()
    few, all_of_them = (
        filter_of(400, world.positions, config=config, max_active=size) for size in (64, 400)
    )
    motions = [Motion(1.0)] * len(views)
    for a, b in zip(
        drive(world, few, views, motions=motions),
        drive(world, all_of_them, views, motions=motions),
        strict=True,
    ):
        assert a.off_map == pytest.approx(b.off_map, abs=0.05)
        assert a.best_probability == pytest.approx(b.best_probability, abs=0.1)
    assert len(few._belief.rows) <= 64


def test_the_most_similar_places_suffice():
    world = World(400)
    partly = world.filter()
    truth = np.arange(100.0, 140.0)
    for i, x in enumerate(truth):
        seen = world.descriptors @ world.looks(x)
        rows = np.argsort(-seen)[:50]
        belief = partly.update(seen[rows], i * S, Motion(1.0), rows=rows)
        assert belief.rows.tolist() == rows.tolist()
        assert len(belief.probability) == 50
        if i >= 12:
            assert belief.is_consistent
            assert abs(belief.best_row - x) <= 2


def test_all_places_given_by_row_are_all_places():
    world = World(300)  # more than are held one by one
    plain, by_row = world.filter(), world.filter()
    order = np.random.default_rng(0).permutation(300)
    for i in range(40):
        seen = world.descriptors @ world.looks(100.0 + i)
        belief = by_row.update(seen[order], i * S, Motion(1.0), rows=order)
        expected = plain.update(seen, i * S, Motion(1.0))
        assert np.isfinite(belief.best_probability)
        assert belief.best_row == expected.best_row
        assert belief.best_probability == pytest.approx(expected.best_probability)
        assert belief.probability == pytest.approx(expected.probability[order])


def test_probability_is_given_for_the_places_asked_about():
    world = World(100)
    known = world.filter()
    drive(world, known, [world.looks(x) for x in np.arange(30.0, 60.0)])
    belief = known.update(world.descriptors @ world.looks(60.0), 30 * S, asked=np.array([60, 5]))
    assert belief.probability[0] > 0.9
    assert belief.probability[1] < 0.01


def test_sequence_mode_counts_successive_pictures():
    world = World(300)
    plain = world.filter(mode='sequence', min_pictures=4, novelty=0.0)
    truth = np.concatenate([np.arange(100.0, 110.0), np.arange(200.0, 210.0)])
    beliefs = drive(
        world, plain, [world.looks(x, noise=0.1) for x in truth], motions=[Motion(1.0)] * 20
    )
    counts = [b.consistent_count for b in beliefs]
    assert counts == [*range(1, 11), *range(1, 11)]
    assert [b.is_consistent for b in beliefs] == [count >= 4 for count in counts]
    assert np.isnan(beliefs[-1].probability).all()
    lost = plain.update(world.descriptors @ world.elsewhere(), 20 * S, Motion(1.0))
    assert lost.reason.startswith('below_threshold: ')
    assert lost.consistent_count == 0


def test_off_mode_judges_nothing():
    world = World(50)
    belief = drive(world, world.filter(mode='off'), [world.looks(3.0)])[0]
    assert not belief.is_consistent
    assert belief.reason.startswith('filter_off: ')
    assert np.isnan(belief.probability).all()


def test_an_empty_map_gives_no_place():
    empty = SequenceFilter(threshold=THRESHOLD)
    belief = empty.update(np.empty(0), 0)
    assert (belief.best_row, belief.is_consistent) == (-1, False)
    assert belief.reason.startswith('no_places: ')


@pytest.mark.parametrize('n', [1, 2, 3])
def test_tiny_maps_work(n):
    tiny = filter_of(n, np.zeros((n, 3)))
    for i in range(5):
        belief = tiny.update(np.full(n, 0.9), i * S, Motion(0.5))
    assert 0 <= belief.best_row < n
    assert np.isfinite(belief.probability).all()


def test_wrong_input_is_refused():
    known = filter_of(3)
    with pytest.raises(ValueError, match='NaN'):
        known.update(np.array([0.1, np.nan, 0.2]), 0)
    with pytest.raises(ValueError, match=r'\(3,\), not \(2,\)'):
        known.update(np.zeros(2), 0)
    with pytest.raises(ValueError, match='between 0 and 2'):
        known.update(np.zeros(1), 0, rows=np.array([3]))
    with pytest.raises(ValueError, match='twice'):
        known.update(np.zeros(2), 0, rows=np.array([1, 1]))
    with pytest.raises(ValueError, match='finite'):
        Motion(float('nan'))
    with pytest.raises(ValueError, match='make a new one'):
        known.grow(2)
    with pytest.raises(ValueError, match='1 places are new, not 2'):
        known.grow(4, np.zeros((2, 3)))
    with pytest.raises(ValueError, match='cosine'):
        SequenceFilter(threshold=1.5)


@pytest.mark.parametrize('name', [f.name for f in dataclasses.fields(SequenceFilterConfig)])
def test_every_setting_is_described_and_bounded(name):
    spec = SequenceFilterConfig.__dataclass_fields__[name]
    assert spec.metadata['description']
    wrong = 'sometimes' if 'choices' in spec.metadata else spec.metadata['range'][1] + 1
    with pytest.raises(ValueError, match=name):
        SequenceFilterConfig(**{name: wrong})


def test_reset_forgets():
    world = World(300)
    known = world.filter()
    drive(world, known, [world.looks(x) for x in np.arange(100.0, 130.0)])
    known.reset()
    belief = drive(world, known, [world.looks(130.0)])[0]
    assert (belief.is_consistent, belief.restarted) == (False, '')


def places_of(positions, *, pieces=None, cameras=None, at_once=None):
    """Return the places of a map that came one by one, or a few at once."""
    n = len(positions)
    pieces, cameras = (
        np.zeros(n, np.int64) if given is None else np.asarray(given)
        for given in (pieces, cameras)
    )
    places = Places(place_radius_m=0.25, place_angle_deg=15.0)
    ends = [0, *(at_once or range(1, n + 1))]
    for begin, end in itertools.pairwise(ends):
        unknown = np.full((end - begin, 4), np.nan)
        places.append(
            positions[begin:end], unknown, pieces=pieces[begin:end], cameras=cameras[begin:end]
        )
    return places


def road(n, *, spacing_m=0.2, unknown=()):
    """Return places along x, the unknown ones without position."""
    positions = np.zeros((n, 3))
    positions[:, 0] = spacing_m * np.arange(n)
    positions[list(unknown)] = np.nan
    return positions


def test_places_find_their_neighbours_however_they_came():
    rng = np.random.default_rng(0)
    positions = rng.uniform(-30, 30, (500, 3)) * (1.0, 1.0, 0.1)
    places = places_of(positions, at_once=(20, 21, 300, 310, 500))
    rows = np.array([0, 20, 305, 499])
    edges = places.near(rows, 1.3)
    for index, row in enumerate(rows):
        steps = np.linalg.norm(positions - positions[row], axis=1) / places.step_m
        assert sorted(edges.row[edges.source == index]) == np.flatnonzero(steps <= 1.3).tolist()


def test_places_without_a_position_stand_between_their_neighbours():
    places = places_of(road(3, spacing_m=1.0, unknown=[1]), at_once=(3,))
    assert places.apart(0, 1)[0] * places.step_m == pytest.approx(1.0)


@pytest.mark.parametrize('at_once', [None, (50,), (1, 50)])
def test_odometry_that_comes_after_the_first_pictures_is_used(at_once):
    """It does not matter whether places come one by one or, as after a reset, all at once."""
    places = places_of(road(50, spacing_m=1.0, unknown=range(5)), at_once=at_once)
    assert places.is_metric
    assert places.step_m == pytest.approx(1.0)
    assert places.apart(5, 49)[0] == pytest.approx(44.0)


def test_what_most_places_have_decides():
    few_known = places_of(road(50, unknown=range(10, 50)))
    assert not few_known.is_metric
    assert few_known.apart(0, 49)[0] == 49


@pytest.mark.parametrize('num_unknown', [20, 1])
def test_places_after_odometry_ended_are_not_one_place(num_unknown):
    places = places_of(road(60, unknown=range(60 - num_unknown, 60)))
    assert places.is_metric
    assert places.apart(58 - num_unknown, 59)[0] > 0.9 * num_unknown
    assert places.apart(59, 58)[0] < 1.5


def test_places_between_two_pieces_of_odometry_are_near_the_one_before():
    positions = road(40, unknown=[20, 21])
    for at_once in (None, (40,)):
        places = places_of(positions, pieces=np.arange(40) // 20, at_once=at_once)
        near = places.near(np.array([20]), 3.0)
        assert {19, 20, 21} <= set(near.row.tolist()) <= set(range(22))


@pytest.mark.parametrize('n', [2, 9, 10, 19, 40])
@pytest.mark.parametrize('first', ['in another piece', '5 m before'])
def test_the_first_step_alone_is_no_spacing(n, first):
    positions, pieces = road(n), np.ones(n, np.int64)
    if first == '5 m before':
        positions[0, 0] = -5.0
    else:
        pieces[0] = 0
    for at_once in (None, (n,)):
        places = places_of(positions, pieces=pieces, at_once=at_once)
        assert places.step_m == 0.25, 'the radius: the places are closer'
        assert places.apart(0, 1)[0] >= 20


def test_spacing_is_taken_from_ten_places():
    steps_m = [places_of(road(n, spacing_m=1.0)).step_m for n in (9, 10)]
    assert steps_m == pytest.approx([0.25, 1.0])


def test_spacing_is_measured_within_pieces_of_odometry():
    """It breaks more often than not."""
    pieces = np.arange(30) * 2 // 3
    places = places_of(road(30, spacing_m=1.0), pieces=pieces)
    assert places.step_m == pytest.approx(1.0)


@pytest.mark.parametrize('num_cameras', [2, 4])
def test_spacing_is_that_of_the_places_of_one_camera(num_cameras):
    cameras = np.arange(40) % num_cameras
    positions = road(40, spacing_m=0.0)
    positions[:, 0], positions[:, 1] = 3.0 * (np.arange(40) // num_cameras), 0.3 * cameras
    places = places_of(positions, cameras=cameras)
    assert places.step_m == pytest.approx(3.0)


@pytest.mark.parametrize('at_once', [None, (8,)])
@pytest.mark.parametrize(
    ('cameras', 'steps'),
    [
        ([0, 1, 0, 1, 0, 1, 0, 1], [0, 1, 1, 2, 2, 3, 3, 4]),
        ([0, 0, 1, 0, 0, 1, 0, 0], [0, 1, 2, 2, 3, 3, 4, 5]),  # one sees half as many
        ([0, 0, 0, 0, 1, 1, 1, 1], range(8)),  # two drives
    ],
)
def test_without_positions_cameras_that_take_turns_go_on_together(cameras, steps, at_once):
    places = places_of(road(8, unknown=range(8)), cameras=cameras, at_once=at_once)
    assert [places.apart(0, row)[0] for row in range(8)] == list(steps)


@pytest.mark.parametrize('metric', [True, False])
def test_a_map_of_several_cameras_is_followed_as_well_as_one_of_one(metric):
    n, cams, truth = 200, 4, 20 + 2.0 * np.arange(40)
    worlds = [World(n, seed=seed) for seed in range(cams)]
    descriptors, positions = np.empty((n * cams, 64)), np.empty((n * cams, 3))
    for camera, world in enumerate(worlds):
        descriptors[camera::cams] = world.descriptors
        positions[camera::cams] = 3.0 * world.positions + [0.0, 0.3 * camera, 0.0]
    several = filter_of(
        n * cams, positions if metric else None, cameras=np.arange(n * cams) % cams
    )
    beliefs = [
        several.update(descriptors @ worlds[0].looks(x, noise=1.0), i * S, Motion(6.0))
        for i, x in enumerate(truth)
    ]
    assert np.mean([belief.is_consistent for belief in beliefs[10:]]) > 0.8
    assert (np.abs(errors(beliefs, cams * truth)) <= 2 * cams).all()


def test_a_second_camera_makes_no_picture_speak_more_for_the_map():
    world = World(200)
    seen = world.descriptors @ world.elsewhere()
    alone = filter_of(200).update(seen, 0)
    twice = filter_of(400, cameras=np.arange(400) % 2).update(np.repeat(seen, 2), 0)
    assert twice.off_map == pytest.approx(alone.off_map, rel=0.02)


def test_the_first_keyframe_before_a_break_of_odometry_makes_nothing_sure():
    """Two stretches look alike: which one it is stays open until both are known to be apart."""
    known = SequenceFilter(threshold=THRESHOLD)
    beliefs = []
    for i in range(19):
        known.grow(i + 1, np.array([[1.0 * i, 0.0, 0.0]]), pieces=[min(i, 1)])
        seen = np.full(i + 1, 0.1)
        seen[[place for place in (2, 12) if place <= i]] = 0.9
        seen[-1] += 0.02 * (i % 2)  # nothing stands still
        beliefs.append(known.update(seen, i * S, Motion(1.0)))
    assert not any(belief.is_consistent for belief in beliefs[12:])


@pytest.mark.parametrize('metric', [True, False])
def test_a_hundred_thousand_places_take_milliseconds(metric):
    """The bound is generous, for a machine that is busy; alone an update takes about 4 ms."""
    n = 100_000
    rng = np.random.default_rng(0)
    positions = np.zeros((n, 3))
    positions[:, 0], positions[:, 1] = np.arange(n) % 400, 3.0 * (np.arange(n) // 400)
    large = filter_of(n, positions if metric else None)
    bulk = rng.normal(0.1, 0.1, n).astype(np.float32)
    took, grew = [], []
    for i in range(30):
        seen = np.roll(bulk, 37 * i)
        seen[500 + i - 3 : 500 + i + 4] = (0.4, 0.55, 0.7, 0.85, 0.7, 0.55, 0.4)
        begin = time.perf_counter()
        belief = large.update(seen, i * S, Motion(1.0), asked=np.arange(500, 510))
        took.append(time.perf_counter() - begin)
    for i in range(20):
        begin = time.perf_counter()
        large.grow(n + i + 1, np.array([[float(i), -9.0, 0.0]]))
        grew.append(time.perf_counter() - begin)
    assert belief.is_consistent
    assert abs(belief.best_row - 529) <= 2
    assert min(took) < 0.030
    assert min(grew) < 0.010


# Without positions: place and pace.


def paced_brute_force(similarities, config):
    """Return the posteriors of place and pace written out as one matrix; the last entry is off."""
    n, speeds = similarities.shape[1], paces(config.prior_steps)
    count = len(speeds)
    matrix = np.zeros((count * n + 1, count * n + 1))  # from, to; a state is pace * n + place
    for a, pace in enumerate(speeds):
        towards = np.exp(-0.5 * ((speeds - pace) / PACE_CHANGE) ** 2)
        towards = (1 - NEW_PACE) * towards / towards.sum() + NEW_PACE / count
        for b, other in enumerate(speeds):
            ways = np.arange(-40, 41)
            shift = np.exp(-0.5 * ((ways - other) / PLACE_ERROR) ** 2)
            shift[np.abs(ways - other) > 3 * PLACE_ERROR] = 0
            shift /= shift.sum()
            for way, weight in zip(ways, shift, strict=True):
                for i in range(max(0, -way), min(n, n - way)):
                    matrix[a * n + i, b * n + i + way] += towards[b] * weight
    matrix[:-1] *= 1 - config.leave_probability
    matrix[-1, :-1] = config.return_probability / (count * n)
    matrix[:, -1] = 1 - matrix[:, :-1].sum(axis=1)
    belief = np.append(np.full(count * n, 0.5 / (count * n)), 0.5)
    found = []
    for seen in similarities:
        belief = belief @ matrix if found else belief
        distances = np.sqrt(2 - 2 * seen)
        near, far = np.quantile(distances, [0.025, 0.975])
        slope = np.log(config.likelihood_ratio) / (far - near)
        relief = config.off_map_relief + MORE_RELIEF
        neutral = np.sqrt(2 - 2 * THRESHOLD) + relief * (far - near)
        belief[:-1] *= np.tile(np.exp(slope * (neutral - distances)), count)
        belief /= belief.sum()
        found.append(np.append(belief[:-1].reshape(count, n).sum(axis=0), belief[-1]))
    return found


def test_place_and_pace_are_exact():
    similarities = np.random.default_rng(3).uniform(0.0, 0.8, (8, 30))
    config = SequenceFilterConfig(novelty=0.0, prior_steps=1.0)
    exact = filter_of(30, config=config)
    expected = paced_brute_force(similarities, config)
    for i, (seen, wanted) in enumerate(zip(similarities, expected, strict=True)):
        belief = exact.update(seen, i * S)
        np.testing.assert_allclose(exact._belief.mass, wanted[:-1], rtol=0, atol=1e-9)
        assert belief.off_map == pytest.approx(wanted[-1], abs=1e-9)


@pytest.mark.parametrize('pace', [-2.0, -1.0, -0.5, 0.5, 1.0, 2.0])
def test_a_steady_pace_is_held_through_poor_pictures(pace):
    """By place alone, as with positions but no odometry, more answers are wrong."""
    world = World(400)
    truth = 200.0 + pace * np.arange(60)
    views = [world.looks(x, noise=4.0) for x in truth]
    wrong = []
    for metric in (False, True):
        beliefs = drive(world, world.filter(metric=metric, off_map_relief=2.0), views)
        off = np.abs(np.array([b.best_row for b in beliefs]) - truth)
        wrong.append(np.count_nonzero(off[30:] > 2))
    assert wrong[0] <= 2
    assert wrong[0] < wrong[1]


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_without_positions_kidnapping_is_mended_within_15_pictures(seed):
    world = World(1000, seed=seed)
    truth = np.concatenate([np.arange(100.0, 140.0), np.arange(740.0, 700.0, -1.0)])
    views = [world.looks(x) for x in truth]
    beliefs = drive(world, world.filter(metric=False), views)
    assert all(b.is_consistent for b in beliefs[15:40])
    assert errors(beliefs, truth).max() <= 2
    assert all(b.is_consistent for b in beliefs[55:])


def test_without_positions_turning_round_is_followed():
    world = World(300)
    truth = np.concatenate([np.arange(100.0, 140.0), np.arange(140.0, 100.0, -1.0)])
    views = [world.looks(x) for x in truth]
    beliefs = drive(world, world.filter(metric=False), views)
    assert errors(beliefs, truth).max() <= 2
    assert all(b.is_consistent for b in beliefs[50:])


def test_without_positions_a_stop_keeps_the_place():
    world = World(300)
    truth = np.concatenate([np.arange(100.0, 130.0), np.full(100, 129.0), np.arange(130.0, 150.0)])
    view = world.looks(129.0, noise=0.2)
    views = [world.looks(x) for x in truth[:30]]
    views += [_unit(view + 0.01 * world.elsewhere()) for _ in range(100)]
    views += [world.looks(x) for x in truth[130:]]
    beliefs = drive(world, world.filter(metric=False), views)
    assert all(b.is_consistent for b in beliefs[10:130])
    assert errors(beliefs, truth).max() <= 2
    assert beliefs[-1].is_consistent


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_without_positions_what_is_not_on_the_map_closes_nothing(seed):
    world, reverse = World(300, seed=seed), World(300, seed=seed + 10)
    lap = [reverse.looks(x) for x in np.arange(250.0, 50.0, -1.0)]
    elsewhere = [world.elsewhere() for _ in range(200)]
    for views in (lap, elsewhere):
        beliefs = drive(world, world.filter(metric=False), views)
        assert not any(b.is_consistent for b in beliefs)


def test_a_street_alike_all_along_is_no_revisit_of_the_newest_places():
    """What follows the camera at its own pace must not be taken for a place passed before."""
    slam = SequenceFilter(threshold=THRESHOLD)
    for i in range(120):
        slam.grow(max(0, i - 10))
        n = len(slam)
        seen = np.full(n, 0.1)
        trail = np.array([0.42, 0.4, 0.35, 0.3, 0.2, 0.15])[:n]
        seen[n - len(trail) :] = trail[::-1]
        assert not slam.update(seen, i * S).is_consistent


def test_a_map_that_grows_goes_on_by_place_alone():
    world = World(200)
    known = filter_of(199)
    truth = np.arange(60.0, 100.0)
    for i, x in enumerate(truth):
        if i == 20:
            known.grow(200)
        belief = known.update(world.descriptors[: len(known)] @ world.looks(x), i * S)
        if i > 12:
            assert belief.is_consistent  # what was known is not lost
            assert abs(belief.best_row - x) <= 2


def test_beyond_a_size_the_pace_is_left_out():
    config = SequenceFilterConfig()
    assert PacedBelief.can_hold(10_485, config.prior_steps)
    assert not PacedBelief.can_hold(10_486, config.prior_steps)
    for n, all_held in ((10_485, True), (10_486, False)):
        known = filter_of(n)
        known.update(np.linspace(0.0, 0.5, n), 0)
        assert (len(known._belief.rows) == n) == all_held


@pytest.mark.parametrize(('n', 'limit_s'), [(1_000, 0.015), (10_485, 0.060)])
def test_place_and_pace_take_milliseconds(n, limit_s):
    """The bounds are generous, for a busy machine; alone an update takes about 2 and 5 ms."""
    rng = np.random.default_rng(0)
    known = filter_of(n)
    bulk = rng.normal(0.1, 0.1, n)
    took = []
    for i in range(30):
        seen = np.roll(bulk, 37 * i)
        seen[500 + i - 3 : 500 + i + 4] = (0.4, 0.55, 0.7, 0.85, 0.7, 0.55, 0.4)
        begin = time.perf_counter()
        belief = known.update(seen, i * S, asked=np.arange(500, 510))
        took.append(time.perf_counter() - begin)
    assert abs(belief.best_row - 529) <= 2
    assert min(took) < limit_s
