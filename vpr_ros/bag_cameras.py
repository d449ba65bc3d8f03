# SPDX-License-Identifier: Apache-2.0
"""The calibration that was recorded beside the pictures of a bag."""

from __future__ import annotations

from typing import Any

from vpr_ros.bag_messages import CAMERA_INFO, IMAGE, TYPESTORE
from vpr_ros.bags import Bag, Topic
from vpr_ros.camera_info import CalibrationError, intrinsics_from_msg, is_of_rectified
from vpr_ros.cameras import Calibration
from vpr_ros.conversions import rgb_from_compressed
from vpr_ros.errors import EncodingError, SourceError


def camera_info_topic(picture_topic: str) -> str:
    """Return where drivers publish the CameraInfo of pictures: `camera_info` beside them."""
    base = picture_topic.removesuffix('/compressed').rpartition('/')[0]
    return f'{base}/camera_info'


def read_bag_calibration(
    bag: Bag, pictures: Topic, wanted: str | None = None
) -> Calibration | None:
    """Read the first CameraInfo of a camera.

    Args:
        bag: Open.
        pictures: The camera's topic of pictures; a name that ends in `rect`, `rect_color`, … is
            of rectified pictures.
        wanted: Topic of the CameraInfo; None: `camera_info_topic`.

    Returns:
        The calibration of the pictures as they are recorded; None if no topic was named and there
        is none.

    Raises:
        SourceError: No such topic, not of that type, or nothing usable on it.
    """
    name = wanted or camera_info_topic(pictures.name)
    if wanted is None and (name not in bag.topics or bag.topics[name].count == 0):
        return None
    topic = bag.topic(name)
    if topic.msgtype != CAMERA_INFO or topic.count == 0:
        raise SourceError(
            f'{bag.path}: {topic.name} is a {topic.msgtype} with {topic.count} messages; '
            f'--camera-info-topic needs a {CAMERA_INFO} with one at least'
        )
    msg = _first(bag, topic)
    try:
        width, height = _size_of_pictures(bag, pictures)
        intrinsics = intrinsics_from_msg(
            msg, width, height, is_rectified=is_of_rectified(pictures.name)
        )
    except (CalibrationError, EncodingError) as error:
        raise SourceError(f'{bag.path}: {topic.name}: {error}') from error
    return Calibration(intrinsics, width, height)


def _first(bag: Bag, topic: Topic) -> Any:
    _, _, data = next(bag.records([topic]))
    return TYPESTORE.deserialize_cdr(data, topic.msgtype)


def _size_of_pictures(bag: Bag, topic: Topic) -> tuple[int, int]:
    """Width and height of the first picture: it may be a part of what the camera sees."""
    picture = _first(bag, topic)
    if topic.msgtype == IMAGE:
        return picture.width, picture.height
    height, width, _ = rgb_from_compressed(picture).shape
    return width, height
