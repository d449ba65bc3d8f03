# SPDX-License-Identifier: Apache-2.0
import time

import numpy as np
import pytest

from vpr_ros.benchmarks import retrieval
from vpr_ros.benchmarks.retrieval import BATCH, READ_AHEAD, Describer, _read_ahead, look_up
from vpr_ros.benchmarks.retrieval_set import RetrievalSet, traverse_set
from vpr_ros.errors import SourceError
from vpr_ros.model_ref import ModelRef

SIZE = 8


def vectors(n, seed):
    made = np.random.default_rng(seed).normal(size=(n, SIZE)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def made_set(references, queries, searched=None):
    """A set whose 'pictures' are their own descriptors."""
    pictures = [[lambda row=row: row for row in rows] for rows in (references, queries)]
    return RetrievalSet('made', '', *pictures, [], [], searched)


DESCRIBER = Describer(ModelRef('itself', '0' * 64, SIZE), np.stack)


@pytest.mark.parametrize('batch_size', [1, 7, 1000])
def test_finds_what_brute_force_finds(batch_size, monkeypatch):
    monkeypatch.setattr(retrieval, 'QUERIES', 4)  # more than one part of the queries
    references, queries = vectors(50, 1), vectors(11, 2)
    found = look_up(DESCRIBER, made_set(references, queries), top_k=5, batch_size=batch_size)
    similar = queries @ references.T
    np.testing.assert_array_equal(found.rows, np.argsort(-similar, axis=1)[:, :5])
    np.testing.assert_allclose(
        found.similarities, np.sort(similar, axis=1)[:, ::-1][:, :5], atol=1e-6
    )


def test_a_growing_map_shows_each_query_what_it_may_see():
    references, queries = vectors(9, 1), vectors(5, 2)
    searched = np.array([4, 9, 2, 4, 0])
    found = look_up(DESCRIBER, made_set(references, queries, searched), top_k=3)
    for query, rows, similarities, count in zip(
        queries, found.rows, found.similarities, searched, strict=True
    ):
        best = np.argsort(-(references[:count] @ query))[:3]
        assert rows[: len(best)].tolist() == best.tolist()
        assert (rows[len(best) :] == -1).all()
        assert (similarities[len(best) :] == -np.inf).all()


def test_there_are_no_more_matches_than_references():
    found = look_up(DESCRIBER, made_set(vectors(3, 1), vectors(2, 2)), top_k=20)
    assert found.rows.shape == found.similarities.shape == (2, 3)


def test_descriptors_of_another_size_are_refused():
    twice = Describer(DESCRIBER.ref, lambda pictures: np.stack(pictures).repeat(2, axis=1))
    with pytest.raises(ValueError, match=r'must be \(N, 8\) .* not \(50, 16\)'):
        look_up(twice, made_set(vectors(50, 1), vectors(2, 2)), top_k=1)


def test_nothing_is_left_in_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))

    def fail(pictures):
        assert len(list(tmp_path.rglob('references'))) == 1
        raise SourceError('damaged')

    with pytest.raises(SourceError, match='damaged'):
        look_up(Describer(DESCRIBER.ref, fail), made_set(vectors(3, 1), vectors(2, 2)), top_k=1)
    assert not list(tmp_path.iterdir())


def test_pictures_are_read_a_bounded_number_ahead():
    read = []
    batches = [[lambda i=i: read.append(i) or i] * BATCH for i in range(20 * READ_AHEAD)]
    reading = _read_ahead(batches)
    first = next(reading)
    time.sleep(0.2)  # in which an unbounded reader would have read them all
    assert len(read) <= (READ_AHEAD + 1) * BATCH
    assert [first, *reading] == [[i] * BATCH for i in range(20 * READ_AHEAD)]


def test_traverses_are_matched_by_number(tmp_path, save_pictures):
    save_pictures(tmp_path, ['a/9.png', 'a/10.png', 'a/8.png', 'b/1.png', 'b/2.png'])
    asked = traverse_set(tmp_path / 'a', tmp_path / 'b', tolerance=1)
    assert [picture.args[0].name for picture in asked.references] == ['8.png', '9.png', '10.png']
    assert [rows.tolist() for rows in asked.truth] == [[0, 1], [0, 1, 2]]
    assert (asked.name, asked.protocol) == ('b in a', 'same picture number, +-1')
