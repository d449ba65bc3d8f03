# SPDX-License-Identifier: Apache-2.0
import json
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from vpr_ros import atomic_directory
from vpr_ros.errors import MapError, MapModelMismatchError
from vpr_ros.hashing import file_sha256
from vpr_ros.model_ref import ModelRef
from vpr_ros.place_map import PLACE_DTYPE, GeodeticOrigin, PlaceMap

MODEL = ModelRef('net', 'a' * 64, 16)


def unit_vectors(n, *, d=16, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_map(n=10, *, seed=0):
    place_map = PlaceMap(MODEL, frame_id='town')
    place_map.add(
        unit_vectors(n, seed=seed),
        stamps_ns=np.arange(n) * 1_000_000_000,
        positions=np.arange(3 * n, dtype=float).reshape(n, 3),
        orientations_xyzw=np.tile([0.0, 0.0, 0.0, 1.0], (n, 1)),
        images=[f'{i}.jpg' for i in range(n)],
        cameras=np.zeros(n),
    )
    return place_map


@pytest.fixture
def saved(tmp_path):
    make_map().save(tmp_path / 'map')
    return tmp_path / 'map'


def test_search_is_exact_and_ordered():
    place_map, queries = make_map(100), unit_vectors(7, seed=1)
    similarities, rows = place_map.search_batch(queries, 5)
    brute = queries @ place_map.descriptors.T
    np.testing.assert_array_equal(rows, np.argsort(-brute, axis=1)[:, :5])
    np.testing.assert_allclose(similarities, np.sort(brute, axis=1)[:, ::-1][:, :5], atol=1e-6)


def test_a_match_carries_the_place():
    place_map = make_map()
    match = place_map.search(place_map.descriptors[3], 1)[0]
    assert (match.row, match.place_id, match.image) == (3, 3, '3.jpg')
    assert match.stamp_ns == 3_000_000_000 and match.similarity == pytest.approx(1)
    np.testing.assert_array_equal(match.position, [9, 10, 11])


def test_more_matches_than_places():
    assert len(make_map(3).search(unit_vectors(1)[0], 10)) == 3


def test_empty_map_finds_nothing(tmp_path):
    empty = PlaceMap(MODEL)
    assert empty.search(unit_vectors(1)[0], 5) == []
    assert not empty.has_poses and np.isnan(empty.spacing_m)
    empty.save(tmp_path / 'empty')
    assert len(PlaceMap.load(tmp_path / 'empty')) == 0


@pytest.mark.parametrize(
    ('query', 'top_k', 'message'),
    [
        (np.ones(15, np.float32), 1, '16 values'),
        (np.full(16, np.nan, np.float32), 1, 'NaN'),
        (np.ones(16, np.float32), 0, 'top_k'),
    ],
)
def test_refuses_an_impossible_query(query, top_k, message):
    with pytest.raises(ValueError, match=message):
        make_map().search(query, top_k)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'descriptors': np.ones((2, 16), np.float32)}, 'norm 4, not 1'),
        ({'descriptors': unit_vectors(2, d=8)}, r'\(N, 16\)'),
        ({'images': ['a', 'b\nc']}, 'line break'),
        ({'images': ['a']}, '1 image names for 2 places'),
        ({'positions': np.full((2, 3), np.inf)}, 'infinite'),
        ({'orientations_xyzw': np.ones((2, 4))}, 'unit quaternion'),
    ],
)
def test_refuses_impossible_places_and_stays_as_it_was(changes, message):
    place_map = make_map()
    with pytest.raises(ValueError, match=message):
        place_map.add(**{'descriptors': unit_vectors(2), 'stamps_ns': np.arange(2)} | changes)
    assert len(place_map) == len(place_map.places) == len(place_map.descriptors) == 10


def test_ids_go_on_counting():
    place_map = make_map(4)
    ids = place_map.add(unit_vectors(2, seed=5), stamps_ns=np.arange(2))
    np.testing.assert_array_equal(ids, [4, 5])
    assert len(place_map.add(unit_vectors(0), stamps_ns=np.arange(0))) == 0
    assert place_map.add(unit_vectors(1, seed=6), stamps_ns=np.arange(1)).tolist() == [6]
    assert place_map.search(unit_vectors(2, seed=5)[1], 1)[0].row == 5


def test_spacing_is_the_median_step():
    assert make_map().spacing_m == pytest.approx(np.sqrt(27))


def test_saving_in_another_dtype_copies_a_block_at_a_time(tmp_path):
    size, count = 256, 65_536
    place_map = PlaceMap(ModelRef('net', 'a' * 64, size))
    place_map.add(np.eye(1, size).repeat(count, axis=0), stamps_ns=np.arange(count))
    tracemalloc.start()
    place_map.save(tmp_path / 'map', dtype='float16')
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < count * size * 2 / 2  # bytes, half of all in float16


