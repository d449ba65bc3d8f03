# SPDX-License-Identifier: Apache-2.0
"""Pose files matched with folders of pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vpr_ros.errors import SourceError
from vpr_ros.pose_files import read_poses
from vpr_ros.pose_lookup import PosesByName, PosesByRow, PosesByTime, lookup_in_table
from vpr_ros.sources import PictureFolder

IDENTITY = '1 0 0 {} 0 1 0 0 0 0 1 0\n'


@pytest.fixture
def folder(tmp_path: Path):
    def _folder(*names: str) -> PictureFolder:
        for name in names:
            cv2.imwrite(str(tmp_path / name), np.zeros((4, 4, 3), np.uint8))
        return PictureFolder(tmp_path)

    return _folder


def xs(text: str, name: str, source: PictureFolder, max_gap_s: float = 1.5) -> list[float]:
    path = source.path / name
    path.write_text(text)
    lookup = lookup_in_table(read_poses(path), source, max_gap_s=max_gap_s)
    return [float(lookup.pose_of(frame)[0][0]) for frame in source.frames()]


def test_by_time(folder) -> None:
    source = folder('0.50.png', '1.25.png', '9.00.png')
    found = xs('0 10 0 0 0 0 0 1\n1 20 0 0 0 0 0 1\n2 30 0 0 0 0 0 1\n', 'p.txt', source)
    np.testing.assert_allclose(found, [15, 22.5, np.nan])


def test_plain_numbers_match_plain_numbers(folder) -> None:
    source = folder('000000.png', '000002.png', '000004.png')
    rows = ''.join(f'{i} {10 * i} 0 0 0 0 0 1\n' for i in (0, 1, 2, 3))
    np.testing.assert_allclose(xs(rows, 'p.txt', source), [0, 20, np.nan])


@pytest.mark.parametrize(
    ('names', 'known'),
    [
        (('000000.png', '000010.png'), 'the numbers in their names'),
        (('door.png', 'wall.png'), 'their order'),
    ],
)
@pytest.mark.parametrize('first', ['0', '1305031449'])
def test_times_are_not_matched_with_numbers(folder, names, known, first) -> None:
    source = folder(*names)
    rows = ''.join(f'{first}.{i} {i} 0 0 0 0 0 1\n' for i in range(10))
    with pytest.raises(
        SourceError, match=rf'p\.txt has times \(such as {first}\.1 s\).*{known}'
    ) as no:
        xs(rows, 'p.txt', source)
    for remedy in ('image name (CSV)', 'KITTI', 'name the pictures by their stamps'):
        assert remedy in str(no.value)
    euroc = f'timestamp,x,y,z\n1403636579{5:09d},0,0,0\n'
    with pytest.raises(SourceError, match=r'p\.csv has times \(such as 1403636579\.000000005 s'):
        xs(euroc, 'p.csv', source)


def test_frame_indices_match_numbers_and_order(folder, vpr_data) -> None:
    path = vpr_data / 'red_kitchen' / 'poses_tum.txt'
    truth = read_poses(path).positions
    source = folder('000000.png', '000010.png', '000999.png')
    np.testing.assert_array_equal(xs(path.read_text(), 'p.txt', source), truth[[0, 10, 999], 0])
    named = folder('door.png')
    np.testing.assert_array_equal(xs(path.read_text(), 'p.txt', named), truth[:4, 0])


def test_whole_seconds_written_as_times_match_times(folder) -> None:
    source = folder('1.0.png', '2.0.png')
    rows = ''.join(f'{i / 2} {i} 0 0 0 0 0 1\n' for i in range(6))
    assert xs(rows, 'p.txt', source) == [2, 4]


def test_as_many_rows_as_pictures_match_in_order(folder) -> None:
    source = folder('000000.png', '000002.png', '000004.png')
    assert xs(''.join(IDENTITY.format(x) for x in (5, 6, 7)), 'p.txt', source) == [5, 6, 7]


def test_more_rows_than_pictures_match_by_number(folder) -> None:
    source = folder('000000.png', '000002.png', '000009.png')
    found = xs(''.join(IDENTITY.format(10 * x) for x in range(5)), 'p.txt', source)
    np.testing.assert_allclose(found, [0, 20, np.nan])


def test_rows_that_fit_neither_way_are_refused(folder) -> None:
    source = folder('door.png', 'wall.png')
    with pytest.raises(SourceError, match='has 3 poses for 2 pictures'):
        xs(''.join(IDENTITY.format(x) for x in range(3)), 'p.txt', source)


def test_by_name(folder) -> None:
    source = folder('door.png', 'lift.png', 'wall.png')
    text = 'image,x,y,z\nphotos/wall.png,3,0,0\ndoor.png,1,0,0\n'
    np.testing.assert_allclose(xs(text, 'p.csv', source), [1, np.nan, 3])
    with pytest.raises(SourceError, match=r'names the picture door\.png twice'):
        xs(text + 'door.png,2,0,0\n', 'p.csv', source)


def test_fingerprints_tell_poses_apart(folder) -> None:
    source = folder('0.5.png', '1.5.png')
    prints = []
    for text, name, kind in (
        ('0 1 0 0 0 0 0 1\n', 'p.txt', PosesByTime),
        ('0 2 0 0 0 0 0 1\n', 'p.txt', PosesByTime),
        (IDENTITY.format(1) * 2, 'p.txt', PosesByRow),
        ('image,x,y,z\n0.5.png,1,0,0\n', 'p.csv', PosesByName),
    ):
        (source.path / name).write_text(text)
        lookup = lookup_in_table(read_poses(source.path / name), source, max_gap_s=1)
        assert isinstance(lookup, kind) and 'poses' in lookup.coverage()
        prints.append(str(lookup.fingerprint()))
    assert len(set(prints)) == len(prints)
