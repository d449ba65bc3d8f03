# SPDX-License-Identifier: Apache-2.0
"""Messages to arrays and back: pictures as RGB, stamps in nanoseconds, poses.

Messages are used by field name only, so those of `rosbags` serve as well as those of rclpy.
cv_bridge converts what every cv_bridge converts rightly, from rows made dense first. The rest
is done here with OpenCV, because of faults in one cv_bridge or the other: PyPI's ignores `step`
and knows neither bayer_grbg8 nor any 16 bit or YUV encoding; a distribution's fails on big-endian
messages with NumPy 2, and on a `step` that is no multiple of the pixel.
"""

from __future__ import annotations

import functools
import re
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from vpr_ros.errors import EncodingError

if TYPE_CHECKING:
    from builtin_interfaces.msg import Time
    from cv_bridge import CvBridge
    from geometry_msgs.msg import Pose, Transform
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

NANOSECONDS = 10**9

# OpenCV names a Bayer pattern by the second row's second and third pixel, ROS by the first two.
_BAYER_TO_RGB = {
    'rggb': cv2.COLOR_BayerBG2RGB,
    'bggr': cv2.COLOR_BayerRG2RGB,
    'gbrg': cv2.COLOR_BayerGR2RGB,
    'grbg': cv2.COLOR_BayerGB2RGB,
}
_COLOUR_ENCODING = re.compile(r'(rgb|bgr)a?(8|16)')


@dataclass(frozen=True)
class _Layout:
    """How an encoding lies in memory and becomes RGB.

    Attributes:
        to_rgb: From dense rows, uint8 (rows, bytes), and the message to RGB (H, W, 3).
        bytes_per_pixel: Bytes of one pixel in a row.
        rows_per_2: Rows in the buffer for two rows of the picture; 3 with half a chroma plane.
        even: Which of height and width must be even, because chroma is shared.
    """

    to_rgb: Callable[[np.ndarray, Any], np.ndarray]
    bytes_per_pixel: int
    rows_per_2: int = 2
    even: tuple[str, ...] = ()


def rgb_from_image(msg: Any) -> np.ndarray:
    """Convert a raw picture.

    8UC1 is read as mono8 and 8UC3 as bgr8, as OpenCV programs write them. 16 bit encodings keep
    their high byte (value >> 8). YUV is BT.601, limited range.

    Args:
        msg: sensor_msgs/Image or a look-alike; either byte order, rows padded or not.

    Returns:
        uint8 RGB (H, W, 3); for dense rgb8 a view of the message's own buffer, without a copy.

    Raises:
        EncodingError: The encoding is not accepted, or size, step and data do not fit together.
    """
    layout = _LAYOUTS.get(msg.encoding)
    if layout is None:
        raise EncodingError(
            f'picture encoding {msg.encoding!r} is not accepted; accepted: {", ".join(_LAYOUTS)}'
        )
    return layout.to_rgb(_dense_rows(msg, layout), msg)


def rgb_from_compressed(msg: Any) -> np.ndarray:
    """Decode a compressed picture (whatever OpenCV decodes; JPEG and PNG as a rule).

    Channels are ordered as `format` says: `rgb8; jpeg compressed bgr8` and a bare `jpeg` hold a
    standard file; a colour picture whose format has a `;` but not `compressed bgr` was encoded
    without swapping, so that its decoded channels are in the other order.

    Args:
        msg: sensor_msgs/CompressedImage or a look-alike.

    Returns:
        uint8 RGB (H, W, 3).

    Raises:
        EncodingError: The data is not a whole picture, or is a depth image.
    """
    if 'compressedDepth' in msg.format:
        raise EncodingError(f'{msg.format!r} is a depth image; subscribe to a colour camera')
    data = np.frombuffer(msg.data, np.uint8)
    # ANYCOLOR keeps one channel one channel; EXIF must not turn what the camera model describes.
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION
    picture = _decode(data, flags)
    if picture is None:
        raise EncodingError(
            f'compressed picture of {data.size} bytes (format {msg.format!r}) does not decode: '
            'corrupt, truncated or not a picture'
        )
    return _rgb_from_decoded(picture, msg.format)


