# SPDX-License-Identifier: Apache-2.0
"""Batches of P places with K views each, augmented on the fly."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from training.augment import augment, randaugment, random_window
from training.places import Place, positions_m
from vpr_ros.picture_folder import read_picture
from vpr_ros.preprocess import Preprocess

WHOLE = (0.0, 0.0, 1.0, 1.0)
STEPS_APART = 4  # between the first pictures of two places of one walk in a batch
NEAREST = 4  # times the size of a group: how many of the nearest places it is drawn from


class PlaceDataset(Dataset):
    """One item is one place: K augmented views and its label.

    Each other draw, on average, is mirrored as a whole. A mirrored place is another place: the
    number of places doubles, and the network learns to tell left from right.
    """

    def __init__(
        self,
        places: Sequence[Place],
        *,
        views: int,
        size: tuple[int, int],
        augmentation: str = 'strong',
        night: float,
        viewpoint: float,
        seed: int,
        read: Callable[..., np.ndarray] = read_picture,
    ) -> None:
        """Describe what to draw.

        Args:
            places: Where to learn from.
            views: K, views per item; a place with fewer pictures shows some twice, augmented
                differently.
            size: (height, width) of the views, pixels.
            augmentation: 'strong', or 'randaugment': the published three random operations.
            night: Probability that a view is turned into a night.
            viewpoint: Greatest strength of the change of viewpoint, 0 to 1; a view draws its own.
            seed: With the key of an item it decides everything about it.
            read: Reads a picture file, see `vpr_ros.picture_folder.read_picture`.
        """
        self.places = places
        self._read = read
        self._views = views
        self._size = size
        self._augmentation = augmentation
        self._night = night
        self._viewpoint = viewpoint
        self._seed = seed

    def __len__(self) -> int:
        """Return the number of places."""
        return len(self.places)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return one item.

        Args:
            key: (index of the place, number of the draw).

        Returns:
            uint8 RGB (K, H, W, 3) and int64 (K,), the label repeated. Each draw of a fixed camera
            has its own, negative label: it looks at another window.
        """
        index, draw = key
        place = self.places[index]
        rng = np.random.default_rng((self._seed, index, draw))
        if self._augmentation == 'randaugment':
            return self._plain(place, rng), torch.full((self._views,), index)
        # One answer for all places of a batch: neighbours in it remain look-alikes.
        mirrored = bool(np.random.default_rng((self._seed, draw)).integers(2))
        # A fixed camera never moves: looking at parts of its picture makes it many cameras.
        window = random_window(rng, smallest=0.5) if place.source == 'camera' else WHOLE
        # Pixels of the whole picture, so many that a part of it still fills the view.
        enough = round(max(self._size) / min(window[2] - window[0], window[3] - window[1]))
        # One for all views: what is twice as near is another place, what is further left is not.
        zoom = rng.uniform(1.0 - 0.4 * self._viewpoint, 1.0)
        views = [
            augment(
                _mirror(self._read(place.pictures[chosen], at_least=enough), mirrored),
                rng,
                size=self._size,
                window=window,
                viewpoint=rng.uniform(0.0, self._viewpoint),
                zoom=zoom,
                night=0.0 if place.source == 'camera' else self._night,
            )
            for chosen in _choose(len(place.pictures), self._views, rng)
        ]
        label = 2 * index + mirrored
        if place.source == 'camera':
            label = -1 - (draw * len(self.places) + index)
        return torch.from_numpy(np.stack(views)), torch.full((self._views,), label)

    def _plain(self, place: Place, rng: np.random.Generator) -> Tensor:
        """Return K views as the published recipes make them."""
        chosen = _choose(len(place.pictures), self._views, rng)
        resize = Preprocess(*self._size)
        enough = max(self._size)
        views = [
            randaugment(resize(self._read(place.pictures[i], at_least=enough)), rng)
            for i in chosen
        ]
        return torch.from_numpy(np.stack(views))