@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_round_trip(tmp_path, dtype):
    place_map = make_map()
    place_map.save(tmp_path / 'map', dtype=dtype)
    loaded = PlaceMap.load(tmp_path / 'map', model=MODEL)
    assert loaded.descriptors.dtype == dtype and isinstance(loaded.descriptors, np.memmap)
    np.testing.assert_allclose(loaded.descriptors, place_map.descriptors, atol=1e-3)
    np.testing.assert_array_equal(loaded.places, place_map.places)
    assert (loaded.images, loaded.frame_id, loaded.model) == (place_map.images, 'town', MODEL)
    assert loaded.created == place_map.created
    assert loaded.url == (tmp_path / 'map').as_uri()


def test_the_zero_of_a_gnss_map_stays_with_it(tmp_path):
    place_map = make_map()
    assert place_map.origin is None
    place_map.save(tmp_path / 'map')
    assert 'origin' not in json.loads((tmp_path / 'map' / 'map.json').read_text())
    assert PlaceMap.load(tmp_path / 'map').origin is None

    place_map.origin = GeodeticOrigin(48.137154321, -11.5, 519.25)
    place_map.save(tmp_path / 'map')
    loaded = PlaceMap.load(tmp_path / 'map')
    assert loaded.origin == place_map.origin
    loaded.save(tmp_path / 'copy')
    assert PlaceMap.load(tmp_path / 'copy').origin == place_map.origin
    manifest = json.loads((tmp_path / 'copy' / 'map.json').read_text())
    assert manifest['origin'] == {
        'latitude_deg': 48.137154321,
        'longitude_deg': -11.5,
        'altitude_m': 519.25,
    }
    manifest['origin']['datum'] = 'WGS 84'  # additions are allowed
    manifest['origin']['altitude_m'] = 519
    (tmp_path / 'copy' / 'map.json').write_text(json.dumps(manifest))
    assert PlaceMap.load(tmp_path / 'copy').origin == GeodeticOrigin(48.137154321, -11.5, 519.0)
    (tmp_path / 'copy' / 'map.json').write_text(json.dumps(manifest | {'origin': None}))
    assert PlaceMap.load(tmp_path / 'copy').origin is None


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'latitude_deg': 91}, 'latitude_deg must lie between -90 and 90, not 91'),
        ({'longitude_deg': -180.5}, 'longitude_deg must lie between -180 and 180'),
        ({'altitude_m': float('nan')}, 'altitude_m must be finite, not nan'),
        ({'altitude_m': '500'}, "altitude_m must be a number, not '500'"),
        ({'latitude_deg': True}, 'latitude_deg must be a number, not True'),
        ({'altitude_m': None}, 'altitude_m must be a number, not None'),
        ({'altitude_m': 10**400}, 'too large'),
    ],
)
def test_a_zero_that_is_none_is_refused(saved, change, message):
    manifest = json.loads((saved / 'map.json').read_text())
    origin = {'latitude_deg': 48.0, 'longitude_deg': 11.0, 'altitude_m': 500.0} | change
    for malformed, said in ((origin, message), ([48, 11, 500], 'origin must be an object')):
        (saved / 'map.json').write_text(json.dumps(manifest | {'origin': malformed}))
        with pytest.raises(MapError, match=rf'map\.json: .*{said}'):
            PlaceMap.load(saved, verify=False)


def test_numpy_alone_reads_it(saved):
    descriptors = np.load(saved / 'descriptors.npy', allow_pickle=False)
    places = np.load(saved / 'places.npy', allow_pickle=False)
    assert descriptors.shape == (10, 16) and places.dtype == PLACE_DTYPE
    assert (saved / 'images.txt').read_text().split() == [f'{i}.jpg' for i in range(10)]


def test_a_loaded_map_can_grow_and_be_saved_over_itself(saved):
    loaded = PlaceMap.load(saved)
    loaded.add(unit_vectors(1, seed=9), stamps_ns=np.array([1]), images=['new.jpg'])
    loaded.save(saved)
    again = PlaceMap.load(saved)
    assert len(again) == 11 and again.images[-1] == 'new.jpg'


def test_keyframes_come_along(tmp_path):
    (tmp_path / 'pictures').mkdir()
    (tmp_path / 'pictures' / '0.jpg').write_bytes(b'jpeg')
    make_map().save(tmp_path / 'map', keyframes=tmp_path / 'pictures')
    PlaceMap.load(tmp_path / 'map').save(tmp_path / 'copy')
    assert (tmp_path / 'copy' / 'keyframes' / '0.jpg').read_bytes() == b'jpeg'
    (tmp_path / 'map' / 'keyframes' / '0.jpg').unlink()
    with pytest.raises(MapError, match=r'keyframes/0\.jpg is missing'):
        PlaceMap.load(tmp_path / 'map').verify_keyframes()


def test_no_map_there(tmp_path):
    with pytest.raises(FileNotFoundError, match='no map at'):
        PlaceMap.load(tmp_path / 'absent')


def test_another_model_is_refused_by_name(saved):
    other = ModelRef('other', 'b' * 64, 16)
    with pytest.raises(MapModelMismatchError, match=r'made by model net .*not by other'):
        PlaceMap.load(saved, model=other)


