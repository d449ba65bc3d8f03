# SPDX-License-Identifier: Apache-2.0
"""Folders of real picture files: order, stamps, and what is no picture."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from vpr_ros.errors import SourceError
from vpr_ros.picture_folder import PictureFolder, natural_key, read_picture

S = 1_000_000_000


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
    frames = list(PictureFolder(folder).frames())
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


def test_numbers_that_no_ros_time_can_hold_are_names(tmp_path, textured_pictures) -> None:
    names = ['IMG_2412311530.png', 'IMG_2412311528.png', 'IMG_1012311529.png']
    folder = PictureFolder(write_folder(tmp_path / 'f', names, textured_pictures(3)))
    assert not folder.is_numbered
    assert [(f.name, f.stamp_ns // S) for f in folder.frames()] == [
        ('IMG_1012311529.png', 0),
        ('IMG_2412311528.png', 1),
        ('IMG_2412311530.png', 2),
    ]


@pytest.mark.parametrize(
    ('names', 'has_times'),
    [
        (['000000.png', '000010.png'], False),
        (['frame-000010.color.png', 'frame-000011.color.png'], False),
        (['door.png', 'wall.png'], False),
        (['0.5.png', '1.5.png'], True),
        (['1.0.png', '2.0.png'], True),
        (['1305031452.png', '1305031453.png'], True),
        (['1403636579763555584.png', '1403636579813555456.png'], True),
    ],
)
def test_whether_stamps_are_times(tmp_path, names, has_times, textured_pictures) -> None:
    folder = write_folder(tmp_path / 'f', names, textured_pictures(len(names)))
    assert PictureFolder(folder).has_times is has_times


def test_folder_without_pictures_names_the_one_that_has_them(tmp_path, textured_pictures) -> None:
    write_folder(tmp_path / 'rgb', ['1.png'], textured_pictures(1))
    with pytest.raises(SourceError, match=r'holds no pictures.*its folders rgb do'):
        PictureFolder(tmp_path)


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
    with pytest.raises(SourceError, match=r'a\.jpg is not a whole picture.*copy it') as caught:
        read_picture(path)
    assert '--' not in str(caught.value), 'the core knows no command line'


@pytest.mark.parametrize(
    ('at_least', 'side'), [(0, 480), (241, 480), (240, 240), (121, 240), (120, 120), (9, 60)]
)
@pytest.mark.parametrize('flags', [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]])
def test_large_jpegs_are_decoded_as_small_as_is_enough(
    tmp_path, at_least, side, flags, textured_pictures
) -> None:
    rgb = cv2.resize(textured_pictures(1)[0], (640, 480))
    path = tmp_path / 'a.jpg'
    cv2.imwrite(str(path), rgb[..., ::-1], [*flags, cv2.IMWRITE_JPEG_QUALITY, 95])
    small = read_picture(path, at_least=at_least)
    assert small.shape == (side, side * 4 // 3, 3)
    expected = cv2.resize(rgb, small.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - expected).mean() < 2.0
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SourceError, match='not a whole picture'):
        read_picture(path, at_least=at_least)


def test_other_files_keep_their_size(tmp_path, textured_pictures) -> None:
    rgb = textured_pictures(1)[0]
    path = write(tmp_path / 'a.png', rgb)
    np.testing.assert_array_equal(read_picture(path, at_least=10), rgb)


def test_what_is_no_picture(tmp_path) -> None:
    for content in (b'hello', b'\x89PNG\r\n\x1a\n'):
        (tmp_path / 'a.png').write_bytes(content)
        with pytest.raises(SourceError, match='not a whole picture'):
            read_picture(tmp_path / 'a.png')


def test_fingerprint_notices_changes(tmp_path, textured_pictures) -> None:
    folder = write_folder(tmp_path / 'f', ['1.png', '2.png'], textured_pictures(2))
    before = PictureFolder(folder).fingerprint()
    assert PictureFolder(folder).fingerprint() == before
    os.utime(folder / '1.png', (1, 1))
    assert PictureFolder(folder).fingerprint() != before
