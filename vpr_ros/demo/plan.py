# SPDX-License-Identifier: Apache-2.0
"""What a town consists of, as numbers; nothing is painted here.

The map frame's x points east, y north, z up; metres.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vpr_ros.demo.facade import STYLES

PAVEMENT_M = 2.8  # from the kerb to the facades


CAR_COLOURS = ((32, 34, 40), (196, 198, 202), (150, 24, 28), (30, 56, 112), (228, 228, 224),
         (88, 96, 98), (36, 82, 62), (178, 150, 96))  # fmt: skip


@dataclass(frozen=True)
class Street:
    """An axis-aligned street; `mix` are the styles that its houses are drawn from."""

    name: str
    start: tuple[float, float]
    end: tuple[float, float]
    mix: tuple[str, ...]
    shops: float = 0.0  # fraction of its houses with a shop
    tree_pitch_m: float = 0.0  # 0: no trees
    setback: float = 0.0  # fraction of its houses that stand behind a front garden
    parks: float = 0.1  # fraction of its plots with trees in place of a house
    half_m: float = 8.0  # from the centre line to the facades
    paving: str = 'asphalt'  # a key of `ground.PAVINGS`
    trees: tuple[int, ...] = (0, 1)  # which kinds, see `sprites.TREES`
    parking: tuple[int, ...] = (-1, 1)  # sides with parked cars: 1 left, -1 right

    @property
    def along(self) -> np.ndarray:
        """Unit direction (2,)."""
        way = np.subtract(self.end, self.start)
        return way / np.linalg.norm(way)

    @property
    def length_m(self) -> float:
        """From start to end."""
        return float(np.linalg.norm(np.subtract(self.end, self.start)))

    def point(self, along_m: float, left_m: float) -> np.ndarray:
        """The point (2,) `along_m` from the start and `left_m` left of the centre line."""
        along = self.along
        return np.asarray(self.start) + along_m * along + left_m * np.array([-along[1], along[0]])

    @property
    def road_m(self) -> float:
        """From the centre line to the kerb."""
        return self.half_m - PAVEMENT_M

    @property
    def ground(self) -> tuple[float, float, float, float]:
        """All between the facades, as x_min, y_min, x_max, y_max."""
        return self.corridor(self.half_m)

    @property
    def road(self) -> tuple[float, float, float, float]:
        """All between the kerbs, as x_min, y_min, x_max, y_max."""
        return self.corridor(self.road_m)

    def corridor(self, half_width_m: float) -> tuple[float, float, float, float]:
        """All within a distance of the centre line, as x_min, y_min, x_max, y_max."""
        return bounds(self.point(0, half_width_m), self.point(self.length_m, -half_width_m))


@dataclass(frozen=True)
class House:
    """A box on the ground; `front` is the outward unit normal of the side with the door."""

    box: tuple[float, float, float, float]  # x_min, y_min, x_max, y_max
    front: tuple[float, float]
    style: str
    storeys: int
    colour: tuple[float, float, float]  # RGB 0..255
    roof: str  # gable or flat
    roof_colour: tuple[float, float, float]
    ground_floor: str  # shop or door
    sign: str  # the name over the shop
    seed: int

    @property
    def height_m(self) -> float:
        """From the ground to the eaves."""
        return self.storeys * STYLES[self.style].storey_m


@dataclass(frozen=True)
class Block:
    """A plain box on the ground: hedge, garden wall, kiosk or tower."""

    kind: str
    box: tuple[float, float, float, float]  # x_min, y_min, x_max, y_max
    height_m: float
    colour: tuple[float, float, float]  # RGB 0..255
    seed: int


@dataclass(frozen=True)
class Prop:
    """Something that stands on the pavement: a kind of picture, a place and a height."""

    kind: str  # tree, lamp or person
    position: tuple[float, float]
    height_m: float
    variant: int


@dataclass(frozen=True)
class Car:
    """A parked car: centre, heading in radians, colour RGB 0..255."""

    position: tuple[float, float]
    yaw: float
    colour: tuple[float, float, float]
    van: bool


@dataclass(frozen=True)
class Town:
    """Everything that stays between the laps."""

    streets: tuple[Street, ...]
    houses: tuple[House, ...]
    blocks: tuple[Block, ...]
    props: tuple[Prop, ...]
    lap_one: tuple[tuple[float, float], ...]  # corners of the drive
    lap_two: tuple[tuple[float, float], ...]
    seed: int = 0


@dataclass(frozen=True)
class Traffic:
    """What differs between two laps: parked cars and passers-by."""

    cars: tuple[Car, ...] = ()
    people: tuple[Prop, ...] = field(default=())


def bounds(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float, float]:
    """The box of two opposite corners (2,)."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def overlaps(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Whether two boxes share ground; touching walls do not."""
    eps = 1e-6
    return a[0] < b[2] - eps and b[0] < a[2] - eps and a[1] < b[3] - eps and b[1] < a[3] - eps


def on_pavement(streets: tuple[Street, ...], own: Street, point: np.ndarray) -> bool:
    """Whether no other street runs through a point of street `own`."""
    box = (point[0] - 0.5, point[1] - 0.5, point[0] + 0.5, point[1] + 0.5)
    return not any(overlaps(box, other.ground) for other in streets if other != own)
