# SPDX-License-Identifier: Apache-2.0
"""Each encoding pixel by pixel, from real messages, against expectations computed here."""

import sys
import warnings
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip('sensor_msgs')
pytest.importorskip('cv_bridge')

from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from vpr_ros.conversions import (
    image_from_rgb,
    require_cv_bridge,
    rgb_from_compressed,
    rgb_from_image,
    stamp_msg_from_ns,
    stamp_ns_from_msg,
)
from vpr_ros.errors import EncodingError

HEIGHT, WIDTH = 6, 8
PADDINGS = (0, 1, 5, 32)
BAYER = ('rggb', 'bggr', 'gbrg', 'grbg')


@pytest.fixture
def rgb():
    """A picture without two equal pixels or channels."""
    return np.random.default_rng(7).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def message(encoding, rows, *, padding=0, size=(HEIGHT, WIDTH), is_bigendian=0):
    """A real sensor_msgs/Image from uint8 rows, each padded with bytes that must not show."""
    rows = rows.reshape(len(rows), -1)
    noise = np.random.default_rng(3).integers(0, 256, (len(rows), padding), dtype=np.uint8)
    msg = Image(height=size[0], width=size[1], encoding=encoding, is_bigendian=is_bigendian)
    msg.step = rows.shape[1] + padding
    msg.data.frombytes(np.hstack([rows, noise]).tobytes())
    return msg


def grey(rgb):
    return np.repeat(rgb[:, :, :1], 3, axis=2)


COLOUR_CASES = {
    'rgb8': lambda rgb: (rgb, rgb),
    'bgr8': lambda rgb: (rgb[:, :, ::-1], rgb),
    '8UC3': lambda rgb: (rgb[:, :, ::-1], rgb),
    'rgba8': lambda rgb: (np.dstack([rgb, 255 - rgb[:, :, 0]]), rgb),
    'bgra8': lambda rgb: (np.dstack([rgb[:, :, ::-1], 255 - rgb[:, :, 0]]), rgb),
    'mono8': lambda rgb: (rgb[:, :, 0], grey(rgb)),
    '8UC1': lambda rgb: (rgb[:, :, 0], grey(rgb)),
}


@pytest.mark.parametrize('padding', PADDINGS)
@pytest.mark.parametrize('is_bigendian', [0, 1])
@pytest.mark.parametrize('encoding', COLOUR_CASES)
def test_eight_bit_encodings(encoding, is_bigendian, padding, rgb):
    stored, expected = COLOUR_CASES[encoding](rgb)
    msg = message(encoding, stored, padding=padding, is_bigendian=is_bigendian)
    result = rgb_from_image(msg)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize('padding', PADDINGS)
@pytest.mark.parametrize('is_bigendian', [0, 1])
def test_mono16_keeps_the_high_byte_in_both_byte_orders(is_bigendian, padding):
    values = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 1361
    rows = values.astype('>u2' if is_bigendian else '<u2').view(np.uint8)
    result = rgb_from_image(message('mono16', rows, padding=padding, is_bigendian=is_bigendian))
    np.testing.assert_array_equal(result, np.repeat((values >> 8)[:, :, None], 3, axis=2))


def mosaic(pattern, rgb):
    """What a sensor with this colour filter sees of a picture, (H, W)."""
    channel = {'r': 0, 'g': 1, 'b': 2}
    raw = np.empty(rgb.shape[:2], rgb.dtype)
    for i, colour in enumerate(pattern):
        row, column = divmod(i, 2)
        raw[row::2, column::2] = rgb[row::2, column::2, channel[colour]]
    return raw


@pytest.mark.parametrize('padding', (0, 5))
@pytest.mark.parametrize('pattern', BAYER)
def test_bayer_flat_colour_is_exact(pattern, padding):
    flat = np.full((HEIGHT, WIDTH, 3), (200, 90, 20), np.uint8)
    result = rgb_from_image(message(f'bayer_{pattern}8', mosaic(pattern, flat), padding=padding))
    np.testing.assert_array_equal(result, flat)


@pytest.mark.parametrize('pattern', BAYER)
def test_bayer_is_bilinear_between_the_sensor_pixels(pattern, rgb):
    """Away from the border each missing colour is the mean of its two or four neighbours."""
    raw = mosaic(pattern, rgb).astype(int)
    result = rgb_from_image(message(f'bayer_{pattern}8', raw.astype(np.uint8)))
    colours = np.array(list(pattern)).reshape(2, 2)
    for row in range(1, HEIGHT - 1):
        for column in range(1, WIDTH - 1):
            around = [
                (row + i, column + j, colours[(row + i) % 2, (column + j) % 2])
                for i in (-1, 0, 1)
                for j in (-1, 0, 1)
            ]
            for channel, colour in enumerate('rgb'):
                if colours[row % 2, column % 2] == colour:
                    expected = raw[row, column]
                else:
                    near = [raw[i, j] for i, j, c in around if c == colour]
                    if colour == 'g':  # the four that share an edge, not the corners
                        near = [raw[row - 1, column], raw[row + 1, column]]
                        near += [raw[row, column - 1], raw[row, column + 1]]
                    expected = np.mean(near)
                assert abs(int(result[row, column, channel]) - expected) <= 0.5


