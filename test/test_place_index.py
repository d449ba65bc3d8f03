# SPDX-License-Identifier: Apache-2.0
"""Searching maps of all sizes; large ones are made small by a small `exact_values`."""

import time

import numpy as np
import pytest

from vpr_ros import place_index
from vpr_ros.growing_array import GrowingArray
from vpr_ros.model_ref import ModelRef
from vpr_ros.place_index import SHORTLIST, PlaceIndex
from vpr_ros.place_map import PlaceMap

SIZE = 64
FEW = 1000 * SIZE  # values that are compared one by one


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def drive(n, *, seed=0, shared=1.0):
    """Make descriptors of a drive: successive ones are alike, and all share a part."""
    rng = np.random.default_rng(seed)
    turns = rng.standard_normal((n // 10 + 2, SIZE))
    where = np.linspace(0, n // 10, n)
    part = where % 1
    between = (1 - part)[:, None] * turns[where.astype(int)] + part[:, None] * turns[
        where.astype(int) + 1
    ]
    return unit(between + 0.2 * rng.standard_normal((n, SIZE)) + shared)


def looks(places, *, seed=1, count=300):
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(places), count)
    return unit(places[rows] + 0.05 * rng.standard_normal((count, SIZE)))


def index_of(places, *, exact_values=FEW):
    index = PlaceIndex(SIZE, exact_values=exact_values)
    index.add(places)
    return index


def test_rows_grow_and_what_was_read_stays():
    array = GrowingArray(np.int32, (2,))
    array.append(np.ones((3, 2)))
    before = array.rows
    for i in range(200):
        array.append(np.full((1, 2), i))
    assert len(array) == 203 and array.rows[:, 0].tolist() == [1, 1, 1, *range(200)]
    assert before.shape == (3, 2)
    with pytest.raises(ValueError, match='read-only'):
        array.rows[0] = 5


def test_a_small_map_is_compared_place_by_place():
    places = drive(900)
    index = index_of(places)
    assert index.is_exact
    for query in looks(places, count=20):
        brute = places @ query
        rows, values = index.best(query, 7)
        np.testing.assert_array_equal(rows, np.argsort(-brute)[:7])
        np.testing.assert_allclose(values, brute[rows], atol=1e-6)
        rows, values = index.similarities(query, at_least=1)
        np.testing.assert_array_equal(rows, np.arange(900))
        np.testing.assert_allclose(values, brute, atol=1e-6)


def test_a_large_map_finds_what_an_exact_search_finds():
    places = drive(20_000)
    index, queries = index_of(places), looks(places)
    assert not index.is_exact
    wanted, rows = index.search_batch(queries, 20)
    np.testing.assert_array_equal(rows[:, 0], np.argmax(queries @ places.T, axis=1))
    found = [index.best(query, 20) for query in queries]
    for query, (rows, values) in zip(queries, found, strict=True):
        np.testing.assert_allclose(values, places[rows] @ query, atol=1e-6)  # never an estimate
        assert (np.diff(values) <= 0).all()
    first = np.mean([v[0] > w[0] - 1e-5 for (_, v), w in zip(found, wanted, strict=True)])
    assert first == 1.0
    share = np.mean([(v > w[-1] - 1e-5).mean() for (_, v), w in zip(found, wanted, strict=True)])
    assert share > 0.99


def test_the_shared_part_of_all_descriptors_does_not_blind_the_codes():
    places = drive(20_000, shared=5.0)
    assert np.mean(places[:100] @ places[5000:5100].T) > 0.9
    index, queries = index_of(places), looks(places, count=100)
    wanted, _ = index.search_batch(queries, 1)
    found = np.array([index.best(query, 1)[1][0] for query in queries])
    assert (found > wanted[:, 0] - 1e-5).mean() >= 0.99


def test_growing_and_loading_come_to_the_same():
    places = drive(5000)
    whole, grown = index_of(places), PlaceIndex(SIZE, exact_values=FEW)
    for row in range(4000):
        grown.add(places[row : row + 1])
    grown.attach(places[4000:4500])
    for row in range(4500, 5000):
        grown.add(places[row : row + 1])
    np.testing.assert_array_equal(np.concatenate(list(grown.blocks())), places)
    assert len(grown) == 5000
    for query in looks(places, count=20):
        for mine, other in zip(grown.best(query, 30), whole.best(query, 30), strict=True):
            np.testing.assert_array_equal(mine, other)
    np.testing.assert_array_equal(grown.all(), places)


def test_a_map_that_grows_has_its_codes_when_it_needs_them(monkeypatch):
    places = drive(3001)
    index = PlaceIndex(SIZE, exact_values=3000 * SIZE)
    for row in range(3001):
        index.add(places[row : row + 1])
    coded = []
    code = index._coded
    monkeypatch.setattr(index, '_coded', lambda d: coded.append(len(d)) or code(d))
    index.best(places[0], 1)
    assert coded == [1], 'the query alone'


def test_places_that_may_not_be_found_do_not_fill_the_answer():
    places = drive(20_000)
    query = places[17_000].copy()
    noise = np.random.default_rng(2).standard_normal((3 * SHORTLIST, SIZE))
    places[: 3 * SHORTLIST] = unit(query + 0.001 * noise)  # all of them more alike than any other
    index = index_of(places)
    allowed = np.arange(20_000) >= 3 * SHORTLIST
    allowed[17_000] = False
    rows, values = index.best(query, 3, allowed=allowed)
    brute = places @ query
    np.testing.assert_array_equal(rows, np.argsort(np.where(allowed, -brute, 9))[:3])
    np.testing.assert_allclose(values, brute[rows], atol=1e-6)
    few = np.zeros(20_000, bool)
    few[[5, 77]] = True
    rows, _ = index.best(query, 5, allowed=few)
    assert sorted(rows.tolist()) == [5, 77]
    rows, _ = index.best(query, 5, allowed=np.zeros(20_000, bool))
    assert rows.tolist() == []


def test_of_equal_places_the_first_are_given():
    """A robot that stood still: thousands of places are one."""
    index = index_of(np.repeat(drive(2), 10_000, axis=0))
    rows, values = index.similarities(index.all()[0], at_least=1)
    np.testing.assert_allclose(values, 1, atol=1e-6)
    np.testing.assert_array_equal(rows, np.arange(SHORTLIST))


def test_many_matches_widen_the_shortlist():
    places = drive(20_000)
    rows, _ = index_of(places).best(places[0], 5000)
    brute = np.argsort(-(places @ places[0]))[:5000]
    assert len(rows) == 5000 and np.isin(brute, rows).mean() > 0.99


def test_a_batch_is_exact_across_blocks(monkeypatch):
    monkeypatch.setattr(place_index, '_BLOCK_VALUES', 100 * SIZE)
    places = drive(1234)
    index, queries = index_of(places, exact_values=0), looks(places, count=30)
    assert [len(block) for block in index.blocks()] == 12 * [100] + [34]
    values, rows = index.search_batch(queries, 150)
    brute = queries @ places.T
    np.testing.assert_allclose(values, -np.sort(-brute, axis=1)[:, :150], atol=1e-6)
    np.testing.assert_allclose(values, np.take_along_axis(brute, rows, axis=1), atol=1e-6)
    assert all(len(set(row)) == 150 for row in rows.tolist())


# --- of a map -------------------------------------------------------------------------------


def map_of(places, cameras, *, exact_values):
    place_map = PlaceMap(ModelRef('net', 'a' * 64, SIZE))
    place_map._index = PlaceIndex(SIZE, exact_values=exact_values)
    place_map.add(places, stamps_ns=np.arange(len(places)), cameras=cameras)
    return place_map


@pytest.mark.parametrize('exact_values', [10**9, FEW])
def test_a_search_among_some_cameras(exact_values):
    places = drive(6000)
    cameras = np.repeat([0, 7, 3], 2000)
    place_map = map_of(places, cameras, exact_values=exact_values)
    query, brute = places[100], places @ places[100]
    assert place_map.search(query, 1)[0].camera == 0
    for wanted in ([7], [7, 3], (3,)):
        matches = place_map.search(query, 40, cameras=wanted)
        assert {match.camera for match in matches} <= set(wanted)
        allowed = np.isin(cameras, wanted)
        best = np.argsort(np.where(allowed, -brute, 9))[:40]
        assert np.isin([match.row for match in matches], best).mean() >= 0.95
        rows, values = place_map.similarities(query, cameras=wanted)
        assert np.isin(cameras[rows], wanted).all() and (np.diff(rows) > 0).all()
        np.testing.assert_allclose(values, brute[rows], atol=1e-6)
        assert len(rows) == (allowed.sum() if exact_values > FEW else 1000)
    assert place_map.search(query, 3, cameras=[]) == []
    assert place_map.search(query, 3, cameras=[9]) == []


def test_adding_does_not_copy_what_is_there():
    place_map = map_of(drive(500), None, exact_values=FEW)
    assert not np.shares_memory(place_map.descriptors, drive(500))
    (before,) = place_map._index.blocks()
    place_map.add(drive(1, seed=3), stamps_ns=np.array([1]))
    (after,) = place_map._index.blocks()
    assert np.shares_memory(before, after) and len(after) == 501
    places = place_map.places
    with pytest.raises(ValueError, match='read-only'):
        places['camera'] = 1


def test_adding_and_searching_stay_cheap_in_a_large_map():
    """`benchmarks/online_mapping.py` tells the time; here it is a share of comparing all."""
    size, before, steps = 512, 100_000, 40
    rng = np.random.default_rng(0)
    places = unit(rng.standard_normal((before + steps, size), np.float32))
    index = PlaceIndex(size)
    index.add(places[:before])
    index.best(places[0], 20)  # codes are made here
    taken_s, all_s = [], []
    for row in range(before, before + steps):
        begun_s = time.perf_counter()
        index.add(places[row : row + 1])
        rows, _ = index.best(places[row], 20)
        taken_s.append(time.perf_counter() - begun_s)
        assert rows[0] == row, 'it is found at once'
        begun_s = time.perf_counter()
        np.argpartition(places[: row + 1] @ places[row], -20)
        all_s.append(time.perf_counter() - begun_s)
    assert min(taken_s) < 0.6 * min(all_s)


def test_spacing_and_poses_follow_the_map():
    place_map = PlaceMap(ModelRef('net', 'a' * 64, SIZE))
    for x in (0.0, 1.0, 2.0, 5.0):
        place_map.add(drive(1), stamps_ns=np.array([0]), positions=np.array([[x, 0, 0]]))
    assert place_map.has_poses and place_map.spacing_m == 1.0
    place_map.add(drive(2), stamps_ns=np.zeros(2), positions=np.array([[9.0, 0, 0], [13, 0, 0]]))
    assert place_map.spacing_m == 3.0
    place_map.add(drive(1), stamps_ns=np.array([0]))
    assert not place_map.has_poses and place_map.spacing_m == 3.0
