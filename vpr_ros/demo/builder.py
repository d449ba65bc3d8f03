# SPDX-License-Identifier: Apache-2.0
"""Fills the plots along streets with houses, gardens, parks, trees and lamps."""

from __future__ import annotations

import itertools

import numpy as np

from vpr_ros.demo.facade import SIGNS, STYLES
from vpr_ros.demo.plan import (
    CAR_COLOURS,
    Block,
    House,
    Prop,
    Street,
    bounds,
    on_pavement,
    overlaps,
)

_PALETTES = {
    'brick': ((150, 74, 56), (128, 62, 50), (168, 98, 70), (182, 142, 104)),
    'stone': ((188, 178, 156), (164, 160, 152), (206, 192, 160), (150, 132, 112)),
    'plaster': ((226, 206, 160), (206, 150, 118), (158, 186, 176), (232, 226, 214),
                (196, 172, 190), (214, 186, 96), (152, 166, 190), (188, 120, 102)),
    'boards': ((222, 222, 214), (126, 152, 168), (150, 170, 128), (176, 84, 70), (214, 196, 140)),
    'panels': ((168, 170, 172), (140, 146, 152), (186, 180, 170)),
}  # fmt: skip
_ROOFS = ((142, 74, 56), (94, 82, 78), (110, 62, 50), (72, 78, 88), (128, 102, 82))
_STOREYS = {'office': (3, 8), 'apartment': (3, 7), 'cottage': (1, 3), 'warehouse': (1, 4)}


