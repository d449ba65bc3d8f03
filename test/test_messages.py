# SPDX-License-Identifier: Apache-2.0
"""vpr_msgs as others consume it: names, types and constants are a promise."""

import pytest

pytest.importorskip('vpr_msgs')

from vpr_msgs import msg, srv

FIELDS = {
    msg.PlaceMatch: {
        'place_id': 'uint64',
        'stamp': 'builtin_interfaces/Time',
        'camera': 'string',
        'image': 'string',
        'similarity': 'float',
        'probability': 'float',
        'pose': 'geometry_msgs/Pose',
    },
    msg.LoopClosure: {
        'header': 'std_msgs/Header',
        'camera': 'string',
        'query_id': 'uint64',
        'map_frame_id': 'string',
        'matches': 'sequence<vpr_msgs/PlaceMatch>',
        'status': 'uint8',
        'reason': 'string',
        'consistent_count': 'uint32',
        'has_relative_pose': 'boolean',
        'metric': 'boolean',
        'match_from_query': 'geometry_msgs/PoseWithCovariance',
        'num_correspondences': 'uint32',
        'num_inliers': 'uint32',
        'age_s': 'float',
    },
    msg.GlobalDescriptor: {
        'header': 'std_msgs/Header',
        'model_sha256': 'string',
        'data': 'sequence<float>',
    },
    msg.MapInfo: {
        'header': 'std_msgs/Header',
        'url': 'string',
        'num_places': 'uint64',
        'descriptor_size': 'uint32',
        'model_name': 'string',
        'model_sha256': 'string',
        'schema_version': 'string',
    },
    srv.LoadMap.Request: {'map_url': 'string'},
    srv.LoadMap.Response: {'result': 'uint8', 'message': 'string', 'info': 'vpr_msgs/MapInfo'},
    srv.SaveMap.Request: {'map_url': 'string'},
    srv.SaveMap.Response: {'result': 'uint8', 'message': 'string', 'info': 'vpr_msgs/MapInfo'},
    srv.Recognize.Request: {'image': 'sensor_msgs/Image'},
    srv.Recognize.Response: {
        'success': 'boolean',
        'message': 'string',
        'result': 'vpr_msgs/LoopClosure',
    },
}


@pytest.mark.parametrize('message', FIELDS, ids=lambda message: message.__name__)
def test_fields(message):
    assert message.get_fields_and_field_types() == FIELDS[message]


def test_status_constants():
    closure = msg.LoopClosure
    assert closure.CANDIDATE == 0
    assert closure.CONSISTENT == 1
    assert closure.VERIFIED == 2
    assert closure.REJECTED == 3


@pytest.mark.parametrize('response', [srv.LoadMap.Response, srv.SaveMap.Response])
def test_result_constants(response):
    assert response.SUCCESS == 0
    assert response.NOT_FOUND == 1
    assert response.INVALID == 2
    assert response.MODEL_MISMATCH == 3
    assert response.FAILURE == 255


def test_status_of_message_and_of_core_agree():
    from vpr_ros.recognizer import Status

    for status in Status:
        assert getattr(msg.LoopClosure, status.name) == status.value