class MixedBatches(Sampler[list[tuple[int, int]]]):
    """Endless batches with a fixed number of places of each source, all different.

    Places come in groups of neighbours, from one street or one clip: they look alike, and telling
    them apart is what a robot on that street needs.
    """

    def __init__(
        self,
        places: Sequence[Place],
        per_source: Mapping[str, int],
        *,
        min_distance_m: float,
        neighbours: int,
        seed: int,
        in_city: bool = False,
        start: int = 0,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        """Group the places.

        Args:
            places: The places of the data set.
            per_source: Places per batch of each source.
            min_distance_m: Places of a batch lie farther apart than this, where it is known:
                nearer ones may show the same houses and yet count as different.
            neighbours: Places of a group; 1 draws each place by itself.
            seed: Decides the order.
            in_city: Whether the GSV places of a batch are all of one city: harder negatives.
            start: Batch to go on from.
            part: (number of this process, how many there are): each yields its share of every
                batch, and together they yield what one alone would.

        Raises:
            ValueError: A source has too few places for a batch, or the processes cannot share it.
        """
        self._indices = {
            source: [i for i, place in enumerate(places) if place.source == source]
            for source in per_source
        }
        for source, count in per_source.items():
            if count > len(self._indices[source]):
                raise ValueError(
                    f'a batch wants {count} places of the source {source!r}, '
                    f'there are {len(self._indices[source])}'
                )
        self._positions = positions_m(places)
        self._walks = np.array([place.walk for place in places])
        self._steps = np.array([place.step for place in places])
        self._min_distance_m = min_distance_m
        self._neighbours = neighbours
        self._per_source = per_source
        self._seed = seed
        self._start = start
        self._part = part
        self._cities = self._group_by_city(places) if in_city else []
        in_all = sum(per_source.values())
        if in_all % part[1]:
            raise ValueError(
                f'{in_all} places of a batch cannot be shared by {part[1]} processes; '
                f'change the places in a batch'
            )

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield the keys of one batch after another."""
        number, processes = self._part
        for step in itertools.count(self._start):
            rng = np.random.default_rng((self._seed, step))
            keys = [
                (index, step)
                for source, count in self._per_source.items()
                for index in self._draw(self._candidates(source, rng), count, rng)
            ]
            yield keys[number::processes]

    def _group_by_city(self, places: Sequence[Place]) -> list[np.ndarray]:
        """Return the GSV places of each city that has enough for a batch."""
        cities: dict[str, list[int]] = defaultdict(list)
        for index in self._indices.get('gsv', []):
            cities[places[index].name.partition('/')[0]].append(index)
        wanted = self._per_source.get('gsv', 0)
        enough = [np.array(indices) for indices in cities.values() if len(indices) >= wanted]
        if wanted and not enough:
            most = max(map(len, cities.values()))
            raise ValueError(
                f'in_city wants {wanted} places of one city in a batch; the largest city has '
                f'{most}: lower gsv_places'
            )
        return enough

    def _candidates(self, source: str, rng: np.random.Generator) -> np.ndarray:
        """Return the places that a batch may draw from: of all cities, or of one."""
        if source != 'gsv' or not self._cities:
            return np.array(self._indices[source])
        sizes = np.array([len(city) for city in self._cities])
        return self._cities[rng.choice(len(self._cities), p=sizes / sizes.sum())]

    def _draw(self, indices: np.ndarray, count: int, rng: np.random.Generator) -> list[int]:
        """Take groups of neighbours, each place far enough from all taken before."""
        taken: list[int] = []
        for first in rng.permutation(indices):
            group = 0
            for index in (first, *rng.permutation(self._near(first, indices))):
                if index not in taken and self._is_apart(index, taken):
                    taken.append(int(index))
                    group += 1
                if len(taken) == count:
                    return taken
                if group == self._neighbours:
                    break
        raise ValueError(
            f'only {len(taken)} places of a batch of {count} lie {self._min_distance_m} m or '
            f'{STEPS_APART} steps of a walk apart; lower min_place_distance_m or the places in a '
            'batch'
        )

    def _near(self, index: int, indices: np.ndarray) -> np.ndarray:
        """Return those of `indices` on the same walk, or the nearest ones where known."""
        if self._neighbours == 1:
            return indices[:0]
        if self._walks[index]:
            return indices[self._walks[indices] == self._walks[index]]
        distance = np.linalg.norm(self._positions[indices] - self._positions[index], axis=1)
        known = int(np.isfinite(distance).sum())
        return indices[np.argsort(distance)[: min(known, NEAREST * self._neighbours)]]

    def _is_apart(self, index: int, taken: list[int]) -> bool:
        same_walk = (self._walks[taken] == self._walks[index]) & (self._walks[index] != '')
        if (same_walk & (np.abs(self._steps[taken] - self._steps[index]) < STEPS_APART)).any():
            return False
        distance = np.linalg.norm(self._positions[taken] - self._positions[index], axis=1)
        return not (distance <= self._min_distance_m).any()


def _mirror(rgb: np.ndarray, mirrored: bool) -> np.ndarray:
    return np.ascontiguousarray(rgb[:, ::-1]) if mirrored else rgb


def _choose(available: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
    """Choose pictures of a place: all different while they last."""
    rounds = -(-wanted // available)
    return np.concatenate([rng.permutation(available) for _ in range(rounds)])[:wanted]
