# SPDX-License-Identifier: Apache-2.0
"""The plan of the demo's town: streets, houses, trees and the two laps; nothing is painted here.

The map frame's x points east, y north, z up; metres. Lap one drives a loop of four streets. Lap
two drives it again but leaves it for three streets that lap one never saw.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vpr_ros.demo import route
from vpr_ros.demo.facade import STYLES

ROAD_M = 5.2  # from the centre line to the kerb
STREET_M = 8.0  # from the centre line to the facades
CAMERA_HEIGHT_M = 1.5
CORNER_RADIUS_M = 7.0


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

    def corridor(self, half_width_m: float) -> tuple[float, float, float, float]:
        """The street's ground as x_min, y_min, x_max, y_max."""
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


STREETS = (
    Street('Market Street', (-30, 0), (126, 0), ('townhouse', 'palazzo', 'timber', 'office'),
           shops=0.75, parks=0.06),
    Street('Brick Lane', (96, -30), (96, 94), ('terrace', 'terrace', 'warehouse', 'apartment'),
           shops=0.15, tree_pitch_m=17.0, parks=0.12, setback=0.2),
    Street('Tower Avenue', (126, 64), (-30, 64), ('apartment', 'office', 'palazzo', 'townhouse'),
           shops=0.35, tree_pitch_m=13.0, parks=0.16, setback=0.15),
    Street('Garden Row', (0, 94), (0, -30), ('cottage', 'timber', 'townhouse'),
           tree_pitch_m=14.0, parks=0.15, setback=0.6),
    # Never visited in lap one. Twin Row has Brick Lane's terraces: the trap.
    Street('Twin Row', (66, 72), (66, 134), ('terrace', 'terrace', 'cottage'), tree_pitch_m=19.0),
    Street('Mill Road', (92, 112), (0, 112), ('warehouse', 'timber', 'apartment'), shops=0.3),
    Street('Chapel Hill', (26, 134), (26, 72), ('cottage', 'palazzo', 'townhouse'), shops=0.3,
           tree_pitch_m=15.0, setback=0.3),
)  # fmt: skip

LAP_ONE = ((20, 0), (96, 0), (96, 64), (0, 64), (0, 0), (30, 0))
LAP_TWO = ((20, 0), (96, 0), (96, 64), (66, 64), (66, 112), (26, 112), (26, 64), (0, 64), (0, 0),
           (20, 0))  # fmt: skip

TOWERS = (((40, 16, 46, 22), 27.0), ((-22, 40, -17, 45), 21.0), ((112, 22, 118, 28), 24.0))

_PALETTES = {
    'brick': ((150, 74, 56), (128, 62, 50), (168, 98, 70), (182, 142, 104)),
    'stone': ((188, 178, 156), (164, 160, 152), (206, 192, 160), (150, 132, 112)),
    'plaster': ((226, 206, 160), (206, 150, 118), (158, 186, 176), (232, 226, 214),
                (196, 172, 190), (214, 186, 96), (152, 166, 190), (188, 120, 102)),
    'boards': ((222, 222, 214), (126, 152, 168), (150, 170, 128), (176, 84, 70), (214, 196, 140)),
    'panels': ((168, 170, 172), (140, 146, 152), (186, 180, 170)),
}  # fmt: skip
_ROOFS = ((142, 74, 56), (94, 82, 78), (110, 62, 50), (72, 78, 88), (128, 102, 82))
_CARS = ((32, 34, 40), (196, 198, 202), (150, 24, 28), (30, 56, 112), (228, 228, 224),
         (88, 96, 98), (36, 82, 62), (178, 150, 96))  # fmt: skip


_STOREYS = {'office': (3, 8), 'apartment': (3, 7), 'cottage': (1, 3), 'warehouse': (1, 4)}


def _house(
    street: Street, box: tuple[float, ...], front: np.ndarray, rng: np.random.Generator
) -> House:
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
        seed=int(rng.integers(2**31)),
    )


