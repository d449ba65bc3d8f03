# SPDX-License-Identifier: Apache-2.0
"""What the node says of itself on /diagnostics; no rclpy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from vpr_ros.node.engine import Engine
from vpr_ros.node.statistics import Snapshot
from vpr_ros.recognizer import Status

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
NO_CLOCK = 'use_sim_time is set and nothing comes on /clock: play the bag with --clock'
_ODD_AGE_S = 10.0  # older or younger than this, stamps and clock do not belong together


@dataclass(frozen=True)
class InputState:
    """What is known about the picture topic.

    Attributes:
        topic: Full name of the topic.
        qos: `reliable` or `best effort`.
        publishers: How many publish on it.
        lost: Pictures lost on the way.
        mismatches: Publishers with a QoS that does not fit.
        silence: Why no picture arrives, '' while pictures arrive.
    """

    topic: str
    qos: str
    publishers: int
    lost: int
    mismatches: int
    silence: str


@dataclass(frozen=True)
class NodeState:
    """What the four statuses are made from.

    Attributes:
        name: Full name of the node.
        lifecycle: `unconfigured`, `inactive`, `active` or `finalized`.
        enabled: Whether ~/enable lets pictures in.
        clock_stands: Whether simulated time was asked for and no /clock has come.
        engine: Model and map; None before they are loaded.
        input: The picture topic; None while there is no subscription.
        counts: What happened to the pictures.
    """

    name: str
    lifecycle: str
    enabled: bool
    clock_stands: bool
    engine: Engine | None
    input: InputState | None
    counts: Snapshot


def diagnostic_array(state: NodeState, stamp: Time) -> DiagnosticArray:
    """Make /diagnostics: input, inference, map and localization."""
    return DiagnosticArray(
        header=Header(stamp=stamp),
        status=[make(state) for make in (_input, _inference, _map, _localization)],
    )


def _status(
    state: NodeState, task: str, level: bytes, message: str, values: Mapping[str, Any]
) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=level,
        name=f'{state.name.lstrip("/")}: {task}',
        message=message,
        hardware_id='vpr_ros',
        values=[KeyValue(key=key, value=_text(value)) for key, value in values.items()],
    )


def _text(value: Any) -> str:
    if isinstance(value, float):
        return 'unknown' if math.isnan(value) else f'{value:.4g}'
    return str(value)


def _idle(state: NodeState) -> str:
    """Why no picture is let in at all, '' if pictures are."""
    if state.lifecycle != 'active':
        return f'{state.lifecycle}: {next_step(state.lifecycle, state.name)}'
    return '' if state.enabled else f'disabled: call {state.name}/enable with data: true'


def next_step(lifecycle: str, node: str) -> str:
    """Return what brings the node nearer to work."""
    if lifecycle == 'finalized':
        return 'start the node again'
    transition = 'configure' if lifecycle == 'unconfigured' else 'activate'
    return f'run `ros2 lifecycle set {node} {transition}`'


def _input(state: NodeState) -> DiagnosticStatus:
    counts = state.counts
    values: dict[str, Any] = {
        'received': counts.received,
        'dropped, a newer one came': counts.dropped,
        'skipped, max_rate': counts.limited,
        'ignored, disabled': counts.ignored,
        'refused': counts.refused,
        'pictures per second': counts.rate_in,
        'seconds since the last': counts.silent_s,
        'encoding': counts.encoding,
        'size': counts.size,
    }
    if state.input is not None:
        values |= {
            'topic': state.input.topic,
            'QoS': state.input.qos,
            'publishers': state.input.publishers,
            'lost on the way': state.input.lost,
            'publishers with incompatible QoS': state.input.mismatches,
        }
    level, message = _input_level(state)
    return _status(state, 'input', level, message, values)


def _input_level(state: NodeState) -> tuple[bytes, str]:
    counts = state.counts
    if idle := _idle(state):
        return WARN, idle
    if state.input is not None and state.input.silence:
        return ERROR, f'no picture: {state.input.silence}'
    if counts.refusal:
        return ERROR, counts.refusal
    if state.clock_stands:
        return WARN, NO_CLOCK
    if abs(counts.age_s) > _ODD_AGE_S:
        return WARN, (
            f'picture stamps are {counts.age_s:.1f} s behind the clock: synchronise the clocks, '
            'or set use_sim_time when a bag is played with --clock'
        )
    return OK, f'{counts.rate_in:.1f} pictures per second'


def _inference(state: NodeState) -> DiagnosticStatus:
    counts = state.counts
    values: dict[str, Any] = {
        'processed': counts.processed,
        'failed': counts.failed,
        'pictures per second': counts.rate_out,
        'ms per picture p50': counts.process_ms[0],
        'ms per picture p95': counts.process_ms[1],
        **{f'ms {stage}': value for stage, value in counts.stages_ms.items()},
    }
    if state.engine is None:
        return _status(state, 'inference', WARN, _idle(state), values)
    extractor = state.engine.extractor
    values |= {
        'provider': extractor.provider,
        'why': extractor.provider_reason,
        'model': extractor.info.name,
        'model file': extractor.info.path,
        'model sha256': extractor.info.sha256,
        'descriptor size': extractor.info.descriptor_size,
    }
    if counts.failure:
        return _status(state, 'inference', ERROR, counts.failure, values)
    message = f'{extractor.info.name} on {extractor.provider}'
    return _status(state, 'inference', OK, message, values)


def _map(state: NodeState) -> DiagnosticStatus:
    if state.engine is None:
        return _status(state, 'map', WARN, _idle(state), {})
    place_map = state.engine.place_map
    num_positions = int(np.isfinite(place_map.places['position']).all(axis=1).sum())
    values = {
        'url': place_map.url,
        'places': len(place_map),
        'frame': state.engine.map_frame_id,
        'places with a position': num_positions,
        'spacing m': place_map.spacing_m,
        'created': place_map.created,
        'model sha256': place_map.model.sha256,
    }
    if len(place_map) == 0:
        message = f'the map is empty: start with map:=DIRECTORY or call {state.name}/load_map'
        return _status(state, 'map', ERROR, message, values)
    if num_positions < len(place_map):
        message = (
            f'{len(place_map) - num_positions} of {len(place_map)} places without a position: '
            '~/pose is not published for them'
        )
        return _status(state, 'map', WARN, message, values)
    return _status(state, 'map', OK, f'{len(place_map)} places', values)


def _localization(state: NodeState) -> DiagnosticStatus:
    counts, last = state.counts, state.counts.last
    values: dict[str, Any] = {
        'age s': counts.age_s,
        **{f'count {reason}': n for reason, n in sorted(counts.reasons.items())},
    }
    if state.engine is not None:
        values['min_similarity'] = repr(
            float(state.engine.min_similarity)
        )  # in full: it is judged
    if last is not None:
        values |= {
            'last status': last.status.name,
            'last reason': last.reason,
            'last similarity': last.matches[0].similarity if last.matches else math.nan,
        }
    if idle := _idle(state):
        return _status(state, 'localization', WARN, idle, values)
    if last is None:
        return _status(state, 'localization', WARN, 'no picture was processed yet', values)
    if last.status is Status.REJECTED:
        return _status(state, 'localization', WARN, last.reason, values)
    place = f'place {last.matches[0].place_id}, similarity {last.matches[0].similarity:.3f}'
    return _status(state, 'localization', OK, place, values)
