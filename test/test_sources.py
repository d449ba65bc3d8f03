# SPDX-License-Identifier: Apache-2.0
"""Real folders, videos and bags as sequences of pictures."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from vpr_ros.bags import BagWriter
from vpr_ros.errors import SourceError
from vpr_ros.sources import (
    BagSource,
    PictureFolder,
    VideoFile,
    natural_key,
    open_source,
    read_picture,
)

S = 1_000_000_000
T0 = 1_700_000_000 * S


def write(path: Path, rgb: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), rgb[..., ::-1])
    return path


def write_folder(folder: Path, names: list[str], pictures: np.ndarray) -> Path:
    folder.mkdir()
    for name, rgb in zip(names, pictures, strict=True):
        write(folder / name, rgb)
    return folder


def test_natural_order() -> None:
    names = ['b1.jpg', 'a10.jpg', 'a9.jpg', 'A1b2.jpg', '7.jpg']
    ordered = sorted(map(Path, names), key=natural_key)
    assert [path.name for path in ordered] == ['7.jpg', 'A1b2.jpg', 'a9.jpg', 'a10.jpg', 'b1.jpg']


def test_folder_with_times_for_names(tmp_path, textured_pictures) -> None:
    names = ['10.5.png', '9.25.png', '10.25.png']
    folder = write_folder(tmp_path / 'f', names, textured_pictures(3))
    (folder / 'readme.txt').write_text('no picture')
    (folder / '._9.25.png').write_text('left by another system')
    frames = list(open_source(folder).frames())
    assert [f.name for f in frames] == ['9.25.png', '10.25.png', '10.5.png']
    assert [f.stamp_ns for f in frames] == [9_250_000_000, 10_250_000_000, 10_500_000_000]
    np.testing.assert_array_equal(frames[2].rgb, textured_pictures(3)[0])
    assert [f.index for f in frames] == [0, 1, 2]


def test_folder_with_numbers_and_with_names(tmp_path, textured_pictures) -> None:
    pictures = textured_pictures(3)
    numbered = PictureFolder(
        write_folder(tmp_path / 'n', ['Image4.png', 'Image10.png', 'Image2.png'], pictures)
    )
    assert numbered.is_numbered
    assert [f.stamp_ns // S for f in numbered.frames()] == [2, 4, 10]
    named = PictureFolder(
        write_folder(tmp_path / 'w', ['wall.png', 'door.png', 'b12.png'], pictures)
    )
    assert not named.is_numbered
    assert [(f.name, f.stamp_ns // S) for f in named.frames()] == [
        ('b12.png', 0),
        ('door.png', 1),
        ('wall.png', 2),
    ]


def test_folder_without_pictures_names_the_one_that_has_them(tmp_path, textured_pictures) -> None:
    write_folder(tmp_path / 'rgb', ['1.png'], textured_pictures(1))
    with pytest.raises(SourceError, match=r'holds no pictures.*its folders rgb do'):
        open_source(tmp_path)


def test_whole_grey_and_16_bit_pictures_are_read_as_rgb(tmp_path, textured_pictures) -> None:
    rgb = textured_pictures(1)[0]
    np.testing.assert_array_equal(read_picture(write(tmp_path / 'a.png', rgb)), rgb)
    cv2.imwrite(str(tmp_path / 'grey.png'), rgb[..., 0])
    np.testing.assert_array_equal(read_picture(tmp_path / 'grey.png')[..., 1], rgb[..., 0])
    cv2.imwrite(str(tmp_path / 'deep.png'), rgb[..., 0].astype(np.uint16) * 256)
    np.testing.assert_array_equal(read_picture(tmp_path / 'deep.png')[..., 2], rgb[..., 0])


@pytest.mark.parametrize('share', [0.0, 0.01, 0.3, 0.6, 0.999])
@pytest.mark.parametrize('flags', [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]])
def test_jpegs_that_are_cut_off_are_no_pictures(tmp_path, share, flags, textured_pictures) -> None:
    path = tmp_path / 'a.jpg'
    cv2.imwrite(str(path), textured_pictures(1)[0], flags)
    whole = path.read_bytes()
    assert read_picture(path).shape == (120, 160, 3)
    path.write_bytes(whole + b'trailing bytes of a phone')
    assert read_picture(path).shape == (120, 160, 3)
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(SourceError, match=r'a\.jpg is not a whole picture.*--skip-unreadable'):
        read_picture(path)


def test_what_is_no_picture(tmp_path) -> None:
    for content in (b'hello', b'\x89PNG\r\n\x1a\n'):
        (tmp_path / 'a.png').write_bytes(content)
        with pytest.raises(SourceError, match='not a whole picture'):
            read_picture(tmp_path / 'a.png')


@pytest.mark.parametrize(('name', 'codec', 'fps'), [('v.avi', 'MJPG', 25), ('v.mp4', 'mp4v', 10)])
def test_video_in_order_with_its_times(tmp_path, name, codec, fps, textured_pictures) -> None:
    pictures = textured_pictures(6)
    writer = cv2.VideoWriter(
        str(tmp_path / name), cv2.VideoWriter_fourcc(*codec), fps, pictures.shape[2:0:-1]
    )
    for rgb in pictures:
        writer.write(rgb[..., ::-1])
    writer.release()
    source = open_source(tmp_path / name)
    assert isinstance(source, VideoFile) and source.num_frames == 6
    for frame, rgb in zip(source.frames(), pictures, strict=True):
        assert frame.stamp_ns == pytest.approx(frame.index * S / fps, abs=1e6)
        if frame.index % 2 == 0:  # frames may be passed over without being decoded
            assert np.abs(frame.rgb.astype(int) - rgb).mean() < 12


def test_video_that_is_none(tmp_path) -> None:
    (tmp_path / 'v.mp4').write_bytes(b'no video')
    with pytest.raises(SourceError, match=r'v\.mp4 cannot be read as a video'):
        open_source(tmp_path / 'v.mp4')


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_bag_raw_and_compressed(tmp_path, storage, textured_pictures) -> None:
    pictures = textured_pictures(3)
    with BagWriter(tmp_path / 'bag', storage) as bag:
        for i, rgb in enumerate(pictures):
            bag.add_image('/raw', rgb, T0 + i * S, 'camera')
            png = cv2.imencode('.png', rgb[..., ::-1])[1].tobytes()
            bag.add_compressed('/png', png, T0 + i * S, 'camera', 'rgb8; png compressed bgr8')
    for topic in ('/raw', '/png'):
        source = open_source(tmp_path / 'bag', topic=topic)
        assert isinstance(source, BagSource) and source.num_frames == 3
        frames = list(source.frames())
        assert [f.stamp_ns for f in frames] == [T0, T0 + S, T0 + 2 * S]
        np.testing.assert_array_equal([f.rgb for f in frames], pictures)
        assert frames[1].name == f'{topic} 1700000001.000 s'


def test_bag_with_pictures_that_do_not_decode(tmp_path, textured_pictures) -> None:
    rgb = textured_pictures(1)[0]
    with BagWriter(tmp_path / 'bag') as bag:
        bag.add_compressed('/jpeg', b'junk', T0, 'camera')
        bag.add_image('/labels', rgb[..., 0], T0, 'camera', 'labels8')
    for topic, complaint in (('/jpeg', 'picture 0 of /jpeg'), ('/labels', "'labels8'")):
        frame = next(open_source(tmp_path / 'bag', topic=topic).frames())
        with pytest.raises(SourceError, match=complaint):
            _ = frame.rgb


def test_paths_that_are_no_source(tmp_path, textured_pictures) -> None:
    picture = write(tmp_path / 'a.png', textured_pictures(1)[0])
    with pytest.raises(FileNotFoundError, match='no folder, video or bag at'):
        open_source(tmp_path / 'none')
    with pytest.raises(SourceError, match='is one picture: give its folder'):
        open_source(picture)
    with pytest.raises(SourceError, match='is no rosbag2, so it has no topic /image'):
        open_source(tmp_path, topic='/image')


def test_fingerprint_notices_changes(tmp_path, textured_pictures) -> None:
    folder = write_folder(tmp_path / 'f', ['1.png', '2.png'], textured_pictures(2))
    before = PictureFolder(folder).fingerprint()
    assert PictureFolder(folder).fingerprint() == before
    os.utime(folder / '1.png', (1, 1))
    assert PictureFolder(folder).fingerprint() != before
