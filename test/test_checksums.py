# SPDX-License-Identifier: Apache-2.0
"""Damage among the keyframes of a map: found when one is used, and by `verify_keyframes`."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from made_keyframes import a_drive, made_keyframe

from vpr_ros.checksums import CHECKSUMS, read_checksums
from vpr_ros.errors import MapError
from vpr_ros.keyframe_store import (
    INDEX,
    KeyframePart,
    KeyframeStore,
    features_of_map,
    write_keyframes,
)
from vpr_ros.map_edit import merge_maps
from vpr_ros.model_ref import ModelRef
from vpr_ros.place_map import PlaceMap

NUM = 4


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A map of four places with local features and pictures."""
    place_map = PlaceMap(ModelRef('net', 'a' * 64, 8))
    place_map.add(np.eye(NUM, 8, dtype=np.float32), stamps_ns=np.arange(NUM))
    store = a_drive(tmp_path / 'store', NUM)
    place_map.save(tmp_path / 'map', keyframes=store)
    return tmp_path / 'map'


def edited(path: Path) -> None:
    """Put another whole keyframe in the place of one: only its hash tells."""
    with KeyframeStore(path.parent.parent.parent / 'other') as other:
        other.add(0, made_keyframe(), drive=0)
        path.unlink()  # it may be a hard link
        shutil.copy(other.folder / '000000.npz', path)


def test_sha256sum_itself_can_check_the_keyframes(saved) -> None:
    names = sorted(path.name for path in (saved / 'keyframes').iterdir())
    files = [f'{i:06d}.{kind}' for i in range(NUM) for kind in ('jpg', 'npz')]
    assert names == [*files, CHECKSUMS, INDEX]
    assert sorted(read_checksums(saved / 'keyframes')) == sorted({*names} - {CHECKSUMS})
    subprocess.run(['sha256sum', '-c', CHECKSUMS], cwd=saved / 'keyframes', check=True)
    files = json.loads((saved / 'map.json').read_text())['files']
    assert sorted(files) == [
        *('descriptors.npy', 'images.txt', f'keyframes/{CHECKSUMS}', 'places.npy'),
    ]


def test_an_edited_keyframe_is_found_when_it_is_read(saved) -> None:
    edited(saved / 'keyframes' / '000002.npz')
    place_map = PlaceMap.load(saved)
    store = features_of_map(place_map)
    assert store is not None and store.keyframe(1) is not None
    with pytest.raises(MapError, match=r'000002\.npz differs from its hash in SHA256SUMS'):
        store.keyframe(2)
    with pytest.raises(MapError, match=r'000002\.npz differs'):
        place_map.verify_keyframes()


def test_a_picture_is_found_by_verifying(saved) -> None:
    (saved / 'keyframes' / '000000.jpg').write_bytes(b'other')
    with pytest.raises(MapError, match=r'000000\.jpg differs'):
        PlaceMap.load(saved).verify_keyframes()
    (saved / 'keyframes' / '000000.jpg').unlink()
    with pytest.raises(MapError, match=r'000000\.jpg is missing'):
        PlaceMap.load(saved).verify_keyframes()


@pytest.mark.parametrize('damage', ['gone', 'edited', 'text'])
def test_the_list_itself_is_checked_at_once(saved, damage) -> None:
    path = saved / 'keyframes' / CHECKSUMS
    if damage == 'gone':
        path.unlink()
    elif damage == 'edited':
        path.write_text(path.read_text().replace('a', 'b', 1))
    else:
        path.write_text('no hashes')
    with pytest.raises(MapError, match=CHECKSUMS):
        PlaceMap.load(saved)


def test_the_index_and_unlisted_files_are_checked(saved) -> None:
    keyframes = saved / 'keyframes'
    (keyframes / INDEX).rename(keyframes / 'aside')
    with pytest.raises(MapError, match=f'{INDEX} is missing'):
        features_of_map(PlaceMap.load(saved))
    (keyframes / INDEX).write_bytes((keyframes / 'aside').read_bytes()[:-1])
    with pytest.raises(MapError, match=f'{INDEX} differs'):
        features_of_map(PlaceMap.load(saved))


def test_merging_does_not_bless_damage(saved, tmp_path) -> None:
    """Hashes go along with the files, which are linked and not read."""
    edited(saved / 'keyframes' / '000002.npz')
    place_map = PlaceMap.load(saved)
    merged = merge_maps([place_map, place_map], tmp_path / 'both')
    for row in (2, NUM + 2):
        with pytest.raises(MapError, match=rf'{row:06d}\.npz differs'):
            features_of_map(merged).keyframe(row)
    assert features_of_map(merged).keyframe(NUM + 1) is not None


def test_a_folder_that_is_written_to_forgets_its_hashes(saved, tmp_path) -> None:
    write_keyframes(
        tmp_path / 'new', [KeyframePart(KeyframeStore(saved / 'keyframes', read_only=True))]
    )
    with KeyframeStore(tmp_path / 'new') as store:
        assert len(store.checksums) == 2 * NUM + 1
        store.add(9, made_keyframe(), drive=7)
        assert not store.checksums and not (tmp_path / 'new' / CHECKSUMS).exists()
    assert KeyframeStore(tmp_path / 'new').keyframe(9) is not None


def test_maps_that_list_each_keyframe_in_the_manifest_still_load(saved) -> None:
    path, keyframes = saved / 'map.json', saved / 'keyframes'
    (keyframes / CHECKSUMS).unlink()
    manifest = json.loads(path.read_text())
    del manifest['files'][f'keyframes/{CHECKSUMS}']
    for file in keyframes.iterdir():
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        manifest['files'][f'keyframes/{file.name}'] = {'sha256': sha256}
    path.write_text(json.dumps(manifest))
    place_map = PlaceMap.load(saved)
    place_map.verify_keyframes()
    assert features_of_map(place_map).keyframe(2) is not None
    edited(keyframes / '000002.npz')
    with pytest.raises(MapError, match=r'000002\.npz differs from its hash in map\.json'):
        PlaceMap.load(saved).verify_keyframes()
