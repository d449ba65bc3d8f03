# SPDX-License-Identifier: Apache-2.0
"""The demo's own town: its streets, the two laps through it, and its traffic.

Lap one drives a loop of four streets. Lap two drives it again but leaves it for three streets that
lap one never saw. Another seed gives other houses along the same streets.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vpr_ros.demo import route
from vpr_ros.demo.builder import Builder, furnish, terrace
from vpr_ros.demo.plan import CAR_COLOURS, Car, Prop, Street, Town, Traffic, on_pavement

CAMERA_HEIGHT_M = 1.5
CORNER_RADIUS_M = 7.0
_PARKED = 0.33  # fraction of the parking spaces that are taken

STREETS = (
    Street('Market Street', (-30, 0), (126, 0), ('townhouse', 'palazzo', 'timber', 'office'),
           shops=0.75, parks=0.06),
    Street('Brick Lane', (96, -30), (96, 94), ('terrace', 'terrace', 'warehouse', 'apartment'),
           shops=0.15, tree_pitch_m=17.0, parks=0.12, setback=0.2, half_m=6.8, parking=(1,),
           trees=(2,)),
    Street('Tower Avenue', (126, 64), (-30, 64), ('apartment', 'office', 'palazzo', 'townhouse'),
           shops=0.35, tree_pitch_m=11.0, parks=0.16, half_m=11.0, trees=(3,)),
    Street('Garden Row', (0, 94), (0, -30), ('cottage', 'timber', 'townhouse'),
           tree_pitch_m=14.0, parks=0.15, setback=0.6, paving='brick', trees=(1, 5)),
    # Never visited in lap one. Twin Row has Brick Lane's terraces: the trap.
    Street('Twin Row', (66, 75), (66, 108), ('terrace',), parks=0.0, half_m=6.8, parking=(1,),
           paving='concrete'),
    Street('Mill Road', (92, 100), (36, 100), ('warehouse', 'timber', 'apartment'), shops=0.3,
           half_m=8.0, paving='concrete'),
    Street('Park Lane', (42, 108), (42, 75), ('cottage',), tree_pitch_m=7.0, parks=0.95,
           half_m=6.0, parking=(), paving='gravel', trees=(4, 3)),
)  # fmt: skip

LAP_ONE = ((20, 0), (96, 0), (96, 64), (0, 64), (0, 0), (30, 0))
LAP_TWO = ((20, 0), (96, 0), (96, 64), (66, 64), (66, 100), (42, 100), (42, 64), (0, 64), (0, 0),
           (20, 0))  # fmt: skip

TOWERS = (((40, 16, 46, 22), 27.0), ((-22, 40, -17, 45), 21.0), ((112, 22, 118, 28), 24.0))


def make_town(seed: int = 0) -> Town:
    """The demo's town; the same seed gives the same town."""
    rng = np.random.default_rng(seed)
    builder = Builder(STREETS, rng)
    for box, height in TOWERS:
        builder.tower(box, height)
    for street in STREETS:
        for side in (-1, 1):
            builder.build_side(street, side)
    builder.close_ends(STREETS)
    return Town(
        streets=STREETS,
        houses=tuple(terrace(builder.houses)),
        blocks=tuple(builder.blocks),
        props=(*furnish(STREETS, rng), *builder.trees),
        lap_one=LAP_ONE,
        lap_two=LAP_TWO,
        seed=seed,
    )


def make_traffic(town: Town, lap: int) -> Traffic:
    """Parked cars and passers-by of one lap; every second car stays where it was in the others."""
    cars = [
        car
        for number, (resident, visitor) in enumerate(
            zip(_parked(town, 0), _parked(town, lap), strict=True)
        )
        if (car := resident if number % 2 else visitor) is not None
    ]
    return Traffic(tuple(cars), tuple(_walking(town, lap)))


def _parked(town: Town, seed: int) -> Iterator[Car | None]:
    """What stands in each parking space, None: nothing."""
    rng = np.random.default_rng((town.seed, seed, 8))
    for street in town.streets:
        yaw = float(np.arctan2(street.along[1], street.along[0]))
        for side in street.parking:
            for at in np.arange(3.0, street.length_m, 6.4).tolist():
                x, y = street.point(at, side * (street.road_m - 1.1)).tolist()
                free = not on_pavement(town.streets, street, np.array([x, y]))
                car = Car(
                    position=(x, y),
                    yaw=yaw + (np.pi if side > 0 else 0.0),
                    colour=CAR_COLOURS[rng.integers(len(CAR_COLOURS))],
                    van=bool(rng.random() < 0.2),
                )
                yield None if free or rng.random() > _PARKED else car


def _walking(town: Town, seed: int) -> Iterator[Prop]:
    rng = np.random.default_rng((town.seed, seed, 9))
    for street in town.streets:
        for side in (-1, 1):
            for at in rng.uniform(0, street.length_m, int(street.length_m / 9)).tolist():
                left = side * (street.road_m + float(rng.uniform(0.7, 2.3)))
                x, y = street.point(at, left).tolist()
                person = Prop(
                    'person', (x, y), float(rng.uniform(1.55, 1.9)), int(rng.integers(8))
                )
                if on_pavement(town.streets, street, np.array([x, y])):
                    yield person


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