def _rgb(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


class Builder:
    """Fills the plots along the streets; nothing overlaps what was built before."""

    def __init__(self, streets: tuple[Street, ...], rng: np.random.Generator) -> None:
        self.houses: list[House] = []
        self.blocks: list[Block] = []
        self.trees: list[Prop] = []
        self._taken: list[tuple[float, ...]] = [s.ground for s in streets]
        self._rng = rng
        self._signs = itertools.cycle(rng.permutation(SIGNS).tolist())

    def build_side(self, street: Street, side: int) -> None:
        """Plots along one side, +1 left, -1 right."""
        rng = self._rng
        at = 0.0
        while at < street.length_m - 5:
            width, depth = float(rng.uniform(6.5, 12.5)), float(rng.uniform(7.5, 9.5))
            garden = 4.0 if rng.random() < street.setback else 0.0
            plot = self._plot(street, side, (at, at + width), (0.0, garden + depth))
            if not self._is_free(plot):
                at += 0.5
                continue
            self._taken.append(plot)
            if rng.random() < street.parks:
                self._park(plot)
            else:
                house = self._plot(street, side, (at, at + width), (garden, garden + depth))
                front = -side * np.array([-street.along[1], street.along[0]])
                self.houses.append(self._house(street, house, front))
                if garden:
                    self._garden(street, side, at, at + width)
            at += width

    def close_ends(self, streets: tuple[Street, ...]) -> None:
        """A house across each loose end, so that no street runs into the void."""
        for street in streets:
            for at, sign in ((0.0, -1), (street.length_m, 1)):
                box = bounds(
                    street.point(at, street.half_m + 1),
                    street.point(at + sign * 9, -street.half_m - 1),
                )
                if self._is_free(box):
                    self._taken.append(box)
                    self.houses.append(self._house(street, box, -sign * street.along))

    def tower(self, box: tuple[float, float, float, float], height_m: float) -> None:
        """A tower that shows above the roofs."""
        self._taken.append(box)
        self.blocks.append(Block('tower', box, height_m, (176, 160, 134), 5))

    def _house(self, street: Street, box: tuple[float, ...], front: np.ndarray) -> House:
        rng = self._rng
        kind = str(rng.choice(street.mix))
        palette = _PALETTES[STYLES[kind].material]
        tint = np.asarray(palette[rng.integers(len(palette))]) * rng.normal(1, 0.05, 3)
        return House(
            box=(box[0], box[1], box[2], box[3]),
            front=(float(front[0]), float(front[1])),
            style=kind,
            storeys=int(rng.integers(*_STOREYS.get(kind, (2, 5)))),
            colour=_rgb(np.clip(tint, 20, 240)),
            roof='flat' if kind in ('office', 'apartment', 'palazzo') else 'gable',
            roof_colour=_ROOFS[rng.integers(len(_ROOFS))],
            ground_floor='shop' if rng.random() < street.shops else 'door',
            sign=next(self._signs),
            seed=int(rng.integers(2**31)),
        )

    def _plot(
        self, street: Street, side: int, along: tuple[float, float], deep: tuple[float, float]
    ) -> tuple[float, float, float, float]:
        return bounds(
            street.point(along[0], side * (street.half_m + deep[0])),
            street.point(along[1], side * (street.half_m + deep[1])),
        )

    def _is_free(self, box: tuple[float, ...]) -> bool:
        return not any(overlaps(box, other) for other in self._taken)

    def _park(self, plot: tuple[float, float, float, float]) -> None:
        rng = self._rng
        for _ in range(int(rng.integers(3, 7))):
            x, y = rng.uniform(plot[:2], plot[2:])
            self._tree(float(x), float(y), float(rng.uniform(5, 11)))
        if rng.random() < 0.5:
            x, y = rng.uniform(np.add(plot[:2], 1), np.subtract(plot[2:], 3))
            self._block('kiosk', (float(x), float(y), float(x) + 2.4, float(y) + 2.4), 2.8)

    def _garden(self, street: Street, side: int, start: float, end: float) -> None:
        rng = self._rng
        kind = str(rng.choice(['hedge', 'wall', 'open']))
        if kind != 'open':
            box = self._plot(street, side, (start, end - 1.2), (0.1, 0.6))
            self._block(kind, box, float(rng.uniform(0.8, 1.5)))
        if rng.random() < 0.7:
            x, y = street.point(
                float(rng.uniform(start + 1, end - 1)), side * (street.half_m + 2.2)
            )
            self._tree(float(x), float(y), float(rng.uniform(3, 6)))

    def _block(self, kind: str, box: tuple[float, float, float, float], height: float) -> None:
        colour = {'hedge': (74, 104, 54), 'wall': (166, 154, 136)}.get(
            kind, CAR_COLOURS[self._rng.integers(len(CAR_COLOURS))]
        )
        self.blocks.append(Block(kind, box, height, colour, int(self._rng.integers(2**31))))

    def _tree(self, x: float, y: float, height: float) -> None:
        self.trees.append(Prop('tree', (x, y), height, int(self._rng.integers(6))))


def terrace(houses: list[House]) -> list[House]:
    """Gives all terraced houses one builder: same bricks, windows and doors."""
    return [
        House(h.box, h.front, h.style, 3, (146, 76, 58), h.roof, (84, 78, 78), 'door', h.sign, 7)
        if h.style == 'terrace'
        else h
        for h in houses
    ]


def furnish(streets: tuple[Street, ...], rng: np.random.Generator) -> list[Prop]:
    """Trees and lamps on the pavements, clear of every crossing."""
    props: list[Prop] = []

    def plant(
        street: Street, kind: str, pitch: float, left: float, height: float, kinds: tuple
    ) -> None:
        for at in np.arange(rng.uniform(2, pitch), street.length_m, pitch).tolist():
            point = street.point(float(at + rng.uniform(-1.5, 1.5)), left)
            if on_pavement(streets, street, point):
                props.append(
                    Prop(
                        kind,
                        (float(point[0]), float(point[1])),
                        height * float(rng.uniform(0.8, 1.2)),
                        int(rng.choice(kinds)),
                    )
                )

    for street in streets:
        for side in (-1, 1):
            if street.tree_pitch_m:
                plant(
                    street,
                    'tree',
                    street.tree_pitch_m,
                    side * (street.road_m + 1.4),
                    7.0,
                    street.trees,
                )
            plant(street, 'lamp', 24.0, side * (street.road_m + 0.5), 5.0, (0,))
    return props
