# SPDX-License-Identifier: Apache-2.0
"""What the node says of itself on /diagnostics; no rclpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from vpr_ros.pose_graph_node.worker import Snapshot

_MANY_REJECTED = 0.5


@dataclass(frozen=True)
class Inputs:
    """What the node sees of its topics: full names and numbers of publishers and messages."""

    odom_topic: str
    odom_publishers: int
    odom_received: int
    closure_topic: str
    closure_publishers: int
    closures_received: int


def diagnostic_array(
    name: str, inputs: Inputs, snapshot: Snapshot, stamp: Time
) -> DiagnosticArray:
    """Make /diagnostics: input and graph."""
    return DiagnosticArray(
        header=Header(stamp=stamp),
        status=[_input(name, inputs, snapshot), _graph(name, snapshot)],
    )


def _status(
    name: str, task: str, level: bytes, message: str, values: dict[str, Any]
) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=level,
        name=f'{name.lstrip("/")}: {task}',
        message=message,
        hardware_id='vpr_ros',
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )


def _input(name: str, inputs: Inputs, snapshot: Snapshot) -> DiagnosticStatus:
    values = {
        'odometry topic': inputs.odom_topic,
        'odometry publishers': inputs.odom_publishers,
        'odometry received': inputs.odom_received,
        'odometry left out, no pose': snapshot.num_bad,
        'odometry left out, overtaken': snapshot.num_late,
        'odometry jumps': snapshot.num_jumps,
        'closure topic': inputs.closure_topic,
        'closure publishers': inputs.closure_publishers,
        'closures received': inputs.closures_received,
    }
    if inputs.odom_received == 0:
        who = 'nobody publishes it' if inputs.odom_publishers == 0 else 'nothing has come yet'
        message = f'no odometry on {inputs.odom_topic}: {who}; remap with -r odom:=TOPIC'
        return _status(name, 'input', DiagnosticStatus.ERROR, message, values)
    if snapshot.num_bad or snapshot.num_jumps:
        message = f'{snapshot.num_bad} odometry poses that are none, {snapshot.num_jumps} jumps'
        return _status(name, 'input', DiagnosticStatus.WARN, message, values)
    if inputs.closures_received == 0:
        message = f'no loop closure on {inputs.closure_topic} yet'
        if inputs.closure_publishers == 0:
            message += ': nobody publishes it; is the localizer running?'
        return _status(name, 'input', DiagnosticStatus.WARN, message, values)
    return _status(name, 'input', DiagnosticStatus.OK, 'odometry and closures arrive', values)


def _graph(name: str, snapshot: Snapshot) -> DiagnosticStatus:
    outcomes = snapshot.outcomes
    accepted, rejected = outcomes.get('accepted', 0), outcomes.get('rejected', 0)
    nodes = 0 if snapshot.trajectory is None else len(snapshot.trajectory)
    values = {
        'nodes': nodes,
        'accepted': accepted,
        'rejected': rejected,
        'redundant': outcomes.get('redundant', 0),
        'waiting for odometry': outcomes.get('waiting', 0),
        **{key: n for key, n in sorted(outcomes.items()) if key.startswith('rejected ')},
        **{f'not used, {why}': n for why, n in sorted(snapshot.refused.items())},
        'last rejection': snapshot.last_rejection,
        'resets': snapshot.num_resets,
        'seconds of the last update': f'{snapshot.update_s:.3f}',
    }
    if snapshot.failure:
        return _status(name, 'graph', DiagnosticStatus.ERROR, snapshot.failure, values)
    if rejected and rejected > _MANY_REJECTED * (accepted + rejected):
        message = (
            f'{rejected} of {accepted + rejected} closures rejected: {snapshot.last_rejection}'
        )
        return _status(name, 'graph', DiagnosticStatus.WARN, message, values)
    message = f'{nodes} nodes, {accepted} closures accepted, {rejected} rejected'
    return _status(name, 'graph', DiagnosticStatus.OK, message, values)