def _rgb(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


class _Builder:
    """Fills the plots along the streets; nothing overlaps what was built before."""

    def __init__(self, streets: tuple[Street, ...], rng: np.random.Generator) -> None:
        self.houses: list[House] = []
        self.blocks: list[Block] = []
        self.trees: list[Prop] = []
        self._taken: list[tuple[float, ...]] = [s.corridor(STREET_M) for s in streets]
        self._rng = rng

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
                self.houses.append(_house(street, house, front, rng))
                if garden:
                    self._garden(street, side, at, at + width)
            at += width

    def close_ends(self, streets: tuple[Street, ...]) -> None:
        """A house across each loose end, so that no street runs into the void."""
        for street in streets:
            for at, sign in ((0.0, -1), (street.length_m, 1)):
                box = bounds(street.point(at, 9.0), street.point(at + sign * 9.0, -9.0))
                if self._is_free(box):
                    self._taken.append(box)
                    self.houses.append(_house(street, box, -sign * street.along, self._rng))

    def tower(self, box: tuple[float, float, float, float], height_m: float) -> None:
        """A tower that shows above the roofs."""
        self._taken.append(box)
        self.blocks.append(Block('tower', box, height_m, (176, 160, 134), 5))

    def _plot(
        self, street: Street, side: int, along: tuple[float, float], deep: tuple[float, float]
    ) -> tuple[float, float, float, float]:
        return bounds(
            street.point(along[0], side * (STREET_M + deep[0])),
            street.point(along[1], side * (STREET_M + deep[1])),
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
            x, y = street.point(float(rng.uniform(start + 1, end - 1)), side * (STREET_M + 2.2))
            self._tree(float(x), float(y), float(rng.uniform(3, 6)))

    def _block(self, kind: str, box: tuple[float, float, float, float], height: float) -> None:
        colour = {'hedge': (74, 104, 54), 'wall': (166, 154, 136)}.get(
            kind, _CARS[self._rng.integers(len(_CARS))]
        )
        self.blocks.append(Block(kind, box, height, colour, int(self._rng.integers(2**31))))

    def _tree(self, x: float, y: float, height: float) -> None:
        self.trees.append(Prop('tree', (x, y), height, int(self._rng.integers(6))))


def _terrace(houses: list[House]) -> list[House]:
    """Gives all terraced houses one builder: same bricks, windows and doors; heights differ."""
    return [
        House(h.box, h.front, h.style, 3, (146, 76, 58), h.roof, (84, 78, 78), 'door', 7)
        if h.style == 'terrace'
        else h
        for h in houses
    ]


def _furnish(streets: tuple[Street, ...], rng: np.random.Generator) -> list[Prop]:
    """Trees and lamps on the pavements, clear of every crossing."""
    props: list[Prop] = []

    def plant(street: Street, kind: str, pitch: float, left: float, height: float) -> None:
        for at in np.arange(rng.uniform(2, pitch), street.length_m, pitch).tolist():
            point = street.point(float(at + rng.uniform(-1.5, 1.5)), left)
            if on_pavement(streets, street, point):
                props.append(
                    Prop(
                        kind,
                        (float(point[0]), float(point[1])),
                        height * float(rng.uniform(0.8, 1.2)),
                        int(rng.integers(6)),
                    )
                )

    for street in streets:
        for side in (-1, 1):
            if street.tree_pitch_m:
                plant(street, 'tree', street.tree_pitch_m, side * 6.6, 6.5)
            plant(street, 'lamp', 24.0, side * 5.7, 5.0)
    return props


def on_pavement(streets: tuple[Street, ...], own: Street, point: np.ndarray) -> bool:
    """Whether no other street runs through a point of street `own`."""
    box = (point[0] - 0.5, point[1] - 0.5, point[0] + 0.5, point[1] + 0.5)
    return not any(overlaps(box, other.corridor(STREET_M)) for other in streets if other != own)


def make_town(seed: int = 0) -> Town:
    """The demo's town; the same seed gives the same town."""
    rng = np.random.default_rng(seed)
    builder = _Builder(STREETS, rng)
    for box, height in TOWERS:
        builder.tower(box, height)
    for street in STREETS:
        for side in (-1, 1):
            builder.build_side(street, side)
    builder.close_ends(STREETS)
    return Town(
        streets=STREETS,
        houses=tuple(_terrace(builder.houses)),
        blocks=tuple(builder.blocks),
        props=(*_furnish(STREETS, rng), *builder.trees),
        lap_one=LAP_ONE,
        lap_two=LAP_TWO,
        seed=seed,
    )


def make_traffic(town: Town, seed: int) -> Traffic:
    """Parked cars and passers-by of one lap."""
    rng = np.random.default_rng((town.seed, seed))
    cars: list[Car] = []
    people: list[Prop] = []
    for street in town.streets:
        for side in (-1, 1):
            for at in np.arange(rng.uniform(0, 8), street.length_m, 6.4).tolist():
                point = street.point(float(at), side * 4.1)
                if rng.random() < 0.45 and on_pavement(town.streets, street, point):
                    yaw = float(np.arctan2(street.along[1], street.along[0]))
                    cars.append(
                        Car(
                            (float(point[0]), float(point[1])),
                            yaw + (np.pi if side > 0 else 0.0),
                            _CARS[rng.integers(len(_CARS))],
                            bool(rng.random() < 0.2),
                        )
                    )
            for at in rng.uniform(0, street.length_m, int(street.length_m / 9)):
                point = street.point(float(at), side * float(rng.uniform(5.8, 7.5)))
                person = Prop(
                    'person',
                    (float(point[0]), float(point[1])),
                    float(rng.uniform(1.55, 1.9)),
                    int(rng.integers(8)),
                )
                if on_pavement(town.streets, street, point):
                    people.append(person)
    return Traffic(tuple(cars), tuple(people))


def drive(
    corners: tuple[tuple[float, float], ...],
    *,
    spacing_m: float,
    left_m: float,
    sway_m: float = 0.0,
) -> route.Drive:
    """The camera's poses along a lap of the town."""
    line = route.rounded_line(corners, radius=CORNER_RADIUS_M)
    return route.drive_along(
        line, spacing_m=spacing_m, left_m=left_m, sway_m=sway_m, camera_height_m=CAMERA_HEIGHT_M
    )
