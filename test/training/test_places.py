# SPDX-License-Identifier: Apache-2.0
import logging

import cv2
import numpy as np
import pytest

from training.places import cut_clip, fixed_cameras, gsv_cities, walked_clips

HEADER = 'place_id,year,month,northdeg,city_id,lat,lon,panoid'


def write_picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((8, 8, 3), np.uint8))


@pytest.fixture
def city(tmp_path):
    """Two places of Rome, the sixth city: its ids begin at 500000; one picture is missing."""
    rows = [
        # a text that no float prints back: 0.30000000000000004 has 17 digits, 41.90 a zero
        '500003,2015,5,584,Rome,41.90,0.30000000000000004,pano_a',
        '500003,2016,6,90,Rome,41.900000000000001,12.5,pano_b',
        '500004,2016,6,90,Rome,41.9,12.5,pano_c',
        '500004,2016,7,90,Rome,41.9,12.5,pano_d',
    ]
    (tmp_path / 'Dataframes').mkdir()
    (tmp_path / 'Dataframes' / 'Rome.csv').write_text('\n'.join([HEADER, *rows]) + '\n')
    images = tmp_path / 'Images' / 'Rome'
    write_picture(images / 'Rome_0000003_2015_05_584_41.9_0.30000000000000004_pano_a.jpg')
    write_picture(images / 'Rome_0000003_2016_06_090_41.9_12.5_pano_b.JPG')
    write_picture(images / 'Rome_0000004_2016_06_090_41.9_12.5_pano_c.jpg')
    return tmp_path


def test_files_are_found_whatever_the_text_of_their_coordinates(city):
    (place,) = gsv_cities(city, ['Rome'])
    assert place.name == 'Rome/500003'
    assert [path.name.split('_')[-1] for path in place.pictures] == ['a.jpg', 'b.JPG']


def test_missing_files_are_counted_and_named(city, caplog):
    with caplog.at_level(logging.WARNING):
        places = gsv_cities(city, min_pictures=1)
    assert [len(place.pictures) for place in places] == [2, 1]
    assert 'Rome: 1 of the pictures in the table are not in' in caplog.text
    assert '500004_2016_7_90_Rome_41.9_12.5_pano_d' in caplog.text


def test_a_folder_of_another_kind_is_refused(tmp_path, city):
    with pytest.raises(FileNotFoundError, match='not a GSV-Cities folder'):
        gsv_cities(tmp_path / 'Images')
    for path in (city / 'Images' / 'Rome').iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r'has none of the 4 pictures of Rome\.csv'):
        gsv_cities(city)


def test_cameras_and_clips(tmp_path):
    for name in ('a', 'b'):
        for i in range(9):
            write_picture(tmp_path / name / f'{i:03d}.jpg')
    (tmp_path / 'empty').mkdir()
    cameras = fixed_cameras(tmp_path)
    assert [(place.name, len(place.pictures)) for place in cameras] == [('a', 9), ('b', 9)]
    clip = walked_clips(tmp_path)[0]
    places = cut_clip(clip[:3], views=2)
    assert [[path.stem for path in place.pictures] for place in places] == [
        ['000', '001'],
        ['001', '002'],
    ]
    assert [(place.walk, place.step) for place in places] == [('a', 0), ('a', 1)]


def test_no_folders_with_pictures(tmp_path):
    with pytest.raises(FileNotFoundError, match='holds no folder with pictures'):
        fixed_cameras(tmp_path / 'absent')


def test_cambridge_is_complete(vpr_data, caplog):
    places = gsv_cities(vpr_data / 'gsv_cambridge')
    assert len(places) == 955
    assert sum(len(place.pictures) for place in places) == 2916
    assert not caplog.records