@pytest.mark.parametrize('name', ['descriptors.npy', 'places.npy', 'images.txt'])
@pytest.mark.parametrize('damage', ['truncate', 'edit', 'delete', 'swap'])
def test_a_damaged_file_is_named(saved, tmp_path, name, damage):
    path = saved / name
    content = path.read_bytes()
    if damage == 'truncate':
        path.write_bytes(content[:-7])
    elif damage == 'edit':
        path.write_bytes(content[:-7] + bytes([content[-7] ^ 1]) + content[-6:])
    elif damage == 'delete':
        path.unlink()
    else:
        make_map(11, seed=3).save(tmp_path / 'other')
        path.write_bytes((tmp_path / 'other' / name).read_bytes())
    with pytest.raises(MapError, match=name.replace('.', r'\.')):
        PlaceMap.load(saved)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'schema_version': '2'}, "schema '2'"),
        ({'num_places': 9}, '10 lines for 9 places'),
        ({'num_places': '10'}, 'num_places'),
        ({'model': {'name': 'x'}}, 'model must hold'),
        ({'files': {}}, 'no hash of descriptors.npy'),
    ],
)
def test_a_manifest_that_does_not_fit(saved, change, message):
    manifest = json.loads((saved / 'map.json').read_text())
    (saved / 'map.json').write_text(json.dumps(manifest | change))
    with pytest.raises(MapError, match=message):
        PlaceMap.load(saved)


def test_a_manifest_may_not_point_outside(saved, tmp_path):
    manifest = json.loads((saved / 'map.json').read_text())
    manifest['files']['../secret'] = {'sha256': ''}
    (saved / 'map.json').write_text(json.dumps(manifest))
    with pytest.raises(MapError, match='outside the map'):
        PlaceMap.load(saved)


def resign(folder):
    """Make the manifest agree with the files, as a careless tool would."""
    manifest = json.loads((folder / 'map.json').read_text())
    for name in manifest['files']:
        manifest['files'][name]['sha256'] = file_sha256(folder / name)
    (folder / 'map.json').write_text(json.dumps(manifest))


def test_right_hashes_do_not_excuse_wrong_contents(saved):
    descriptors = np.load(saved / 'descriptors.npy')
    descriptors[4] *= 2
    np.save(saved / 'descriptors.npy', descriptors)
    resign(saved)
    with pytest.raises(MapError, match=r'descriptors\.npy: descriptor 4 has norm 2'):
        PlaceMap.load(saved)


def test_pickled_arrays_are_never_executed(saved):
    np.save(saved / 'places.npy', np.array([{'a': 1}], object), allow_pickle=True)
    resign(saved)
    with pytest.raises(MapError, match=r'places\.npy is not a whole NumPy array file'):
        PlaceMap.load(saved)


def test_refuses_to_replace_a_folder_that_is_no_map(tmp_path):
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'precious.jpg').write_text('x')
    with pytest.raises(MapError, match='exists and is not a map'):
        make_map().save(tmp_path / 'photos')
    assert (tmp_path / 'photos' / 'precious.jpg').exists()


SAVER = """
import sys
sys.path.insert(0, {test!r})
from test_place_map import make_map
place_map = make_map(3000)
print('ready', flush=True)
while True:
    place_map.save({target!r})
"""


def test_a_killed_save_leaves_a_whole_map(tmp_path):
    target = tmp_path / 'map'
    make_map(50).save(target)
    rng = np.random.default_rng(0)
    sizes = set()
    saver = SAVER.format(test=str(Path(__file__).parent), target=str(target))
    for _ in range(15):
        process = subprocess.Popen([sys.executable, '-c', saver], stdout=subprocess.PIPE)
        process.stdout.readline()
        # Many saves run in this time, and loads in between see whole maps only.
        until = time.monotonic() + rng.uniform(0.02, 0.25)
        while time.monotonic() < until:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        sizes.add(len(PlaceMap.load(target)))
    assert sizes <= {50, 3000} and 3000 in sizes
    make_map(5).save(target)
    assert len(PlaceMap.load(target)) == 5
    assert [path.name for path in tmp_path.iterdir()] == ['map'], 'leftovers are cleaned up'


def test_without_exchange_two_renames_do(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_directory, '_exchange', lambda first, second: False)
    target = tmp_path / 'map'
    make_map(3).save(target)
    make_map(4).save(target)
    assert len(PlaceMap.load(target)) == 4
    assert [path.name for path in tmp_path.iterdir()] == ['map']


def test_a_crash_between_the_two_renames_is_explained(tmp_path):
    make_map(3).save(tmp_path / 'map')
    (tmp_path / 'map').rename(tmp_path / '.map.previous')
    with pytest.raises(FileNotFoundError, match=r'previous map at .*\.map\.previous'):
        PlaceMap.load(tmp_path / 'map')


def test_a_failed_save_leaves_the_previous_map(tmp_path, monkeypatch):
    target = tmp_path / 'map'
    make_map(3).save(target)

    def full_disk(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(np, 'save', full_disk)
    with pytest.raises(OSError, match='No space left'):
        make_map(4).save(target)
    assert len(PlaceMap.load(target)) == 3
    assert [path.name for path in tmp_path.iterdir()] == ['map']
