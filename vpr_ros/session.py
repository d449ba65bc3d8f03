# SPDX-License-Identifier: Apache-2.0
"""What was learnt on a drive, written as a map, alone or together with the map it began with."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid5

import numpy as np
from scipy.spatial.transform import Rotation

from vpr_ros.cameras import OPTICAL, MapCamera
from vpr_ros.errors import MapError, MapModelMismatchError
from vpr_ros.keyframe_pictures import picture_name
from vpr_ros.keyframe_store import KeyframePart, KeyframeStore, write_keyframes
from vpr_ros.map_edit import add_rows
from vpr_ros.model_ref import ModelRef
from vpr_ros.odometry import OdometryPose
from vpr_ros.place_map import MANIFEST, PlaceMap
from vpr_ros.poses import matrix_of_pose


@dataclass(frozen=True)
class Anchor:
    """A moment at which the loaded map was seen from a known place of the odometry.

    Attributes:
        stamp_ns: When.
        drive: Of the odometry.
        map_from_odometry: (4, 4) float64.
    """

    stamp_ns: int
    drive: int
    map_from_odometry: np.ndarray


@dataclass(frozen=True)
class LearntPlaces:
    """What was learnt up to a moment; stays as it is.

    Attributes:
        session: Which drive this is.
        model: The model that described them.
        descriptors: (N, D) float32 of all places, the recent ones included.
        stamps_ns: (N,) int64.
        cameras: (N,) uint16.
        odometry: N poses, None: unknown.
        images: N names of pictures.
        store: Their local features and pictures.
    """

    session: UUID
    model: ModelRef
    descriptors: np.ndarray
    stamps_ns: np.ndarray
    cameras: np.ndarray
    odometry: Sequence[OdometryPose | None]
    images: Sequence[str]
    store: KeyframeStore

    def __len__(self) -> int:
        """Return N, the number of places."""
        return len(self.stamps_ns)


@dataclass(frozen=True)
class SavedSession:
    """What was written.

    Attributes:
        place_map: The map.
        num_unplaced: Learnt places whose pose in the map is not known.
    """

    place_map: PlaceMap
    num_unplaced: int

    def explain_unplaced(self) -> str:
        """Say how many places have no pose, and why."""
        return (
            f'{self.num_unplaced} of the learnt places have no pose: there was no odometry of the '
            'camera (odom, body_from_camera), or it was interrupted and they are not of the '
            'longest piece, or the loaded map was not recognised and VERIFIED in metres on the '
            'same piece; or that map does not say how the camera was mounted'
        )


@dataclass(frozen=True)
class Session:
    """A loaded map and what was learnt since, about to be written.

    Attributes:
        learnt: What was learnt.
        loaded: The map that the drive began with, which stays as it is; None: there was none.
        anchors: Where the loaded map lies in the odometry, by time.
        frame_id: Frame of the poses where no map was loaded.
    """

    learnt: LearntPlaces
    loaded: PlaceMap | None
    anchors: Sequence[Anchor]
    frame_id: str = 'map'

    def save(self, directory: Path) -> SavedSession:
        """Write it; a crash at any moment leaves what was there.

        Raises:
            MapModelMismatchError: Another model's map is there.
            MapError: There is nothing to write, or no map can be there.
            OSError: The disk is full or not writable.
        """
        self._check(directory)
        new = self._new_rows()
        placed = self._placed(new)
        combined = self._combined(new, placed)
        dtype = 'float32' if self.loaded is None else self.loaded.descriptors.dtype.name
        combined.save(directory, dtype=dtype, keyframes=_Keyframes(self, new, placed))
        positions = combined.places['position'][len(combined) - len(new) :]
        return SavedSession(combined, int(np.isnan(positions).any(axis=1).sum()))

    def _check(self, directory: Path) -> None:
        if not len(self.learnt) and not self.loaded:
            raise MapError('nothing was learnt yet: there is no map to write')
        if (directory / MANIFEST).exists():
            there = PlaceMap.load(directory, verify=False).model
            model = self.learnt.model
            if there.sha256 != model.sha256:
                raise MapModelMismatchError(
                    f'{directory} holds a map of model {there.name} (sha256 '
                    f'{there.sha256[:12]}…), this one is of {model.name} '
                    f'({model.sha256[:12]}…): choose another folder'
                )

    def _new_rows(self) -> list[int]:
        """Return the learnt rows that the loaded map does not hold.

        It holds some where it is what was saved earlier on this drive.
        """
        if self.loaded is None:
            return list(range(len(self.learnt)))
        places = self.loaded.places
        known = set(zip(places['stamp_ns'].tolist(), places['camera'].tolist(), strict=True))
        learnt = zip(self.learnt.stamps_ns.tolist(), self.learnt.cameras.tolist(), strict=True)
        return [row for row, key in enumerate(learnt) if key not in known]

    def _placed(self, rows: Sequence[int]) -> list[np.ndarray | None]:
        """Return the poses of learnt places' cameras in the map to be written."""
        odometry = [self.learnt.odometry[row] for row in rows]
        if self.loaded is None:
            longest = self._longest_drive()
            return [pose.matrix if pose and pose.drive == longest else None for pose in odometry]
        by_drive: defaultdict[int, list[Anchor]] = defaultdict(list)
        for anchor in self.anchors:
            by_drive[anchor.drive].append(anchor)
        stamps = {
            drive: np.array([anchor.stamp_ns for anchor in anchors])
            for drive, anchors in by_drive.items()
        }
        placed: list[np.ndarray | None] = []
        for row, pose in zip(rows, odometry, strict=True):
            if pose is None or not pose.of_camera or pose.drive not in by_drive:
                placed.append(None)
                continue
            away = np.abs(stamps[pose.drive] - self.learnt.stamps_ns[row])
            nearest = by_drive[pose.drive][int(np.argmin(away))]
            placed.append(nearest.map_from_odometry @ pose.matrix)
        return placed

    def _longest_drive(self) -> int | None:
        """Return the piece of odometry whose frame a map of what was learnt alone has."""
        drives = Counter(pose.drive for pose in self.learnt.odometry if pose is not None)
        return drives.most_common(1)[0][0] if drives else None

    def _combined(self, new: Sequence[int], placed: Sequence[np.ndarray | None]) -> PlaceMap:
        learnt, loaded = self.learnt, self.loaded
        model = learnt.model
        if loaded is None:
            combined = PlaceMap(model, frame_id=self.frame_id)
            if (drive := self._longest_drive()) is not None:
                combined.frame_uid = str(uuid5(learnt.session, str(drive)))
        else:
            combined = PlaceMap(model, frame_id=loaded.frame_id, origin=loaded.origin)
            combined.frame_uid = loaded.frame_uid
            combined.calibration = loaded.calibration
            add_rows(combined, loaded, {row: row for row in range(len(loaded))}, keep_ids=True)
        combined.cameras = self._cameras(new, placed)
        if not new:
            return combined
        mountings = {camera.number: camera.body_from_camera for camera in combined.cameras}
        positions = np.full((len(new), 3), np.nan)
        orientations = np.full((len(new), 4), np.nan)
        for at, (row, pose) in enumerate(zip(new, placed, strict=True)):
            mounting = mountings.get(int(learnt.cameras[row]), OPTICAL)
            if pose is None or mounting is None:
                continue
            body = pose @ np.linalg.inv(matrix_of_pose(mounting))
            positions[at] = body[:3, 3]
            orientations[at] = Rotation.from_matrix(body[:3, :3]).as_quat()
        first = len(combined)
        combined.add(
            learnt.descriptors[new],
            stamps_ns=learnt.stamps_ns[new],
            positions=positions,
            orientations_xyzw=orientations,
            images=[picture_name(first + at) for at in range(len(new))],
            cameras=learnt.cameras[new],
        )
        return combined

    def _cameras(
        self, new: Sequence[int], placed: Sequence[np.ndarray | None]
    ) -> tuple[MapCamera, ...]:
        """Return what is known of the cameras: the map's own, and those learnt without it.

        The poses of the latter are written as those of the cameras themselves.
        """
        known = {camera.number: camera for camera in self.loaded.cameras} if self.loaded else {}
        for row, pose in zip(new, placed, strict=True):
            number, odometry = int(self.learnt.cameras[row]), self.learnt.odometry[row]
            if pose is not None and odometry is not None and odometry.of_camera:
                known.setdefault(number, MapCamera(number, None, OPTICAL))
        return tuple(known[number] for number in sorted(known))


@dataclass(frozen=True)
class _Keyframes:
    session: Session
    new: Sequence[int]
    placed: Sequence[np.ndarray | None]

    def write_to(self, folder: Path) -> None:
        """Write the keyframes of both, those learnt behind those loaded."""
        learnt, loaded = self.session.learnt, self.session.loaded
        first = 0 if loaded is None else len(loaded)
        rows = {row: first + at for at, row in enumerate(self.new)}
        poses = {
            row: pose
            for row, pose in zip(self.new, self.placed, strict=True)
            if (odometry := learnt.odometry[row]) is not None and odometry.of_camera
        }
        parts = [KeyframePart(learnt.store, rows, poses)]
        if loaded is not None and loaded.keyframes is not None and loaded.keyframes.is_dir():
            # Its directory may hold more by now: what this session wrote there before.
            kept = {row: row for row in range(first)}
            parts.insert(0, KeyframePart(KeyframeStore(loaded.keyframes, read_only=True), kept))
        write_keyframes(folder, parts)
