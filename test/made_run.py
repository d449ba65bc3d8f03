# SPDX-License-Identifier: Apache-2.0
"""Runs made for tests: what came of every picture is told by a letter."""

import math
from dataclasses import replace

import numpy as np

from vpr_ros.evaluation.answers import Answer
from vpr_ros.evaluation.run import Run
from vpr_ros.evaluation.truth import Track, Truth
from vpr_ros.model_ref import ModelRef
from vpr_ros.place_map import PlaceMap
from vpr_ros.recognizer import Recognition, Status

SIZE = 128
THRESHOLD = 0.7
RIGHT, WRONG, MISSED, UNMAPPED, UNJUDGED, DROPPED, BLANK = 'RWMUJDB'


def made_run(kinds, *, positions=False, pictures=None, place_pictures=None):
    """A run with a picture for each letter: right, wrong, missed, unmapped, unjudged, dropped,
    blank (mapped, but without descriptor and matches).

    Picture i shows place i; a wrong one looks like the place half a map further. `pictures` and
    `place_pictures` are indexed by number; without them none can be read again.
    """
    num = len(kinds)
    rng = np.random.default_rng(0)
    places = rng.normal(size=(num, SIZE)).astype(np.float32)
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    x = np.arange(num)
    at = np.column_stack([2.0 * x, 10 * np.sin(x), 0 * x])
    place_map = PlaceMap(ModelRef('made', 'ab' * 32, SIZE))
    place_map.add(
        places,
        stamps_ns=np.arange(len(places)) * 10**9,
        positions=at if positions else None,
        images=[f'place{i}.jpg' for i in range(len(places))],
    )
    answers = [_answer(i, kind, place_map, places, rng) for i, kind in enumerate(kinds)]
    positives = [
        None if kind == UNJUDGED else np.array([] if kind == UNMAPPED else [i], np.int64)
        for i, kind in enumerate(kinds)
    ]
    track = Track(at + np.array([0, 1.5, 0]), np.full((num, 4), np.nan)) if positions else None
    return Run(
        title='a made run',
        answers=answers,
        truth=Truth('the place of the same number', tuple(positives), track),
        place_map=place_map,
        threshold=THRESHOLD,
        has_times=True,
        is_live=DROPPED in kinds,
        query_pictures=_reader(pictures),
        place_pictures=_reader(place_pictures if place_pictures is not None else pictures),
        description={'model': {'name': 'made', 'sha256': 'ab' * 32}, 'command': 'vpr evaluate'},
    )


def without_truth(run):
    return replace(run, truth=None)


def _reader(pictures):
    def read(numbers):
        for number in sorted(numbers):
            if pictures is not None and number < len(pictures):
                yield number, pictures[number]

    return read


def _answer(i, kind, place_map, places, rng):
    stamp_ns = 10**18 + i * 500_000_000
    if kind == DROPPED:
        return Answer(i, f'picture{i}.jpg', stamp_ns, 0, None, math.nan)
    seen = (i + len(places) // 2) % len(places) if kind == WRONG else i
    similarity = rng.uniform(0.3, 0.65) if kind in (MISSED, UNMAPPED) else rng.uniform(0.75, 0.98)
    descriptor = _at_similarity(places[seen], similarity, rng)
    matches = tuple(place_map.search(descriptor, 5))
    if kind == BLANK:
        descriptor, matches = None, ()
    accepted = kind in (RIGHT, WRONG, UNJUDGED)
    reason = 'blank: nothing to see' if kind == BLANK else 'below_threshold: not alike'
    recognition = Recognition(
        query_id=i,
        stamp_ns=stamp_ns,
        camera=0,
        status=Status.CANDIDATE if accepted else Status.REJECTED,
        reason='' if accepted else reason,
        matches=matches,
        descriptor=descriptor,
        pose=None,
        timings_s={'extract': 0.02 + 0.001 * (i % 7), 'search': 0.001},
    )
    return Answer(i, f'picture{i}.jpg', stamp_ns, 0, recognition, 0.025 + 0.001 * (i % 7))


def _at_similarity(place, similarity, rng):
    """A unit vector of about that cosine similarity to another."""
    other = rng.normal(size=place.shape)
    other -= (other @ place) * place
    other /= np.linalg.norm(other)
    made = similarity * place + math.sqrt(1 - similarity**2) * other
    return (made / np.linalg.norm(made)).astype(np.float32)
