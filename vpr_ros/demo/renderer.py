# SPDX-License-Identifier: Apache-2.0
"""A small software renderer: textured polygons, a depth buffer, ground, sky and cut-outs.

No graphics card and nothing but NumPy and OpenCV. The camera has no roll. The same scene and pose
give the same picture, byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from vpr_ros.demo import ground
from vpr_ros.demo.ground import Ground
from vpr_ros.demo.surfaces import Surface

NEAR_M = 0.3
_HAZE_M = 260.0  # distance at which haze hides 63 %
_HAZE_FROM_M = 20.0
_COARSEST = 4  # halvings of a texture at most
_LEAST_PIXELS = 6  # of a polygon's box; smaller ones are not drawn
_FAR_GROUND_ROWS = 36  # rows below the horizon that are averaged from four times as many


@dataclass(frozen=True)
class Camera:
    """A pinhole camera without distortion; `focal` in pixels, optical centre in the middle."""

    width: int = 640
    height: int = 480
    focal: float = 430.0

    @property
    def matrix(self) -> np.ndarray:
        """K (3, 3)."""
        return np.array(
            [
                [self.focal, 0, (self.width - 1) / 2],
                [0, self.focal, (self.height - 1) / 2],
                [0, 0, 1.0],
            ]
        )

    def scaled(self, factor: float) -> Camera:
        """The same view with `factor` times as many pixels a side."""
        return Camera(round(self.width * factor), round(self.height * factor), self.focal * factor)


@dataclass(frozen=True)
class View:
    """Where the camera is: position (3,) in the map frame, yaw from x, pitch up; radians."""

    position: np.ndarray
    yaw: float
    pitch: float = 0.0

    @property
    def camera_from_map(self) -> np.ndarray:
        """Rotation (3, 3) into the optical frame: x right, y down, z forward."""
        cos_yaw, sin_yaw = np.cos(self.yaw), np.sin(self.yaw)
        cos_pitch, sin_pitch = np.cos(self.pitch), np.sin(self.pitch)
        forward = np.array([cos_yaw * cos_pitch, sin_yaw * cos_pitch, sin_pitch])
        right = np.array([sin_yaw, -cos_yaw, 0.0])
        return np.stack([right, np.cross(forward, right), forward])


@dataclass(frozen=True)
class Sprite:
    """A cut-out that stands at `foot` (3,) and faces the camera; `rgba` uint8 (H, W, 4)."""

    foot: np.ndarray
    height_m: float
    rgba: np.ndarray


@dataclass(frozen=True)
class Scene:
    """All that can be drawn, light included."""

    surfaces: Sequence[Surface]
    sprites: Sequence[Sprite]
    ground: Ground
    sky: np.ndarray
    haze: tuple[float, float, float]  # RGB


class _Texture:
    """A texture and its reductions, which are made when first needed."""

    def __init__(self, rgb: np.ndarray) -> None:
        self._levels = {(0, 0): rgb}

    def reduced(self, across: int, down: int) -> np.ndarray:
        """The texture halved `across` times in width and `down` times in height."""
        if (across, down) not in self._levels:
            full = self._levels[0, 0]
            size = (max(1, full.shape[1] >> across), max(1, full.shape[0] >> down))
            self._levels[across, down] = cv2.resize(full, size, interpolation=cv2.INTER_AREA)
        return self._levels[across, down]


class _Target:
    """The picture being drawn and the inverse depth of what it shows."""

    def __init__(self, camera: Camera) -> None:
        self.rgb = np.empty((camera.height, camera.width, 3), np.uint8)
        self.inverse_depth = np.zeros((camera.height, camera.width), np.float32)


class Renderer:
    """Draws one scene from any view; `render` may be called from several threads."""

    def __init__(self, scene: Scene, camera: Camera) -> None:
        self._scene = scene
        self._camera = camera
        self._inverse_matrix = np.linalg.inv(camera.matrix)
        self._textures = [_Texture(surface.texture) for surface in scene.surfaces]
        sheets = {id(sprite.rgba): _Texture(sprite.rgba) for sprite in scene.sprites}
        self._sheets = [sheets[id(sprite.rgba)] for sprite in scene.sprites]
        self._corners = np.stack([_four(surface.corners) for surface in scene.surfaces])
        self._origins = np.stack([surface.origin for surface in scene.surfaces])
        self._normals = np.stack([surface.normal for surface in scene.surfaces])
        self._reach = np.array([surface.visible_m for surface in scene.surfaces])
        self._ground = [scene.ground.texture]
        for _ in range(3):
            self._ground.append(
                cv2.resize(self._ground[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            )
        wrap = scene.sky[:, : ground.SKY_WIDTH // 2]
        self._sky = np.ascontiguousarray(np.hstack([scene.sky, wrap]))

    def render(self, view: View) -> np.ndarray:
        """The picture from `view`, RGB uint8 (H, W, 3)."""
        target = _Target(self._camera)
        horizon = self._horizon_row(view)
        self._draw_sky(target, view, horizon)
        self._draw_ground(target, view, horizon)
        self._draw_surfaces(target, view)
        self._draw_sprites(target, view)
        return target.rgb

    def _horizon_row(self, view: View) -> int:
        middle = (self._camera.height - 1) / 2
        row = middle + self._camera.focal * np.tan(view.pitch)
        return int(np.clip(np.floor(row), 0, self._camera.height - 1))

    def _draw_sky(self, target: _Target, view: View, horizon: int) -> None:
        camera = self._camera
        x = (np.arange(camera.width, dtype=np.float32) - (camera.width - 1) / 2) / camera.focal
        rows = np.arange(horizon + 2, dtype=np.float32) - (camera.height - 1) / 2
        slope = np.tan(view.pitch - np.arctan(rows / camera.focal)).astype(np.float32)
        elevation = np.arctan(slope[:, None] / np.sqrt(1 + x * x)[None, :])
        per_rad = ground.SKY_HEIGHT / (ground.SKY_TOP_RAD - ground.SKY_BOTTOM_RAD)
        map_y = (ground.SKY_TOP_RAD - elevation) * per_rad
        azimuth = (view.yaw - np.arctan(x)) / (2 * np.pi)
        column = ((-azimuth[0]) % 1.0 + (azimuth[0] - azimuth)) * ground.SKY_WIDTH
        map_x = np.broadcast_to(column.astype(np.float32), map_y.shape)
        target.rgb[: horizon + 2] = cv2.remap(
            self._sky,
            np.ascontiguousarray(map_x),
            map_y,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )

    def _draw_ground(self, target: _Target, view: View, horizon: int) -> None:
        height = self._camera.height
        edges = [1, 5, 12, _FAR_GROUND_ROWS, height]
        for level, (low, high) in zip((3, 2, 1, 0), pairwise(edges), strict=True):
            top, bottom = min(height, horizon + low), min(height, horizon + high)
            if top < bottom:
                finer = 4 if high <= _FAR_GROUND_ROWS else 1
                target.rgb[top:bottom] = self._ground_rows(view, top, bottom, level, finer)
        self._haze_ground(target, view, horizon)

    def _ground_rows(
        self, view: View, top: int, bottom: int, level: int, finer: int
    ) -> np.ndarray:
        """Rows of ground, averaged from `finer` times as many."""
        rotation = view.camera_from_map
        metres = 2.0**level / ground.GROUND_PIXELS_PER_M
        corner = np.array([self._scene.ground.x_min, self._scene.ground.y_max, 0.0])
        homography = self._camera.matrix @ np.column_stack(
            [
                rotation[:, 0] * metres,
                -rotation[:, 1] * metres,
                rotation @ (corner - view.position),
            ]
        )
        shift = np.array([[1, 0, 0], [0, finer, -top * finer], [0, 0, 1.0]])
        size = (self._camera.width, (bottom - top) * finer)
        rows = cv2.warpPerspective(
            self._ground[level],
            shift @ homography,
            size,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if finer > 1:
            rows = cv2.resize(rows, (size[0], bottom - top), interpolation=cv2.INTER_AREA)
        return rows

    def _haze_ground(self, target: _Target, view: View, horizon: int) -> None:
        rows = target.rgb[horizon + 1 : horizon + 1 + _FAR_GROUND_ROWS]
        below = np.arange(1, len(rows) + 1)
        distance = view.position[2] * self._camera.focal / below
        clear = np.exp(-np.maximum(0, distance - _HAZE_FROM_M) / _HAZE_M)[:, None, None]
        rows[:] = rows * clear + np.asarray(self._scene.haze) * (1 - clear)

    def _draw_surfaces(self, target: _Target, view: View) -> None:
        rotation = view.camera_from_map
        facing = np.einsum('ij,ij->i', view.position - self._origins, self._normals)
        points = (self._corners - view.position) @ rotation.T  # (N, 4, 3)
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        half_width = (self._camera.width / 2 + 1) / self._camera.focal
        half_height = (self._camera.height / 2 + 1) / self._camera.focal
        nearest = z.min(axis=1)
        seen = (facing > 1e-3) & (z.max(axis=1) > NEAR_M) & (nearest < self._reach)
        for axis, half in ((x, half_width), (y, half_height)):
            seen &= (axis < half * z).any(axis=1) & (axis > -half * z).any(axis=1)
        for index in np.flatnonzero(seen)[np.argsort(nearest[seen], kind='stable')]:
            self._draw_surface(target, view, rotation, int(index), points[index])

    def _draw_surface(
        self, target: _Target, view: View, rotation: np.ndarray, index: int, points: np.ndarray
    ) -> None:
        """Draws one polygon; `points` (4, 3) are its corners in the optical frame."""
        camera = self._camera
        clipped = _clip_near(points) if points[:, 2].min() < NEAR_M else points
        pixels = (clipped @ camera.matrix.T)[:, :2] / clipped[:, 2:]
        low = np.maximum(np.floor(pixels.min(axis=0)), 0).astype(int)
        high = np.minimum(np.ceil(pixels.max(axis=0)) + 1, (camera.width, camera.height))
        width, height = (high - low).astype(int)
        if width <= 0 or height <= 0 or width * height < _LEAST_PIXELS:
            return
        rows, columns = slice(low[1], low[1] + height), slice(low[0], low[0] + width)
        normal = rotation @ self._normals[index]
        plane = normal @ self._inverse_matrix / (normal @ points[0])
        across = plane[0] * np.arange(low[0], low[0] + width)
        down = plane[1] * np.arange(low[1], low[1] + height) + plane[2]
        inverse_depth = down[:, None].astype(np.float32) + across.astype(np.float32)
        visible = np.zeros((height, width), np.uint8)
        cv2.fillConvexPoly(visible, np.round((pixels - low) * 16).astype(np.int32), 255, shift=4)
        buffer = target.inverse_depth[rows, columns]
        visible &= cv2.compare(inverse_depth, buffer, cv2.CMP_GT)
        if not visible.any():
            return
        homography = self._homography(view, rotation, index)
        colours = self._warp(
            index, homography, low, (int(width), int(height)), clipped, rotation, view
        )
        distance = float(clipped[:, 2].mean())
        if distance > _HAZE_FROM_M:
            self._add_haze(colours, distance)
        cv2.copyTo(colours, visible, target.rgb[rows, columns])
        cv2.copyTo(inverse_depth, visible, buffer)

    def _homography(self, view: View, rotation: np.ndarray, index: int) -> np.ndarray:
        """From texture pixels of a surface to picture pixels (3, 3)."""
        surface = self._scene.surfaces[index]
        return self._camera.matrix @ np.column_stack(
            [
                rotation @ surface.right / surface.pixels_per_m,
                rotation @ surface.down / surface.pixels_per_m,
                rotation @ (surface.origin - view.position),
            ]
        )

    def _warp(
        self,
        index: int,
        homography: np.ndarray,
        low: np.ndarray,
        size: tuple[int, int],
        clipped: np.ndarray,
        rotation: np.ndarray,
        view: View,
    ) -> np.ndarray:
        """The surface's picture in its box, from the reduction that fits its size."""
        surface = self._scene.surfaces[index]
        middle = clipped.mean(axis=0) @ rotation + view.position - surface.origin
        at = np.array([middle @ surface.right, middle @ surface.down]) * surface.pixels_per_m
        steps = np.array([[at[0], at[1], 1], [at[0] + 1, at[1], 1], [at[0], at[1] + 1, 1]])
        images = steps @ homography.T
        images = images[:, :2] / images[:, 2:]
        sizes = np.linalg.norm(images[1:] - images[0], axis=1)
        levels = np.clip(np.round(-np.log2(np.maximum(sizes, 1e-3))), 0, _COARSEST).astype(int)
        texture = self._textures[index].reduced(int(levels[0]), int(levels[1]))
        scale_x = surface.texture.shape[1] / texture.shape[1]
        scale_y = surface.texture.shape[0] / texture.shape[0]
        reduced = np.array(
            [[scale_x, 0, (scale_x - 1) / 2], [0, scale_y, (scale_y - 1) / 2], [0, 0, 1]]
        )
        shift = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1.0]])
        return cv2.warpPerspective(
            texture,
            shift @ homography @ reduced,
            size,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )

    def _add_haze(self, rgb: np.ndarray, distance: float) -> None:
        clear = float(np.exp(-(distance - _HAZE_FROM_M) / _HAZE_M))
        haze = np.asarray(self._scene.haze) * (1 - clear)
        cv2.convertScaleAbs(rgb, dst=rgb, alpha=clear)
        cv2.add(rgb, (*haze, 0.0), dst=rgb)

    def _draw_sprites(self, target: _Target, view: View) -> None:
        if not self._scene.sprites:
            return
        feet = np.stack([sprite.foot for sprite in self._scene.sprites]) - view.position
        feet = feet @ view.camera_from_map.T
        order = np.argsort(-feet[:, 2], kind='stable')
        for index in order[(feet[order, 2] > 1.0) & (feet[order, 2] < 140.0)]:
            self._draw_sprite(target, int(index), feet[index])

    def _draw_sprite(self, target: _Target, index: int, foot: np.ndarray) -> None:
        camera, sprite = self._camera, self._scene.sprites[index]
        per_metre = camera.focal / foot[2]
        height = round(sprite.height_m * per_metre)
        width = round(height * sprite.rgba.shape[1] / sprite.rgba.shape[0])
        if height < 3 or width < 1:
            return
        left = round(foot[0] * per_metre + (camera.width - 1) / 2 - width / 2)
        top = round(foot[1] * per_metre + (camera.height - 1) / 2 - height)
        x0, x1 = max(0, left), min(camera.width, left + width)
        y0, y1 = max(0, top), min(camera.height, top + height)
        if x0 >= x1 or y0 >= y1:
            return
        shows = target.inverse_depth[y0:y1, x0:x1] < 1 / foot[2]
        if not shows.any():
            return
        halvings = max(0, round(np.log2(sprite.rgba.shape[0] / height)))
        sheet = self._sheets[index].reduced(halvings, halvings)
        rgba = cv2.resize(sheet, (width, height), interpolation=cv2.INTER_LINEAR)
        rgba = rgba[y0 - top : y1 - top, x0 - left : x1 - left]
        alpha = (rgba[..., 3] * shows)[..., None].astype(np.float32) / 255
        part = target.rgb[y0:y1, x0:x1]
        part[:] = part + (rgba[..., :3] - part.astype(np.float32)) * alpha


def _four(corners: np.ndarray) -> np.ndarray:
    """Repeats a triangle's last corner so that every polygon has four."""
    return corners if len(corners) == 4 else np.concatenate([corners, corners[-1:]])


def _clip_near(points: np.ndarray) -> np.ndarray:
    """The part of a convex polygon (M, 3) with z >= NEAR_M."""
    kept = []
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        if start[2] >= NEAR_M:
            kept.append(start)
        if (start[2] >= NEAR_M) != (end[2] >= NEAR_M):
            kept.append(start + (end - start) * (NEAR_M - start[2]) / (end[2] - start[2]))
    return np.array(kept)
