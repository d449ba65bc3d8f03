# SPDX-License-Identifier: Apache-2.0
"""Real videos and bags as sequences of pictures, and the choice between the three sources."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vpr_ros.bag_writer import BagWriter
from vpr_ros.errors import SourceError
from vpr_ros.sources import BagSource, PictureFolder, VideoFile, open_source

S = 1_000_000_000
T0 = 1_700_000_000 * S


@pytest.fixture
def picture(tmp_path: Path, textured_pictures) -> Path:
    path = tmp_path / 'folder' / 'a.png'
    path.parent.mkdir()
    assert cv2.imwrite(str(path), textured_pictures(1)[0])
    return path


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
    assert isinstance(source, VideoFile) and source.num_frames == 6 and source.has_times
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
        assert isinstance(source, BagSource) and source.num_frames == 3 and source.has_times
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


def test_a_folder_is_a_source(picture) -> None:
    source = open_source(picture.parent)
    assert isinstance(source, PictureFolder) and source.num_frames == 1


def test_paths_that_are_no_source(tmp_path, picture) -> None:
    with pytest.raises(FileNotFoundError, match='no folder, video or bag at'):
        open_source(tmp_path / 'none')
    with pytest.raises(SourceError, match='is one picture: give its folder'):
        open_source(picture)
    with pytest.raises(SourceError, match='is no rosbag2, so it has no topic /image'):
        open_source(tmp_path, topic='/image')
