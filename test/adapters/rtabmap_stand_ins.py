# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for rtabmap_msgs, which no wheel has: the published fields and nothing else.

Field lists of rtabmap_ros, package rtabmap_msgs (May 2026). Like rosidl's classes they refuse
what is no field, and values of the wrong kind.
"""

from typing import ClassVar

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose, Transform
from std_msgs.msg import Header


class _Message:
    FIELDS: ClassVar = {}

    def __init__(self, **values):
        for name, make in self.FIELDS.items():
            object.__setattr__(self, name, make())
        for name, value in values.items():
            setattr(self, name, value)

    def __setattr__(self, name, value):
        if name not in self.FIELDS:
            raise AttributeError(f'{type(self).__name__} has no field {name!r}')
        make = self.FIELDS[name]
        if make is _six_by_six:
            assert np.shape(value) == (36,), name
            value = np.array(value, float)
        elif make in (int, float, str):
            assert isinstance(value, make), f'{name}: {value!r} is no {make.__name__}'
        elif make is list:
            assert isinstance(value, (list, tuple)), name
        else:
            assert isinstance(value, make), name
        object.__setattr__(self, name, value)


def _six_by_six():
    return np.zeros(36)


class Link(_Message):
    FIELDS: ClassVar = {
        'from_id': int,
        'to_id': int,
        'type': int,
        'transform': Transform,
        'information': _six_by_six,
    }


class MapGraph(_Message):
    FIELDS: ClassVar = {
        'header': Header,
        'map_to_odom': Transform,
        'poses_id': list,
        'poses': list,
        'links': list,
    }


class SensorData(_Message):
    """Only what stands in Node; nothing reads its fields."""


class Node(_Message):
    FIELDS: ClassVar = {
        'id': int,
        'map_id': int,
        'weight': int,
        'stamp': float,
        'label': str,
        'pose': Pose,
        'word_id_keys': list,
        'word_id_values': list,
        'word_kpts': list,
        'word_pts': list,
        'word_descriptors': list,
        'data': SensorData,
    }


class MapData(_Message):
    FIELDS: ClassVar = {'header': Header, 'graph': MapGraph, 'nodes': list}


class AddLink:
    class Request(_Message):
        FIELDS: ClassVar = {'link': Link}

    class Response(_Message):
        pass


def map_data(nodes, *, alive=None, links=()):
    """Make a map: `nodes` are (id, stamp in seconds) of those it brings, `alive` all ids."""
    alive = [node_id for node_id, _ in nodes] if alive is None else list(alive)
    graph = MapGraph(
        header=Header(stamp=Time(), frame_id='map'),
        poses_id=alive,
        poses=[Pose() for _ in alive],
        links=[Link(from_id=a, to_id=b) for a, b in links],
    )
    return MapData(
        header=graph.header,
        graph=graph,
        nodes=[Node(id=node_id, stamp=stamp) for node_id, stamp in nodes],
    )
