# SPDX-License-Identifier: Apache-2.0
"""Real bags in both storages: what is read back, and what is wrong with damaged ones."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from vpr_ros.bag_writer import BagWriter
from vpr_ros.bags import Bag, is_bag
from vpr_ros.conversions import rgb_from_compressed, rgb_from_image
from vpr_ros.errors import SourceError

STORAGES = ('mcap', 'sqlite3')
T0 = 1_700_000_000_000_000_000
STEP = 100_000_000
CAMERA = '/camera/image'


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest) -> str:
    return request.param


def jpeg(rgb: np.ndarray) -> bytes:
    return cv2.imencode('.jpg', rgb[..., ::-1])[1].tobytes()


def write_bag(path: Path, pictures: np.ndarray, storage: str = 'mcap', first: int = 0) -> Path:
    with BagWriter(path, storage) as bag:
        for i, rgb in enumerate(pictures, start=first):
            bag.add_image(CAMERA, rgb, T0 + i * STEP, 'camera')
            bag.add_odometry('/odom', [i, 0, 0], [0, 0, 0, 1], T0 + i * STEP)
    return path


def read_all(path: Path, topic: str | None = None) -> list[np.ndarray]:
    with Bag(path) as bag:
        return [rgb_from_image(msg) for _, msg in bag.messages(bag.picture_topic(topic))]


def only_file(bag: Path) -> Path:
    return next(path for path in bag.iterdir() if path.suffix in ('.mcap', '.db3'))


def test_pictures_come_back_pixel_by_pixel(tmp_path, storage, textured_pictures) -> None:
    pictures = textured_pictures(5)
    path = write_bag(tmp_path / 'bag', pictures, storage)
    assert is_bag(path) and is_bag(only_file(path)) and not is_bag(tmp_path)
    for source in (path, only_file(path)):
        np.testing.assert_array_equal(read_all(source), pictures)
    with Bag(path) as bag:
        stamps = [stamp for stamp, _ in bag.messages(bag.topics[CAMERA])]
    assert stamps == [T0 + i * STEP for i in range(5)]


def test_compressed_and_other_encodings(tmp_path, storage, textured_pictures) -> None:
    rgb = textured_pictures(1)[0]
    with BagWriter(tmp_path / 'bag', storage) as bag:
        bag.add_compressed('/jpeg', jpeg(rgb), T0, 'camera')
        bag.add_image('/bgr', rgb[..., ::-1], T0, 'camera', 'bgr8')
        bag.add_image('/mono', rgb[..., 0], T0, 'camera', 'mono8')
    with Bag(tmp_path / 'bag') as bag:
        (_, compressed), *_ = bag.messages(bag.picture_topic('/jpeg'))
    assert np.abs(rgb_from_compressed(compressed).astype(int) - rgb).mean() < 10
    np.testing.assert_array_equal(read_all(tmp_path / 'bag', 'bgr')[0], rgb)
    np.testing.assert_array_equal(read_all(tmp_path / 'bag', '/mono')[0][..., 2], rgb[..., 0])


@pytest.mark.parametrize('mode', [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_compressed_bags(tmp_path, storage, mode, textured_pictures, monkeypatch) -> None:
    pictures = textured_pictures(3)

    class CompressingWriter(Writer):
        def open(self) -> None:
            self.set_compression(mode, CompressionFormat.ZSTD)
            super().open()

    monkeypatch.setattr('vpr_ros.bag_writer.Writer', CompressingWriter)
    path = write_bag(tmp_path / 'bag', pictures, storage)
    np.testing.assert_array_equal(read_all(path), pictures)
    if mode == CompressionMode.FILE:
        alone = next(path.glob('*.zstd'))
        with pytest.raises(SourceError, match='give its folder'), Bag(alone):
            pass


def test_split_bag(tmp_path, storage, textured_pictures) -> None:
    pictures = textured_pictures(6)
    first = write_bag(tmp_path / 'first', pictures[:3], storage)
    second = write_bag(tmp_path / 'second', pictures[3:], storage, first=3)
    shutil.move(only_file(second), first)
    metadata = yaml.safe_load((first / 'metadata.yaml').read_text())
    information = metadata['rosbag2_bagfile_information']
    information['relative_file_paths'].append(f'second{only_file(first).suffix}')
    for topic in information['topics_with_message_count']:
        topic['message_count'] = 6
    (first / 'metadata.yaml').write_text(yaml.safe_dump(metadata))
    np.testing.assert_array_equal(read_all(first), pictures)


def test_unknown_types_do_not_disturb(tmp_path, storage, textured_pictures) -> None:
    pictures = textured_pictures(2)
    writer = BagWriter(tmp_path / 'bag', storage)
    with writer as bag:
        odd = bag._writer.add_connection(
            '/odd', 'our_msgs/msg/Odd', msgdef='not a definition ]', rihs01='RIHS01_00'
        )
        for i, rgb in enumerate(pictures):
            bag.add_image(CAMERA, rgb, T0 + i, 'camera')
            bag._writer.write(odd, T0 + i, b'\x00\x01\x00\x00junk')
    np.testing.assert_array_equal(read_all(tmp_path / 'bag'), pictures)
    with Bag(tmp_path / 'bag') as bag:
        assert '/odd  our_msgs/msg/Odd  2 messages' in bag.describe()


def test_the_only_camera_is_found_beside_depth_and_its_compressed_copy(
    tmp_path, storage, textured_pictures
) -> None:
    rgb = textured_pictures(1)[0]
    with BagWriter(tmp_path / 'bag', storage) as bag:
        bag.add_image(CAMERA, rgb, T0, 'camera')
        bag.add_compressed(f'{CAMERA}/compressed', jpeg(rgb), T0, 'camera')
        bag.add_image('/depth', rgb[..., 0].astype(np.uint16), T0, 'camera', '16UC1')
        bag.add_compressed('/depth/cd', b'\x00', T0, 'camera', '16UC1; compressedDepth png')
    with Bag(tmp_path / 'bag') as bag:
        assert bag.picture_topic().name == CAMERA


def test_wrong_topics_are_answered_with_what_there_is(
    tmp_path, storage, textured_pictures
) -> None:
    rgb = textured_pictures(1)[0]
    with BagWriter(tmp_path / 'bag', storage) as bag:
        bag.add_image('/left', rgb, T0, 'left')
        bag.add_image('/right', rgb, T0, 'right')
        bag.add_odometry('/odom', [0, 0, 0], [0, 0, 0, 1], T0)
        bag.add_pose_stamped('/pose', [0, 0, 0], [0, 0, 0, 1], T0)
    with Bag(tmp_path / 'bag') as bag:
        with pytest.raises(SourceError, match=r'several picture topics.*--topic: /left, /right'):
            bag.picture_topic()
        with pytest.raises(SourceError, match=r'several pose topics.*/odom, /pose\n.*--no-poses'):
            bag.pose_topic()
        with pytest.raises(SourceError, match=r'no topic /front.*\n.*/left  sensor_msgs'):
            bag.picture_topic('/front')
        with pytest.raises(SourceError, match=r'no topic /truth; it holds') as error:
            bag.pose_topic('/truth')
        assert '--' not in str(error.value)  # commands have other names for it
        with pytest.raises(SourceError, match=r'/odom is a nav_msgs/msg/Odometry; accepted'):
            bag.picture_topic('/odom')
        with pytest.raises(SourceError, match=r'/left is a sensor_msgs/msg/Image; accepted'):
            bag.pose_topic('/left')


def test_bag_without_pictures(tmp_path, storage) -> None:
    with BagWriter(tmp_path / 'bag', storage) as bag:
        bag.add_odometry('/odom', [0, 0, 0], [0, 0, 0, 1], T0)
    with (
        Bag(tmp_path / 'bag') as bag,
        pytest.raises(SourceError, match=r'no picture topic.*\n  /odom'),
    ):
        bag.picture_topic()


def test_empty_bag(tmp_path, storage) -> None:
    with BagWriter(tmp_path / 'bag', storage):
        pass
    with Bag(tmp_path / 'bag') as bag, pytest.raises(SourceError, match='holds\n  nothing'):
        bag.picture_topic()


def test_messages_without_stamps(tmp_path, storage, textured_pictures) -> None:
    with BagWriter(tmp_path / 'bag', storage) as bag:
        bag.add_image(CAMERA, textured_pictures(1)[0], 0, 'camera')
        bag.add_odometry('/odom', [0, 0, 0], [0, 0, 0, 1], T0)
    with (
        Bag(tmp_path / 'bag') as bag,
        pytest.raises(
            SourceError, match=r'message 0 of /camera/image has no stamp.*--stamps record'
        ),
    ):
        list(bag.messages(bag.picture_topic()))
    with Bag(tmp_path / 'bag', stamps='record') as bag:
        assert [stamp for stamp, _ in bag.messages(bag.picture_topic())] == [0]


@pytest.mark.parametrize('share', [0.0, 0.001, 0.5, 0.99])
def test_a_bag_that_is_cut_off_says_so(tmp_path, storage, share, textured_pictures) -> None:
    path = write_bag(tmp_path / 'bag', textured_pictures(20), storage)
    file = only_file(path)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    for source in (path, file):
        with pytest.raises(SourceError, match=r'bag.*(cut off|damaged).*reindex'):
            read_all(source)


def test_a_bag_with_fewer_messages_than_promised(tmp_path, textured_pictures) -> None:
    path = write_bag(tmp_path / 'bag', textured_pictures(4), 'sqlite3')
    with sqlite3.connect(only_file(path)) as database:
        database.execute('DELETE FROM messages WHERE id > 4')
    with pytest.raises(SourceError, match='promises 4 messages of /camera/image but holds 2'):
        read_all(path)


def test_unfinished_recordings(tmp_path, textured_pictures) -> None:
    path = write_bag(tmp_path / 'bag', textured_pictures(1), 'sqlite3')
    log = only_file(path).with_name('bag.db3-wal')
    log.write_bytes(b'x')
    with pytest.raises(SourceError, match=r'not closed.*wal_checkpoint'), Bag(path):
        pass
    log.unlink()
    (path / 'metadata.yaml').unlink()
    with pytest.raises(SourceError, match=r'no metadata\.yaml.*reindex.*bag\.db3'), Bag(path):
        pass
    assert len(read_all(only_file(path))) == 1


def test_what_is_no_rosbag2(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match='no bag at'), Bag(tmp_path / 'none'):
        pass
    old = tmp_path / 'old.bag'
    old.write_bytes(b'#ROSBAG V2.0\n')
    with pytest.raises(SourceError, match='ROS 1 bag; convert it with `rosbags-convert'), Bag(old):
        pass
    with pytest.raises(ValueError, match='stamps must be one of'):
        Bag(tmp_path, stamps='wall')


def test_writer_refuses_to_overwrite(tmp_path) -> None:
    with pytest.raises(SourceError, match='exists already'):
        BagWriter(tmp_path)
    with pytest.raises(ValueError, match='storage must be one of'):
        BagWriter(tmp_path / 'bag', 'leveldb')


def test_writer_uses_the_version_that_humble_reads(tmp_path, storage) -> None:
    with BagWriter(tmp_path / 'bag', storage) as bag:
        bag.add_camera_info('/info', np.diag([500.0, 500, 1]), (480, 640), T0, 'camera')
        bag.add_navsatfix('/fix', (48.0, 11.0, 500.0), T0)
    metadata = yaml.safe_load((tmp_path / 'bag' / 'metadata.yaml').read_text())
    information = metadata['rosbag2_bagfile_information']
    assert information['storage_identifier'] == StoragePlugin[storage.upper()].name.lower()
    assert information['message_count'] == 2
    for topic in information['topics_with_message_count']:
        assert not isinstance(topic['topic_metadata']['offered_qos_profiles'], list)
