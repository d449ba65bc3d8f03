# SPDX-License-Identifier: Apache-2.0
"""Closures to links of RTAB-Map: ids by stamps, the way to the nodes, bases, information."""

import sys
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip('geometry_msgs')

from adapters.rtabmap_stand_ins import AddLink, MapData, map_data
from pose_graph.drives import S, closure, drive, pose_of, seen_by, square

from vpr_ros.adapters.rtabmap import Fate, LinkConfig, LinkMaker
from vpr_ros.adapters.rtabmap_messages import (
    RtabmapError,
    add_link_request,
    require_rtabmap_msgs,
    see_map_data,
)
from vpr_ros.pose_graph.closure import Closure, Kind
from vpr_ros.pose_graph.odometry import OdometryNoise
from vpr_ros.pose_graph.optimizer import ClosureNoise
from vpr_ros.pose_graph.transforms import (
    inverse,
    moved_covariance,
    quaternion_xyzw,
    small_motion,
    transform,
)

TRUTH, DRIFTED = square(), square(turn_error=0.02)  # a pose every 0.5 s
LAP = len(TRUTH) // 2
BASE_FROM_CAMERA = transform(np.array([0.3, 0.1, 0.5]), np.array([-0.5, 0.5, -0.5, 0.5]))
EXACT = LinkConfig(
    max_way_m=1.01,
    odometry=OdometryNoise(0, 0, 0, 0, 0),
    closure=ClosureNoise(translation=1e-6, rotation=1e-6),
)


def seconds(index):
    return float(TRUTH.stamps_ns[index]) / S


def of_camera(made):
    return seen_by(made, BASE_FROM_CAMERA)


def maker(config=None, *, run=TRUTH, nodes=(), **graph):
    found = LinkMaker(config or LinkConfig())
    if run is not None:
        drive(found, run)
    see_map_data(found, map_data([(i + 1, seconds(i)) for i in nodes], **graph))
    return found


def only(found):
    (report,) = found.update()
    return report


def test_a_closure_between_nodes_is_the_way_between_the_bases():
    """Pictures off their nodes: whatever the camera's mounting, true stays true."""
    links = maker(EXACT, nodes=range(0, len(TRUTH), 4))
    query, match = LAP + 11, 10
    links.add_closure(of_camera(closure(TRUTH, query, match)))
    report = only(links)
    assert report.fate is Fate.SENT, report.reason
    link = report.link
    assert (link.from_id - 1) % 4 == (link.to_id - 1) % 4 == 0
    assert abs(link.from_id - 1 - match) in (1, 2)
    assert abs(link.to_id - 1 - query) in (1, 2)
    ends = [pose_of(TRUTH, node_id - 1) for node_id in (link.from_id, link.to_id)]
    assert link.from_to == pytest.approx(inverse(ends[0]) @ ends[1], abs=1e-6)


def test_the_mounting_matters():
    links = maker(EXACT, nodes=[0, LAP])
    off = transform(np.array([0.2, 0.3, 0.1]), np.array([0, 0, np.sin(0.1), np.cos(0.1)]))
    made = of_camera(closure(TRUTH, LAP, 0, wrong=off))
    links.add_closure(replace(made, base_from_match=np.eye(4), base_from_query=np.eye(4)))
    ends = [pose_of(TRUTH, i) for i in (0, LAP)]
    assert np.abs(only(links).link.from_to - inverse(ends[0]) @ ends[1] @ off).max() > 0.05


