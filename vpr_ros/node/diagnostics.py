# SPDX-License-Identifier: Apache-2.0
"""What the node says of itself on /diagnostics; no rclpy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from vpr_ros.node.engine import Engine
from vpr_ros.node.sensor_state import CameraInfoView, OdometryView
from vpr_ros.node.statistics import CameraCounts, Snapshot
from vpr_ros.recognizer import Status
from vpr_ros.revisits import USUAL_REASONS

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
NO_CLOCK = 'use_sim_time is set and nothing comes on /clock: play the bag with --clock'
_ODD_AGE_S = 10.0  # older or younger than this, stamps and clock do not belong together


@dataclass(frozen=True)
class InputState:
    """What is known about a camera's picture topic.

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
class SensorState:
    """What is known while the node is subscribed.

    Attributes:
        images: The picture topic of each camera.
        camera_infos: The intrinsics of each camera.
        odometry: Of the body.
    """

    images: Sequence[InputState]
    camera_infos: Sequence[CameraInfoView]
    odometry: OdometryView


@dataclass(frozen=True)
class NodeState:
    """What the statuses are made from.

    Attributes:
        name: Full name of the node.
        lifecycle: `unconfigured`, `inactive`, `active` or `finalized`.
        enabled: Whether ~/enable lets pictures in.
        clock_stands: Whether simulated time was asked for and no /clock has come.
        engine: Model and map; None before they are loaded.
        sensors: What the node subscribes to; None while it does not.
        counts: What happened to the pictures.
    """

    name: str
    lifecycle: str
    enabled: bool
    clock_stands: bool
    engine: Engine | None
    sensors: SensorState | None
    counts: Snapshot


def diagnostic_array(state: NodeState, stamp: Time) -> DiagnosticArray:
    """Make /diagnostics: input, odometry, camera_info, inference, map and localization."""
    makers = (_input, _odometry, _camera_info, _inference, _map, _localization)
    return DiagnosticArray(header=Header(stamp=stamp), status=[make(state) for make in makers])


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
        **{text: counts.total(count) for count, text in _COUNTS.items()},
        'pictures per second': counts.rate_in,
        'seconds since the last': counts.silent_s,
    }
    for number, camera in enumerate(counts.cameras):
        own: dict[str, Any] = {'encoding': camera.encoding, 'size': camera.size}
        if state.sensors is not None:
            own |= _topic_values(state.sensors.images[number])
        if len(counts.cameras) > 1:
            own |= {text: getattr(camera, count) for count, text in _COUNTS.items()}
            own['processed'] = camera.processed
            own['pictures per second'] = camera.rate_in
            own['seconds since the last'] = camera.silent_s
        values |= _named(camera.name if len(counts.cameras) > 1 else '', own)
    level, message = _input_level(state)
    return _status(state, 'input', level, message, values)


_COUNTS = {
    'received': 'received',
    'dropped': 'dropped, a newer one came',
    'limited': 'skipped, max_rate',
    'ignored': 'ignored, disabled',
    'refused': 'refused',
}


def _topic_values(state: InputState) -> dict[str, Any]:
    return {
        'topic': state.topic,
        'QoS': state.qos,
        'publishers': state.publishers,
        'lost on the way': state.lost,
        'publishers with incompatible QoS': state.mismatches,
    }


def _named(camera: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Put the camera before each key, where there are several."""
    return {f'{camera} {key}' if camera else key: value for key, value in values.items()}


def _input_level(state: NodeState) -> tuple[bytes, str]:
    counts = state.counts
    if idle := _idle(state):
        return WARN, idle
    if silence := _silence(state):
        return silence
    if refusals := _of_cameras(counts.cameras, [camera.refusal for camera in counts.cameras]):
        return ERROR, refusals
    if state.clock_stands:
        return WARN, NO_CLOCK
    if abs(counts.age_s) > _ODD_AGE_S:
        return WARN, (
            f'picture stamps are {counts.age_s:.1f} s behind the clock: synchronise the clocks, '
            'or set use_sim_time when a bag is played with --clock'
        )
    return OK, f'{counts.rate_in:.1f} pictures per second'


def _silence(state: NodeState) -> tuple[bytes, str] | None:
    """What to say of cameras that send nothing: a warning while another one does."""
    if state.sensors is None:
        return None
    silences = [image.silence for image in state.sensors.images]
    if not any(silences):
        return None
    text = _of_cameras(state.counts.cameras, [s and f'no picture: {s}' for s in silences])
    return (ERROR if all(silences) else WARN), text


def _of_cameras(cameras: Sequence[CameraCounts], texts: Sequence[str]) -> str:
    """Join what is said of each camera, with its name where there are several."""
    return '; '.join(
        f'{camera.name}: {text}' if len(cameras) > 1 else text
        for camera, text in zip(cameras, texts, strict=True)
        if text
    )


def _odometry(state: NodeState) -> DiagnosticStatus:
    if state.sensors is None:
        return _status(state, 'odometry', WARN, _idle(state), {})
    odometry = state.sensors.odometry
    _, problem = odometry.problem
    level, message = (WARN, problem) if problem else (OK, odometry.summary)
    return _status(state, 'odometry', level, message, odometry.values)


def _camera_info(state: NodeState) -> DiagnosticStatus:
    if state.sensors is None:
        return _status(state, 'camera_info', WARN, _idle(state), {})
    views = state.sensors.camera_infos
    problems = [view.problem[1] for view in views]
    values: dict[str, Any] = {}
    for view in views:
        values |= _named(view.camera if len(views) > 1 else '', view.values)
    if text := _of_cameras(state.counts.cameras, problems):
        return _status(state, 'camera_info', WARN, text, values)
    known = sum(bool(view.received) for view in views)
    return _status(state, 'camera_info', OK, f'{known} of {len(views)} cameras', values)


def _inference(state: NodeState) -> DiagnosticStatus:
    counts = state.counts
    values: dict[str, Any] = {
        'processed': counts.total('processed'),
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
    values = {
        'url': place_map.url,
        'places': len(place_map),
        'frame': state.engine.map_frame_id,
        'places with a position': place_map.num_positions,
        'places learnt': state.engine.num_learnt,
        'spacing m': place_map.spacing_m,
        'created': place_map.created,
        'model sha256': place_map.model.sha256,
    }
    if problem := state.engine.frame_clash or state.engine.learning_problem:
        return _status(state, 'map', ERROR, problem, values)
    if state.engine.mode == 'slam':
        message = f'{state.engine.num_learnt} places learnt, {len(place_map)} to be recognised'
        return _status(state, 'map', OK, message, values)
    if len(place_map) == 0:
        message = f'the map is empty: start with map:=DIRECTORY or call {state.name}/load_map'
        return _status(state, 'map', ERROR, message, values)
    if not place_map.has_poses:
        num_unknown = len(place_map) - place_map.num_positions
        message = (
            f'{num_unknown} of {len(place_map)} places without a position: ~/pose is not '
            'published for them'
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
        explores = state.engine is not None and state.engine.mode == 'slam'
        usual = explores and last.reason.startswith(USUAL_REASONS)
        return _status(state, 'localization', OK if usual else WARN, last.reason, values)
    place = f'place {last.matches[0].place_id}, similarity {last.matches[0].similarity:.3f}'
    return _status(state, 'localization', OK, place, values)
