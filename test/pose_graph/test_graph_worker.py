# SPDX-License-Identifier: Apache-2.0
"""The thread that owns the pose graph: what it does when something fails, and how it stops."""

import threading
import time

import pytest

pytest.importorskip('nav_msgs.msg')
pytest.importorskip('vpr_msgs.msg')
pytest.importorskip('gtsam', reason='pip install -r requirements/slam.txt')

from pose_graph.drive_messages import closure_msg, odometry_msg
from pose_graph.drives import closure, square

from vpr_ros.errors import PoseGraphError
from vpr_ros.pose_graph.graph import PoseGraph
from vpr_ros.pose_graph_node import worker as worker_module
from vpr_ros.pose_graph_node.parameters import NodeConfig
from vpr_ros.pose_graph_node.worker import GraphWorker

TRUTH = square()
LAP = len(TRUTH) // 2


def wait_until(condition, what):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@pytest.fixture
def started():
    """Start a worker; what it publishes and warns of is dropped unless given."""
    workers = []

    def start(*, period_s=0.01, **given):
        calls = {
            'on_update': lambda _: None,
            'on_decision': lambda *_: None,
            'warn': lambda _: None,
            **given,
        }
        workers.append(GraphWorker(NodeConfig(update_period_s=period_s), **calls))
        return workers[-1]

    yield start
    for worker in workers:
        worker.stop()


def drive(worker):
    for i in range(len(TRUTH)):
        worker.put(odometry_msg(TRUTH, i))


def fail(*_):
    raise RuntimeError('indeterminate linear system')


@pytest.mark.parametrize('where', ['update', 'settle'])
def test_what_gtsam_raises_reaches_who_asked_to_save(started, tmp_path, monkeypatch, where):
    warnings = []
    worker = started(warn=warnings.append)
    drive(worker)
    wait_until(lambda: worker.snapshot.trajectory is not None, 'nodes')
    with monkeypatch.context() as patch:
        patch.setattr(PoseGraph, where, fail)
        with pytest.raises(PoseGraphError, match=r'failed and begins anew.*indeterminate linear'):
            worker.save(str(tmp_path / 'run'))
    wait_until(lambda: worker.snapshot.failure, 'the failure in the snapshot')
    assert any('Traceback' in text for text in warnings)
    assert worker.save(str(tmp_path / 'run')).startswith('0 nodes')  # it began anew, and lives


def test_a_disk_that_fails_costs_nothing_of_the_graph(started, tmp_path):
    (tmp_path / 'parent').write_text('in the way')
    worker = started()
    drive(worker)
    with pytest.raises(OSError, match='parent'):
        worker.save(str(tmp_path / 'parent' / 'run'))
    wait_until(lambda: worker.snapshot.trajectory is not None, 'nodes')
    assert worker.snapshot.num_resets == 0


def test_publishing_that_fails_costs_nothing_of_the_graph(started):
    worker = started(on_update=fail, on_decision=fail)
    drive(worker)
    worker.put(closure_msg(closure(TRUTH, LAP, 0)))
    wait_until(lambda: worker.snapshot.outcomes.get('accepted'), 'the closure')
    worker.put(odometry_msg(TRUTH, len(TRUTH) - 1))
    wait_until(lambda: worker.snapshot.num_late, 'the next update')
    assert worker.snapshot.outcomes['accepted'] == 1
    assert worker.snapshot.num_resets == 0
    assert worker.snapshot.failure.startswith('the pose graph cannot publish: RuntimeError')


def test_a_failure_is_seen_for_some_seconds(started, monkeypatch):
    worker = started()
    with monkeypatch.context() as patch:
        patch.setattr(PoseGraph, 'update', fail)
        worker.put(odometry_msg(TRUTH, 0))
        wait_until(lambda: worker.snapshot.failure, 'the failure')
    assert worker.snapshot.num_resets == 1
    drive(worker)
    wait_until(lambda: worker.snapshot.trajectory is not None, 'the next update')
    assert 'indeterminate linear system' in worker.snapshot.failure
    monkeypatch.setattr(worker_module, '_FAILURE_SHOWN_S', 0.0)
    worker.put(odometry_msg(TRUTH, 0))
    wait_until(lambda: not worker.snapshot.failure, 'the end of the failure')


def test_who_stops_or_asks_while_it_works_need_not_wait_for_the_next_period(started, tmp_path):
    begun, go_on = threading.Event(), threading.Event()

    def work(_):
        begun.set()
        assert go_on.wait(20)

    worker = started(period_s=60.0, on_update=work)
    answers = []
    askers = [
        threading.Thread(target=lambda: answers.append(worker.save(str(tmp_path / 'run'))))
        for _ in range(2)
    ]
    start = time.monotonic()
    askers[0].start()
    assert begun.wait(20)
    askers[1].start()
    wait_until(lambda: worker._inbox, 'the second question')
    begun.clear()
    go_on.set()
    for asker in askers:
        asker.join(20)
    assert len(answers) == 2
    assert begun.wait(20)
    worker.stop()
    assert time.monotonic() - start < 30
    with pytest.raises(PoseGraphError, match='the node stops'):
        worker.save(str(tmp_path / 'run'))


def test_a_question_that_waits_is_answered_when_the_node_stops(started, tmp_path):
    begun, go_on, errors = threading.Event(), threading.Event(), []

    def work(_):
        begun.set()
        assert go_on.wait(20)

    def ask():
        with pytest.raises(PoseGraphError, match='the node stops') as caught:
            worker.save(str(tmp_path / 'run'))
        errors.append(caught)

    worker = started(on_update=work)
    worker.put(odometry_msg(TRUTH, 0))
    assert begun.wait(20)
    asker, stopper = threading.Thread(target=ask), threading.Thread(target=worker.stop)
    asker.start()
    wait_until(lambda: worker._inbox, 'the question')
    stopper.start()
    wait_until(lambda: worker._stopped, 'the order to stop')
    go_on.set()
    for thread in (asker, stopper):
        thread.join(20)
    assert len(errors) == 1