def test_information_is_the_inverse_covariance_of_the_chain():
    """Drawn errors of closure and odometry spread as the information says (5,000 samples)."""
    noise = OdometryNoise(0.05, 0.02, 0.05, 0, 0)
    config = LinkConfig(odometry=noise, closure=ClosureNoise(0.02, 0.01))
    links = maker(config, nodes=[0, LAP])
    query, match = LAP + 2, 1
    made = of_camera(closure(TRUTH, query, match))
    links.add_closure(made)
    link = only(links).link
    assert (link.from_id, link.to_id) == (1, LAP + 1)
    rng = np.random.default_rng(0)
    ways = [
        (inverse(pose_of(TRUTH, a)) @ pose_of(TRUTH, b), abs(b - a) * 0.5)
        for a, b in ((0, match), (LAP, query))
    ]
    rotation_t = made.match_from_query[:3, :3].T
    errors = []
    for _ in range(5000):
        walked = []
        for way, way_m in ways:
            turned = np.linalg.norm(way[:2, 0] - [1, 0]) > 0.1
            sigma = np.sqrt(noise.rotation**2 * way_m + noise.turn**2 * np.pi / 2 * turned)
            step = rng.normal(0, np.repeat([sigma, noise.translation * np.sqrt(way_m)], 3))
            walked.append(way @ small_motion(step))
        angle, shift = rng.normal(0, 0.01, 3), rng.normal(0, 0.01, 3)  # of the message
        measured = made.match_from_query @ small_motion(
            np.concatenate(
                [
                    rotation_t @ angle + rng.normal(0, 0.01, 3),
                    rotation_t @ shift + rng.normal(0, 0.02, 3),
                ]
            )
        )
        bases = BASE_FROM_CAMERA @ measured @ inverse(BASE_FROM_CAMERA)
        found = walked[0] @ bases @ inverse(walked[1])
        error = inverse(link.from_to) @ found
        turn = [error[2, 1] - error[1, 2], error[0, 2] - error[2, 0], error[1, 0] - error[0, 1]]
        errors.append(np.concatenate([error[:3, 3], np.array(turn) / 2]))
    squared = np.einsum('ni,ij,nj->n', errors, link.information, errors)
    assert np.mean(squared) == pytest.approx(6, rel=0.1)
    assert np.mean(squared < 12.59) == pytest.approx(0.95, abs=0.02)  # chi-square, six freedoms


def test_the_same_stamps_need_no_odometry():
    links = maker(run=None, nodes=[0, LAP])
    links.add_closure(of_camera(closure(TRUTH, LAP, 0)))
    report = only(links)
    assert report.fate is Fate.SENT
    assert (report.link.from_id, report.link.to_id) == (1, LAP + 1)


def test_a_node_that_comes_after_the_query_is_waited_for():
    links = maker(EXACT, nodes=[0])
    links.add_closure(of_camera(closure(TRUTH, LAP + 1, 0)))
    links.add_closure(of_camera(closure(TRUTH, len(TRUTH) - 2, 0)))
    links.see_graph([1], [])
    first = links.update()  # the odometry is far ahead of the first already: it has waited
    assert [report.reason.partition(':')[0] for report in first] == ['same_node']
    assert links.num_waiting == 1
    see_map_data(links, map_data([(9, seconds(len(TRUTH) - 1))], alive=[1, 9]))
    report = only(links)
    assert (report.fate, report.link.to_id) == (Fate.SENT, 9)
    assert links.num_waiting == 0


def test_nodes_that_left_the_graph_are_not_used():
    """RTAB-Map drops the node of a robot that stands still, and says so by its graph."""
    links = maker(EXACT, nodes=[0, 1, LAP, LAP + 1], alive=[1, LAP + 1])
    links.add_closure(of_camera(closure(TRUTH, LAP + 1, 1)))
    report = only(links)
    assert (report.link.from_id, report.link.to_id) == (1, LAP + 1)
    assert links.num_nodes == 2