def image_from_rgb(rgb: np.ndarray, header: Header) -> Image:
    """Make an rgb8 message.

    Args:
        rgb: uint8 RGB (H, W, 3).
        header: Stamp and frame of the picture.
    """
    from sensor_msgs.msg import Image  # here, so that bags can be read without ROS messages

    height, width, _ = rgb.shape
    data = array('B')
    data.frombytes(np.ascontiguousarray(rgb).data)
    return Image(
        header=header, height=height, width=width, encoding='rgb8', step=3 * width, data=data
    )


def stamp_ns_from_msg(stamp: Any) -> int:
    """Return builtin_interfaces/Time (or a look-alike) in nanoseconds."""
    return stamp.sec * NANOSECONDS + stamp.nanosec


def stamp_msg_from_ns(stamp_ns: int) -> Time:
    """Return nanoseconds as builtin_interfaces/Time."""
    from builtin_interfaces.msg import Time

    sec, nanosec = divmod(int(stamp_ns), NANOSECONDS)
    return Time(sec=sec, nanosec=nanosec)


def pose_from_msg(pose: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return position (3,) and quaternion x y z w (4,), float64, of geometry_msgs/Pose."""
    p, q = pose.position, pose.orientation
    return np.array([p.x, p.y, p.z]), np.array([q.x, q.y, q.z, q.w])


def pose_msg(position: np.ndarray, orientation_xyzw: np.ndarray) -> Pose:
    """Return a position (3,) and a quaternion (4,) as geometry_msgs/Pose."""
    from geometry_msgs.msg import Point, Pose, Quaternion

    x, y, z = position.tolist()
    qx, qy, qz, qw = orientation_xyzw.tolist()
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def transform_msg(translation: np.ndarray, rotation_xyzw: np.ndarray) -> Transform:
    """Return a translation (3,) and a quaternion (4,) as geometry_msgs/Transform."""
    from geometry_msgs.msg import Quaternion, Transform, Vector3

    x, y, z = translation.tolist()
    qx, qy, qz, qw = rotation_xyzw.tolist()
    return Transform(
        translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(x=qx, y=qy, z=qz, w=qw)
    )


def require_cv_bridge() -> None:
    """Fail now, with the remedy, rather than at the first picture.

    Raises:
        EncodingError: cv_bridge is missing or built for another NumPy.
    """
    _cv_bridge()


@functools.cache
def _cv_bridge() -> CvBridge:
    try:
        from cv_bridge import CvBridge
        from cv_bridge.boost.cv_bridge_boost import getCvType  # noqa: F401 - the part that breaks
    except (ImportError, AttributeError) as error:
        raise EncodingError(
            f'cv_bridge does not import: {error}; with ROS sourced: install '
            f'ros-$ROS_DISTRO-cv-bridge and keep the NumPy it was built for (this is '
            f"{np.__version__}; `pip install 'numpy<2'` on Humble and Jazzy); else: `make setup`"
        ) from error
    return CvBridge()


def _decode(data: np.ndarray, flags: int) -> np.ndarray | None:
    if data.size == 0:
        return None
    try:
        return cv2.imdecode(data, flags)
    except cv2.error:  # some corrupt headers raise, others give None
        return None


def _rgb_from_decoded(picture: np.ndarray, text: str) -> np.ndarray:
    """Order the channels of `cv2.imdecode`'s result, (H, W) or (H, W, 3), by the format text.

    image_transport's compressed plugin writes `ORIGINAL; CODEC compressed [STORED]`.
    """
    original, _, stored = text.partition(';')
    original = original.strip()
    if picture.ndim == 2:
        pattern = original[len('bayer_') :][:4] if original.startswith('bayer_') else ''
        return cv2.cvtColor(picture, _BAYER_TO_RGB.get(pattern, cv2.COLOR_GRAY2RGB))
    if stored and _COLOUR_ENCODING.fullmatch(original) and 'compressed bgr' not in stored:
        return picture
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _dense_rows(msg: Any, layout: _Layout) -> np.ndarray:
    """Return the picture's bytes without padding: uint8 (rows, bytes), a view where possible."""
    row_bytes = msg.width * layout.bytes_per_pixel
    rows = msg.height * layout.rows_per_2 // 2
    data = np.frombuffer(msg.data, np.uint8)
    size = f'{msg.encoding} picture of {msg.width}x{msg.height}'
    if msg.width == 0 or msg.height == 0:
        raise EncodingError(f'{size} is empty')
    for side in layout.even:
        if getattr(msg, side) % 2:
            raise EncodingError(f'{size}: {side} must be even, two pixels share their colour')
    if msg.step < row_bytes:
        raise EncodingError(f'{size} needs a step of at least {row_bytes} bytes, not {msg.step}')
    needed = (rows - 1) * msg.step + row_bytes  # the last row may come without its padding
    if data.size < needed:
        raise EncodingError(
            f'{size} with step {msg.step} needs {needed} bytes of data, not {data.size}: truncated'
        )
    padded: np.ndarray = np.ndarray(
        (rows, row_bytes), np.uint8, buffer=data, strides=(msg.step, 1)
    )
    return np.ascontiguousarray(padded)


def _rgb_of_rgb8(rows: np.ndarray, msg: Any) -> np.ndarray:
    return rows.reshape(msg.height, msg.width, 3)


def _by_cv_bridge(encoding: str, bytes_per_pixel: int) -> _Layout:
    """Let cv_bridge convert, from a message without padding and byte order."""

    def to_rgb(rows: np.ndarray, msg: Any) -> np.ndarray:
        dense = SimpleNamespace(
            height=msg.height,
            width=msg.width,
            encoding=encoding,
            is_bigendian=0,
            step=rows.shape[1],
            data=rows,
        )
        return _cv_bridge().imgmsg_to_cv2(dense, 'rgb8')

    return _Layout(to_rgb, bytes_per_pixel)


def _by_opencv(code: int, channels: int, **layout: Any) -> _Layout:
    """Let OpenCV convert from `channels` bytes a pixel."""

    def to_rgb(rows: np.ndarray, msg: Any) -> np.ndarray:
        return cv2.cvtColor(rows.reshape(len(rows), msg.width, channels), code)

    return _Layout(to_rgb, channels, **layout)


def _by_high_byte(code: int) -> _Layout:
    """Take the high byte of 16 bit pixels, wherever the byte order puts it."""

    def to_rgb(rows: np.ndarray, msg: Any) -> np.ndarray:
        high = rows[:, 0 if msg.is_bigendian else 1 :: 2]
        return cv2.cvtColor(np.ascontiguousarray(high), code)

    return _Layout(to_rgb, 2)


_UYVY = _by_opencv(cv2.COLOR_YUV2RGB_UYVY, 2, even=('width',))
_YUYV = _by_opencv(cv2.COLOR_YUV2RGB_YUY2, 2, even=('width',))
_HALF_CHROMA = {'rows_per_2': 3, 'even': ('height', 'width')}

_LAYOUTS = {
    'rgb8': _Layout(_rgb_of_rgb8, 3),
    'bgr8': _by_cv_bridge('bgr8', 3),
    'rgba8': _by_cv_bridge('rgba8', 4),
    'bgra8': _by_cv_bridge('bgra8', 4),
    'mono8': _by_cv_bridge('mono8', 1),
    'mono16': _by_high_byte(cv2.COLOR_GRAY2RGB),
    '8UC1': _by_cv_bridge('mono8', 1),
    '8UC3': _by_cv_bridge('bgr8', 3),
    'bayer_rggb8': _by_cv_bridge('bayer_rggb8', 1),
    'bayer_bggr8': _by_cv_bridge('bayer_bggr8', 1),
    'bayer_gbrg8': _by_cv_bridge('bayer_gbrg8', 1),
    'bayer_grbg8': _by_opencv(_BAYER_TO_RGB['grbg'], 1),
    **{f'bayer_{name}16': _by_high_byte(code) for name, code in _BAYER_TO_RGB.items()},
    'yuv422': _UYVY,
    'uyvy': _UYVY,
    'yuv422_yuy2': _YUYV,
    'yuyv': _YUYV,
    'nv12': _by_opencv(cv2.COLOR_YUV2RGB_NV12, 1, **_HALF_CHROMA),
    'nv21': _by_opencv(cv2.COLOR_YUV2RGB_NV21, 1, **_HALF_CHROMA),
}
