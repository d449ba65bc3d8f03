# SPDX-License-Identifier: Apache-2.0
"""The validation split: places that are never trained on, and the questions asked of them.

Checkpoint, settings and threshold are chosen by these sets alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from training.augment import change_viewpoint, make_night, to_light, to_picture
from training.places import Place, positions_m
from vpr_ros.benchmarks.retrieval_set import Picture, RetrievalSet, pictures_of
from vpr_ros.picture_folder import read_picture

VICINITY_M = 50.0  # street pictures nearer than this may show the same houses


Item = TypeVar('Item')


def split(items: Sequence[Item], *, every: int) -> tuple[list[Item], list[Item]]:
    """Split into (training, validation); each `every`-th item is for validation."""
    return [item for i, item in enumerate(items) if i % every], list(items[::every])


def street_sets(places: Sequence[Place], *, size: tuple[int, int]) -> list[RetrievalSet]:
    """Ask for the first view of each place among all other views, by day and by made night."""
    references: list[Picture] = []
    truth: list[np.ndarray] = []
    for place in places:
        truth.append(len(references) + np.arange(len(place.pictures) - 1))
        references += pictures_of(place.pictures[1:])
    vicinity = [
        np.concatenate([truth[i] for i in near]) for near in _near_places(places, VICINITY_M)
    ]
    queries = [place.pictures[0] for place in places]
    nights = [_night(path, seed, size) for seed, path in enumerate(queries)]
    return [
        RetrievalSet(
            'street', 'first view of each place among the other views of all places',
            references, pictures_of(queries), truth, vicinity,
        ),
        RetrievalSet(
            'street-night', 'the same, the query turned into a night',
            references, nights, truth, vicinity,
        ),
    ]  # fmt: skip


def camera_set(places: Sequence[Place]) -> RetrievalSet:
    """Ask for night pictures of fixed cameras among day pictures.

    Each camera is cut into three overlapping windows, which are three places.
    """
    windows = [(0.0, 0.6), (0.2, 0.8), (0.4, 1.0)]
    references: list[Picture] = []
    queries: list[Picture] = []
    truth: list[np.ndarray] = []
    vicinity: list[np.ndarray] = []
    for place in places:
        by_light = sorted(place.pictures, key=lambda path: float(read_picture(path).mean()))
        third = len(by_light) // 3
        vicinity += [len(references) + np.arange(len(windows) * third)] * len(windows) * third
        for window in windows:
            rows = len(references) + np.arange(third)
            references += [_window(path, window) for path in by_light[-third:]]
            queries += [_window(path, window) for path in by_light[:third]]
            truth += [rows] * third
    return RetrievalSet(
        'camera-night',
        'darkest third of each fixed camera among the brightest, three windows a camera',
        references, queries, truth, vicinity,
    )  # fmt: skip


def clip_set(clips: Sequence[Sequence[Path]], *, size: tuple[int, int]) -> RetrievalSet:
    """Ask for each picture of a walk, seen from the side or by night, among all; +-1 is right."""
    references: list[Picture] = []
    queries: list[Picture] = []
    truth: list[np.ndarray] = []
    vicinity: list[np.ndarray] = []
    for clip in clips:
        start = len(references)
        vicinity += [start + np.arange(len(clip))] * len(clip)
        for i, path in enumerate(clip):
            make = _night if i % 2 else _aside
            queries.append(make(path, start + i, size))
            truth.append(start + np.arange(max(0, i - 1), min(len(clip), i + 2)))
        references += pictures_of(clip)
    return RetrievalSet(
        'walk', 'pictures of indoor walks from the side or by made night, +-1 picture',
        references, queries, truth, vicinity,
    )  # fmt: skip


def step_set(clips: Sequence[Sequence[Path]]) -> RetrievalSet:
    """Ask for each second picture of a walk among the others; the neighbours of it are right.

    Nothing is made here: what the walker's next step changed is what is asked.
    """
    references: list[Picture] = []
    queries: list[Picture] = []
    truth: list[np.ndarray] = []
    vicinity: list[np.ndarray] = []
    for clip in clips:
        start = len(references)
        count = len(clip[::2])
        references += pictures_of(clip[::2])
        queries += pictures_of(clip[1::2])
        for i in range(len(clip[1::2])):
            truth.append(start + np.arange(i, min(count, i + 2)))
            vicinity.append(start + np.arange(count))
    return RetrievalSet(
        'step', 'each second picture of indoor walks among the others, one step away',
        references, queries, truth, vicinity,
    )  # fmt: skip


def _near_places(places: Sequence[Place], radius_m: float) -> list[np.ndarray]:
    """Return for each place the indices of the places around it, itself among them."""
    metres = positions_m(places)
    distance = np.linalg.norm(metres[:, None] - metres[None], axis=2)
    np.fill_diagonal(distance, 0.0)
    return [np.flatnonzero(row <= radius_m) for row in distance]


def _window(path: Path, window: tuple[float, float]) -> Picture:
    return partial(_read_window, path, window)


def _aside(path: Path, seed: int, size: tuple[int, int]) -> Picture:
    return partial(_read_aside, path, seed, size)


def _night(path: Path, seed: int, size: tuple[int, int]) -> Picture:
    return partial(_read_night, path, seed, size)


def _read_window(path: Path, window: tuple[float, float]) -> np.ndarray:
    rgb = read_picture(path)
    left, right = (int(edge * rgb.shape[1]) for edge in window)
    return np.ascontiguousarray(rgb[:, left:right])


def _read_aside(path: Path, seed: int, size: tuple[int, int]) -> np.ndarray:
    return change_viewpoint(read_picture(path), np.random.default_rng(seed), size=size)


def _read_night(path: Path, seed: int, size: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rgb = change_viewpoint(read_picture(path), rng, size=size, strength=0.5)
    return to_picture(make_night(to_light(rgb), rng))