@pytest.mark.parametrize(
    ('changes', 'query', 'match', 'code'),
    [
        ({}, 2, 1, 'same_node'),
        ({'links': [(LAP + 1, 1)]}, LAP, 0, 'linked_already'),
        ({'run': None}, LAP + 1, 0, 'no_odometry'),
        ({'nodes': []}, LAP, 0, 'no_node'),
        ({'nodes': [LAP]}, LAP, LAP // 2, 'far_from_node'),
    ],
)
def test_why_a_closure_is_not_sent(changes, query, match, code):
    given = {'nodes': [0, LAP], **changes}
    links = maker(EXACT, **given)
    see_map_data(links, map_data([(99, 1e6)], alive=[i + 1 for i in given['nodes']], links=()))
    if 'links' in given:
        see_map_data(links, map_data([], alive=[1, LAP + 1], links=given['links']))
    links.add_closure(of_camera(closure(TRUTH, query, match)))
    report = only(links)
    assert report.fate is Fate.REFUSED
    assert report.reason.startswith(f'{code}: '), report.reason


def test_a_pair_of_nodes_is_sent_once():
    links = maker(EXACT, nodes=[0, LAP])
    for query in (LAP, LAP + 1):
        links.add_closure(of_camera(closure(TRUTH, query, 0)))
    links.see_graph([1, LAP + 1], [])
    codes = [(r.fate, r.reason.partition(':')[0]) for r in links.update()]
    assert codes == [(Fate.SENT, ''), (Fate.REFUSED, 'sent_already')]


def test_directions_and_broken_poses_are_refused():
    links = maker(EXACT, nodes=[0, LAP])
    made = closure(TRUTH, LAP, 0)
    links.add_closure(closure(TRUTH, LAP + 1, 0, kind=Kind.DIRECTION))
    nan = np.full((4, 4), np.nan)
    links.add_closure(Closure(made.query_stamp_ns, S, Kind.METRIC, nan, made.covariance))
    codes = [report.reason.partition(':')[0] for report in links.update()]
    assert codes == ['not_metric', 'malformed']


def test_a_clock_that_jumps_back_begins_anew():
    links = maker(EXACT, nodes=[0, LAP])
    links.add_odometry(S, np.zeros(3), np.array([0, 0, 0, 1.0]))
    assert links.num_resets == 1
    links.add_closure(of_camera(closure(TRUTH, 1, LAP)))
    assert links.update() == []  # waits for odometry of the new run


def test_the_request_has_the_published_fields():
    links = maker(EXACT, nodes=[0, LAP])
    links.add_closure(of_camera(closure(DRIFTED, LAP, 0)))
    link = only(links).link
    request = add_link_request(link, AddLink).link
    assert (request.from_id, request.to_id, request.type) == (1, LAP + 1, 4)
    t, q = request.transform.translation, request.transform.rotation
    assert [t.x, t.y, t.z] == pytest.approx(link.from_to[:3, 3])
    assert [q.x, q.y, q.z, q.w] == pytest.approx(quaternion_xyzw(link.from_to))
    assert request.information.reshape(6, 6) == pytest.approx(link.information)
    assert np.linalg.eigvalsh(link.information).min() > 0
    with pytest.raises(AttributeError, match='no field'):
        request.covariance = 1


def test_moving_covariances_agrees_with_the_mounting():
    """The chain of a closure at the nodes is that of the pose graph's exporter."""
    config = LinkConfig(odometry=EXACT.odometry, closure=ClosureNoise(0.02, 0.01))
    links = maker(config, nodes=[0, LAP])
    made = of_camera(closure(TRUTH, LAP, 0))
    links.add_closure(made)
    from vpr_ros.pose_graph.optimizer import edge_covariance

    wanted = moved_covariance(BASE_FROM_CAMERA, edge_covariance(made, config.closure))
    order = [3, 4, 5, 0, 1, 2]
    assert only(links).link.information @ wanted[np.ix_(order, order)] == pytest.approx(
        np.eye(6), abs=1e-6
    )


@pytest.mark.skipif('rtabmap_msgs' in sys.modules, reason='rtabmap_msgs is installed')
def test_without_rtabmap_msgs_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'rtabmap_msgs', None)
    with pytest.raises(RtabmapError, match=r'apt install ros-\$ROS_DISTRO-rtabmap-msgs'):
        require_rtabmap_msgs()


def test_the_stand_in_refuses_unknown_fields():
    with pytest.raises(AttributeError):
        MapData(node=[])