@pytest.mark.parametrize('is_bigendian', [0, 1])
@pytest.mark.parametrize('pattern', BAYER)
def test_bayer16_equals_bayer8_of_the_high_byte(pattern, is_bigendian, rgb):
    raw = mosaic(pattern, rgb)
    deep = (raw.astype(np.uint16) << 8) + 77
    rows = deep.astype('>u2' if is_bigendian else '<u2').view(np.uint8)
    result = rgb_from_image(
        message(f'bayer_{pattern}16', rows, is_bigendian=is_bigendian, padding=3)
    )
    np.testing.assert_array_equal(result, rgb_from_image(message(f'bayer_{pattern}8', raw)))


def rgb_from_yuv(y, u, v):
    """BT.601, limited range, from the standard's formula; uint8 (H, W) each."""
    y, u, v = (1.164383 * (y - 16.0)), u - 128.0, v - 128.0
    rgb = np.stack([y + 1.596027 * v, y - 0.391762 * u - 0.812968 * v, y + 2.017232 * u], axis=2)
    return np.clip(np.rint(rgb), 0, 255)


@pytest.fixture
def yuv():
    """Luma (H, W) and two half-width chroma planes (H, W / 2)."""
    generator = np.random.default_rng(11)
    luma = generator.integers(16, 236, (HEIGHT, WIDTH), dtype=np.uint8)
    return luma, *generator.integers(16, 241, (2, HEIGHT, WIDTH // 2), dtype=np.uint8)


YUV422_ORDER = {'yuv422': 'uyvy', 'uyvy': 'uyvy', 'yuv422_yuy2': 'yuyv', 'yuyv': 'yuyv'}


@pytest.mark.parametrize('padding', PADDINGS)
@pytest.mark.parametrize('encoding', YUV422_ORDER)
def test_yuv422(encoding, padding, yuv):
    y, u, v = yuv
    planes = {'y': iter((y[:, 0::2], y[:, 1::2])), 'u': iter((u,)), 'v': iter((v,))}
    packed = np.stack([next(planes[c]) for c in YUV422_ORDER[encoding]], axis=2)
    result = rgb_from_image(message(encoding, packed, padding=padding))
    expected = rgb_from_yuv(y, np.repeat(u, 2, axis=1), np.repeat(v, 2, axis=1))
    assert np.abs(result - expected).max() <= 1


@pytest.mark.parametrize('padding', PADDINGS)
@pytest.mark.parametrize('encoding', ['nv12', 'nv21'])
def test_nv12_and_nv21(encoding, padding, yuv):
    y, u, v = yuv[0], yuv[1][::2], yuv[2][::2]  # chroma of half height too
    pair = (u, v) if encoding == 'nv12' else (v, u)
    rows = np.vstack([y, np.stack(pair, axis=2).reshape(HEIGHT // 2, WIDTH)])
    result = rgb_from_image(message(encoding, rows, padding=padding))
    up = [plane.repeat(2, axis=0).repeat(2, axis=1) for plane in (u, v)]
    assert np.abs(result - rgb_from_yuv(y, *up)).max() <= 1


def test_dense_rgb8_is_a_view_of_the_message(rgb):
    msg = message('rgb8', rgb)
    assert np.shares_memory(rgb_from_image(msg), np.frombuffer(msg.data, np.uint8))


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'bayer_rggb8', 'mono16', 'nv12'])
def test_the_last_row_may_lack_its_padding(encoding, rgb):
    rows = np.random.default_rng(1).integers(0, 256, (9, 24), dtype=np.uint8)
    widths = {'rgb8': 8, 'bgr8': 8, 'mono16': 12, 'bayer_rggb8': 24}
    size = (6, 24) if encoding == 'nv12' else (9, widths[encoding])
    whole = message(encoding, rows, padding=8, size=size)
    short = message(encoding, rows, padding=8, size=size)
    del short.data[-8:]
    np.testing.assert_array_equal(rgb_from_image(short), rgb_from_image(whole))


def test_messages_of_rosbags_are_accepted(rgb):
    """Their data is a read-only NumPy array."""
    data = np.frombuffer(rgb[:, :, ::-1].tobytes(), np.uint8)
    msg = SimpleNamespace(
        height=HEIGHT, width=WIDTH, encoding='bgr8', is_bigendian=0, step=3 * WIDTH, data=data
    )
    np.testing.assert_array_equal(rgb_from_image(msg), rgb)


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        ({'encoding': '32FC1'}, r"'32FC1' is not accepted; accepted: rgb8, bgr8.*nv12"),
        ({'encoding': ''}, "'' is not accepted"),
        ({'width': 0}, 'rgb8 picture of 0x6 is empty'),
        ({'height': 0}, 'rgb8 picture of 8x0 is empty'),
        ({'step': 23}, 'needs a step of at least 24 bytes, not 23'),
        ({'step': 0}, 'needs a step of at least 24 bytes, not 0'),
        ({'height': 7}, 'needs 168 bytes of data, not 144: truncated'),
        ({'encoding': 'nv12', 'height': 5}, 'height must be even'),
        ({'encoding': 'yuv422', 'width': 7}, 'width must be even'),
    ],
)
def test_what_does_not_fit_is_named(change, text, rgb):
    msg = message('rgb8', rgb)
    for name, value in change.items():
        setattr(msg, name, value)
    with pytest.raises(EncodingError, match=text):
        rgb_from_image(msg)


def jpeg(bgr, suffix='.png'):
    return cv2.imencode(suffix, bgr)[1].tobytes()


@pytest.mark.parametrize(
    ('text', 'stored_order'),
    [
        ('rgb8; jpeg compressed bgr8', 'bgr'),
        ('bgr8; png compressed bgr8', 'bgr'),
        ('rgba8; png compressed bgra8', 'bgr'),
        ('rgb8; png compressed rgb8', 'rgb'),
        ('rgb8; jpeg compressed ', 'rgb'),
        ('bgr8; png compressed ', 'rgb'),
        ('bayer_rggb8; jpeg compressed bgr8', 'bgr'),
        ('jpeg', 'bgr'),
        ('png', 'bgr'),
        ('', 'bgr'),
    ],
)
def test_compressed_format_decides_the_channel_order(text, stored_order, rgb):
    # imencode takes BGR: what it is given comes back from imdecode in the same order.
    given = rgb[:, :, ::-1] if stored_order == 'bgr' else rgb
    msg = CompressedImage(format=text, data=jpeg(np.ascontiguousarray(given)))
    np.testing.assert_array_equal(rgb_from_compressed(msg), rgb)


def test_compressed_grey_and_sixteen_bit(rgb):
    grey8 = CompressedImage(format='mono8; png compressed ', data=jpeg(rgb[:, :, 0]))
    np.testing.assert_array_equal(rgb_from_compressed(grey8), grey(rgb))
    deep = (rgb[:, :, 0].astype(np.uint16) << 8) + 200
    grey16 = CompressedImage(format='mono16; png compressed ', data=jpeg(deep))
    np.testing.assert_array_equal(rgb_from_compressed(grey16), grey(rgb))


def test_compressed_bayer_is_developed(rgb):
    raw = mosaic('gbrg', rgb)
    msg = CompressedImage(format='bayer_gbrg8; png compressed ', data=jpeg(raw))
    np.testing.assert_array_equal(
        rgb_from_compressed(msg), rgb_from_image(message('bayer_gbrg8', raw))
    )


def test_compressed_jpeg_is_close(rgb):
    smooth = cv2.resize(rgb, (64, 48), interpolation=cv2.INTER_CUBIC)
    data = cv2.imencode('.jpg', smooth[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    result = rgb_from_compressed(CompressedImage(format='rgb8; jpeg compressed bgr8', data=data))
    assert np.abs(result.astype(int) - smooth).mean() < 3


@pytest.mark.parametrize('keep', [0, 3, 20, 60])
def test_corrupt_compressed_data_is_an_encoding_error(keep, rgb):
    data = jpeg(rgb, '.jpg')[:keep]
    with pytest.raises(EncodingError, match=f'{keep} bytes .*does not decode'):
        rgb_from_compressed(CompressedImage(format='jpeg', data=data))


def test_random_bytes_are_an_encoding_error():
    data = np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes()
    with pytest.raises(EncodingError, match='does not decode'):
        rgb_from_compressed(CompressedImage(format='rgb8; jpeg compressed bgr8', data=data))


def test_compressed_depth_is_refused_by_name():
    msg = CompressedImage(format='16UC1; compressedDepth png', data=b'x' * 40)
    with pytest.raises(EncodingError, match=r'compressedDepth.*depth image'):
        rgb_from_compressed(msg)


def test_image_round_trip(rgb):
    header = Header(stamp=Time(sec=3, nanosec=4), frame_id='camera')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        msg = image_from_rgb(rgb[:, ::2], header)  # a view that is not contiguous
    assert (msg.header, msg.encoding, msg.step) == (header, 'rgb8', 3 * WIDTH // 2)
    np.testing.assert_array_equal(rgb_from_image(msg), rgb[:, ::2])


@pytest.mark.parametrize('stamp_ns', [0, 1, 1_700_000_000_123_456_789, 4_000_000_000])
def test_stamp_round_trip(stamp_ns):
    assert stamp_ns_from_msg(stamp_msg_from_ns(stamp_ns)) == stamp_ns


def test_a_broken_cv_bridge_is_named_with_its_remedy(monkeypatch):
    from vpr_ros import conversions

    conversions._cv_bridge.cache_clear()
    monkeypatch.setitem(sys.modules, 'cv_bridge.boost.cv_bridge_boost', None)
    with pytest.raises(EncodingError, match=r'cv_bridge does not import.*numpy<2'):
        require_cv_bridge()
    monkeypatch.undo()
    require_cv_bridge()
