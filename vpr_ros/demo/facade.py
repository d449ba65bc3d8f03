# SPDX-License-Identifier: Apache-2.0
"""Painted facades: windows, doors, shops, balconies and signs on a wall."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vpr_ros.demo import paint
from vpr_ros.demo.paint import PIXELS_PER_M

SIGNS = (
    'BAKERY', 'CAFE LUNA', 'BOOKS', 'PHARMACY', 'HOTEL', 'FLOWERS', 'BARBER', 'PIZZA', 'BANK',
    'OPTIK', 'CINEMA', 'MARKET', 'RADIO', 'TOYS', 'WINE BAR', 'BIKES', 'MUSIC', 'SHOES', 'POST',
    'GALLERY', 'SUSHI', 'TAILOR', 'KIOSK', 'DELI', 'TEA HOUSE', 'COPY SHOP', 'PHOTO', 'LAMPS',
)  # fmt: skip


@dataclass(frozen=True)
class FacadeStyle:
    """How a builder built: two houses of one style and one colour look alike."""

    material: str  # brick, stone, boards, panels or plaster
    window: str  # sash, arched, wide, shutter or strip
    bay_m: float  # from window to window
    window_m: tuple[float, float]  # width, height
    storey_m: float
    cornice: bool = True
    balcony: float = 0.0  # fraction of the windows with one
    timber: bool = False


STYLES = {
    'terrace': FacadeStyle('brick', 'sash', 2.4, (1.1, 1.7), 3.0),
    'townhouse': FacadeStyle('plaster', 'shutter', 2.7, (1.1, 1.8), 3.3),
    'palazzo': FacadeStyle('stone', 'arched', 3.0, (1.3, 2.2), 3.9),
    'apartment': FacadeStyle('plaster', 'wide', 3.4, (2.0, 1.6), 2.9, cornice=False, balcony=0.6),
    'office': FacadeStyle('panels', 'strip', 3.0, (2.7, 1.9), 3.5, cornice=False),
    'timber': FacadeStyle('plaster', 'sash', 2.2, (1.0, 1.3), 2.8, timber=True),
    'cottage': FacadeStyle('boards', 'shutter', 3.0, (1.2, 1.3), 2.8),
    'warehouse': FacadeStyle('brick', 'arched', 3.6, (2.2, 2.3), 4.2),
    'church': FacadeStyle('stone', 'arched', 4.2, (1.5, 4.6), 8.0, cornice=True),
}


@dataclass(frozen=True)
class Facade:
    """A painted facade: albedo RGB uint8 (H, W, 3) and where windows glow, uint8 (H, W)."""

    albedo: np.ndarray
    glow: np.ndarray


def _px(metres: float) -> int:
    return max(1, round(metres * PIXELS_PER_M))


class _Canvas:
    """A wall being painted; y is measured down from the eaves, in metres, like x from the left."""

    def __init__(self, texture: np.ndarray, rng: np.random.Generator) -> None:
        self.rgb = texture
        self.glow = np.zeros(texture.shape[:2], np.uint8)
        self.rng = rng
        self.height_m = texture.shape[0] / PIXELS_PER_M
        self.width_m = texture.shape[1] / PIXELS_PER_M

    def box(self, x: float, y: float, width: float, height: float, colour: object) -> None:
        corner = (_px(x + width) - 1, _px(y + height) - 1)
        colour = tuple(float(c) for c in np.asarray(colour))
        cv2.rectangle(
            self.rgb, (round(x * PIXELS_PER_M), round(y * PIXELS_PER_M)), corner, colour, -1
        )

    def shadow(self, x: float, y: float, width: float, height: float, factor: float) -> None:
        rows = slice(max(0, round(y * PIXELS_PER_M)), max(0, _px(y + height)))
        columns = slice(max(0, round(x * PIXELS_PER_M)), max(0, _px(x + width)))
        self.rgb[rows, columns] *= factor

    def arch(self, x: float, y: float, width: float, colour: object) -> None:
        centre = (round((x + width / 2) * PIXELS_PER_M), round(y * PIXELS_PER_M))
        radius = round(width / 2 * PIXELS_PER_M)
        colour = tuple(float(c) for c in np.asarray(colour))
        cv2.ellipse(self.rgb, centre, (radius, radius), 0, 180, 360, colour, -1, cv2.LINE_AA)

    def glass(self, x: float, y: float, width: float, height: float) -> None:
        """A pane that mirrors the sky above and shows a curtain or a dark room below."""
        rows, columns = _px(height), _px(width)
        top, left = round(y * PIXELS_PER_M), round(x * PIXELS_PER_M)
        target = self.rgb[top : top + rows, left : left + columns]
        if target.size == 0:
            return
        rows, columns = target.shape[:2]
        fade = np.linspace(1.25, 0.7, rows, dtype=np.float32)[:, None, None]
        tone = self.rng.uniform(0.75, 1.3)
        target[:] = fade * np.asarray((58, 70, 84), np.float32) * tone
        if self.rng.random() < 0.45:  # curtains at both sides
            cloth = np.asarray((176, 168, 152), np.float32) * self.rng.uniform(0.7, 1.1)
            depth = max(1, int(columns * self.rng.uniform(0.12, 0.3)))
            target[:, :depth] = cloth
            target[:, columns - depth :] = cloth
        self.glow[top : top + rows, left : left + columns] = self.rng.integers(1, 255)

    def text(self, words: str, x: float, y: float, height: float, colour: object) -> None:
        """Words with the baseline at y, `height` metres tall."""
        scale = height * PIXELS_PER_M / 22
        colour = tuple(float(c) for c in np.asarray(colour))
        cv2.putText(
            self.rgb,
            words,
            (round(x * PIXELS_PER_M), round(y * PIXELS_PER_M)),
            cv2.FONT_HERSHEY_DUPLEX,
            scale,
            colour,
            max(1, round(scale * 2.2)),
            cv2.LINE_AA,
        )


def _window(canvas: _Canvas, style: FacadeStyle, x: float, y: float, trim: np.ndarray) -> None:
    width, height = style.window_m
    canvas.shadow(x - 0.05, y + height, width + 0.2, 0.35, 0.86)
    canvas.box(x - 0.12, y - 0.12, width + 0.24, height + 0.24, trim)
    if style.window == 'arched':
        canvas.arch(x - 0.12, y, width + 0.24, trim)
        canvas.arch(x, y, width, (52, 62, 74))
    canvas.glass(x, y, width, height)
    canvas.shadow(x, y, width, 0.18, 0.6)
    bars = {'sash': (1, 1), 'arched': (2, 2), 'wide': (1, 0), 'shutter': (1, 2), 'strip': (2, 0)}
    upright, across = bars[style.window]
    for i in range(1, upright + 1):
        canvas.box(x + width * i / (upright + 1) - 0.03, y, 0.07, height, trim)
    for i in range(1, across + 1):
        canvas.box(x, y + height * i / (across + 1) - 0.03, width, 0.07, trim)
    canvas.box(x - 0.2, y + height + 0.06, width + 0.4, 0.12, trim * 0.92)


def _shutters(canvas: _Canvas, style: FacadeStyle, x: float, y: float, colour: np.ndarray) -> None:
    width, height = style.window_m
    for left in (x - 0.12 - width / 2, x + width + 0.12):
        canvas.box(left, y - 0.05, width / 2, height + 0.1, colour)
        for slat in np.arange(0.1, height, 0.16).tolist():
            canvas.shadow(left + 0.06, y + slat, width / 2 - 0.12, 0.05, 0.7)


def _balcony(canvas: _Canvas, style: FacadeStyle, x: float, y: float, colour: np.ndarray) -> None:
    width, height = style.window_m
    left, top = x - 0.3, y + height - 0.75
    canvas.shadow(left, top + 1.1, width + 0.6, 0.4, 0.7)
    canvas.box(left, top, width + 0.6, 0.08, colour)
    for bar in np.arange(0.0, width + 0.6, 0.14).tolist():
        canvas.box(left + bar, top, 0.04, 1.0, colour)
    canvas.box(left, top + 1.0, width + 0.6, 0.16, colour * 0.8)


def _timber_frame(canvas: _Canvas, style: FacadeStyle) -> None:
    beam = np.asarray((66, 44, 30), np.float32)
    for y in np.arange(0, canvas.height_m, style.storey_m).tolist():
        canvas.box(0, y, canvas.width_m, 0.22, beam)
    thickness = _px(0.18)
    colour = tuple(float(c) for c in beam)
    bays = np.arange(0, canvas.width_m + 0.1, style.bay_m)
    for number, x in enumerate(bays):
        canvas.box(min(x, canvas.width_m - 0.2), 0, 0.2, canvas.height_m, beam)
        lean = 0.9 if number % 2 else -0.9
        start = (round(x * PIXELS_PER_M), 0)
        end = (round((x + lean) * PIXELS_PER_M), _px(style.storey_m))
        cv2.line(canvas.rgb, start, end, colour, thickness, cv2.LINE_AA)


def _upper_storeys(
    canvas: _Canvas, style: FacadeStyle, storeys: int, trim: np.ndarray, accent: np.ndarray
) -> None:
    width, height = style.window_m
    bays = max(1, int(canvas.width_m / style.bay_m))
    pitch = canvas.width_m / bays
    for storey in range(storeys):
        y = storey * style.storey_m + (style.storey_m - height) * 0.45
        for bay in range(bays):
            x = (bay + 0.5) * pitch - width / 2
            if style.window == 'shutter':
                _shutters(canvas, style, x, y, accent)
            _window(canvas, style, x, y, trim)
            if canvas.rng.random() < style.balcony:
                _balcony(canvas, style, x, y, accent)
        if style.cornice:
            line = (storey + 1) * style.storey_m - 0.2
            canvas.box(0, line, canvas.width_m, 0.16, trim * 0.95)
            canvas.shadow(0, line + 0.16, canvas.width_m, 0.14, 0.75)


def _door(canvas: _Canvas, x: float, trim: np.ndarray, accent: np.ndarray) -> None:
    top = canvas.height_m - 2.45
    canvas.box(x - 0.2, top - 0.2, 1.5, 2.65, trim)
    canvas.box(x, top, 1.1, 2.45, accent)
    canvas.glass(x + 0.1, top + 0.08, 0.9, 0.4)
    for panel in (0.65, 1.5):
        canvas.shadow(x + 0.14, top + panel, 0.35, 0.65, 0.75)
        canvas.shadow(x + 0.62, top + panel, 0.35, 0.65, 0.75)
    canvas.box(x - 0.3, canvas.height_m - 0.18, 1.7, 0.18, (140, 136, 130))


def _dwelling(canvas: _Canvas, style: FacadeStyle, trim: np.ndarray, accent: np.ndarray) -> None:
    """A ground floor with a door among windows."""
    width, height = style.window_m
    height = min(height, style.storey_m - 1.2)
    bays = max(1, int(canvas.width_m / style.bay_m))
    pitch = canvas.width_m / bays
    door = int(canvas.rng.integers(bays))
    low = FacadeStyle(style.material, style.window, style.bay_m, (width, height), style.storey_m)
    for bay in range(bays):
        x = (bay + 0.5) * pitch
        if bay == door:
            _door(canvas, x - 0.55, trim, accent)
        else:
            _window(canvas, low, x - width / 2, canvas.height_m - height - 1.0, trim)


def _shop(canvas: _Canvas, style: FacadeStyle, name: str, accent: np.ndarray) -> None:
    """A ground floor of shop windows under an awning and a name."""
    top = canvas.height_m - style.storey_m
    base = np.asarray(canvas.rng.uniform(20, 150, 3), np.float32)
    canvas.box(0, top + 0.1, canvas.width_m, style.storey_m - 0.1, base * 0.8)
    panes = max(2, int(canvas.width_m / 2.6))
    pitch = canvas.width_m / panes
    door = int(canvas.rng.integers(panes))
    for pane in range(panes):
        depth = style.storey_m - (1.05 if pane == door else 1.6)
        canvas.glass(pane * pitch + 0.15, top + 0.95, pitch - 0.3, depth)
        for item in range(3):
            colour = canvas.rng.uniform(60, 230, 3)
            size = canvas.rng.uniform(0.2, 0.5)
            x = pane * pitch + 0.3 + item * (pitch - 0.6) / 3
            canvas.box(x, top + 0.95 + depth - size - 0.1, size, size, colour)
    canvas.box(0, top + 0.12, canvas.width_m, 0.75, accent)
    ink = (245, 240, 225) if accent.mean() < 130 else (30, 28, 32)
    start = max(0.2, (canvas.width_m - 0.42 * len(name)) * canvas.rng.uniform(0.1, 0.9))
    canvas.text(name, start, top + 0.7, 0.5, ink)
    if canvas.rng.random() < 0.6:
        _awning(canvas, top + 0.9, accent)


def _awning(canvas: _Canvas, top: float, colour: np.ndarray) -> None:
    for stripe, x in enumerate(np.arange(0.1, canvas.width_m - 0.3, 0.4).tolist()):
        canvas.box(x, top, 0.4, 0.6, colour if stripe % 2 else (236, 232, 222))
    canvas.shadow(0, top + 0.6, canvas.width_m, 0.3, 0.6)


def paint_facade(
    style: FacadeStyle,
    *,
    width_m: float,
    storeys: int,
    colour: np.ndarray,
    ground_floor: str,
    sign: str,
    seed: int,
) -> Facade:
    """Paint one facade; `ground_floor` is 'shop' (with `sign` over it), 'door' or 'plain'.

    The same arguments give the same facade, pixel for pixel.
    """
    rng = np.random.default_rng(seed)
    height, width = _px(storeys * style.storey_m), _px(width_m)
    canvas = _Canvas(paint.wall(style.material, height, width, colour, rng), rng)
    trim = np.asarray(rng.choice([(232, 226, 212), (206, 198, 180), (88, 82, 78)]), np.float32)
    accent = rng.uniform(25, 190, 3).astype(np.float32) * np.asarray((1.0, 0.8, 0.8), np.float32)
    if style.timber:
        _timber_frame(canvas, style)
    upper = storeys if ground_floor == 'plain' else storeys - 1
    _upper_storeys(canvas, style, upper, trim, accent)
    if ground_floor == 'shop':
        _shop(canvas, style, sign, accent)
    elif ground_floor == 'door':
        _dwelling(canvas, style, trim, accent)
    canvas.box(0, 0, canvas.width_m, 0.25, trim * 0.85)
    albedo = np.clip(canvas.rgb, 0, 255).astype(np.uint8)
    return Facade(cv2.GaussianBlur(albedo, (0, 0), 0.6), canvas.glow)


def paint_mural(
    style: FacadeStyle,
    *,
    width_m: float,
    storeys: int,
    colour: np.ndarray,
    ground_floor: str,
    sign: str,
    seed: int,
) -> Facade:
    """A windowless wall with a large painting; takes the same arguments as `paint_facade`."""
    rng = np.random.default_rng(seed)
    height, width = _px(storeys * style.storey_m), _px(width_m)
    canvas = _Canvas(paint.wall(style.material, height, width, colour, rng), rng)
    inks = rng.uniform(30, 235, (4, 3))
    canvas.box(0.6, 0.6, width_m - 1.2, canvas.height_m - 1.6, inks[0])
    for _ in range(int(rng.integers(6, 12))):
        ink = tuple(float(c) for c in inks[rng.integers(1, 4)])
        centre = rng.uniform((0.15, 0.15), (0.85, 0.8)) * (width, height)
        radius = int(rng.uniform(0.08, 0.22) * min(width, height))
        spokes = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
        points = centre + radius * np.column_stack([np.cos(spokes), np.sin(spokes)])
        if rng.random() < 0.5:
            cv2.circle(
                canvas.rgb, tuple(centre.astype(int).tolist()), radius, ink, -1, cv2.LINE_AA
            )
        else:
            cv2.fillPoly(canvas.rgb, [points.astype(np.int32)], ink, cv2.LINE_AA)
    letters_m = min(1.2, width_m / len(sign))
    canvas.text(sign, 0.8, canvas.height_m * 0.45, letters_m, (245, 242, 232))
    albedo = np.clip(canvas.rgb, 0, 255).astype(np.uint8)
    return Facade(cv2.GaussianBlur(albedo, (0, 0), 0.6), canvas.glow)
