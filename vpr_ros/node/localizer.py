# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node `localizer`: what runs in which thread, and when.

The executor's thread receives pictures, answers services and watches; it never works on a
picture. Two worker threads take the newest from a mailbox, describe it, look it up and publish.
"""

from __future__ import annotations

import json
import logging
import time
import traceback
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from vpr_msgs.msg import MapInfo

from vpr_ros.conversions import require_cv_bridge
from vpr_ros.errors import VprError
from vpr_ros.node.diagnostics import (
    NO_CLOCK,
    InputState,
    NodeState,
    SensorState,
    diagnostic_array,
    next_step,
)
from vpr_ros.node.engine import Engine
from vpr_ros.node.inputs import Inputs
from vpr_ros.node.live_parameters import LiveParameters
from vpr_ros.node.mailbox import Put
from vpr_ros.node.outputs import Outputs
from vpr_ros.node.services import Services
from vpr_ros.node.statistics import Statistics
from vpr_ros.node.worker import Worker
from vpr_ros.node_common.clock_jumps import on_jump_back
from vpr_ros.node_common.ros_logging import forward_to
from vpr_ros.node_common.running import run_node
from vpr_ros.online_map import MappingConfig
from vpr_ros.recognizer import RecognizerConfig

_TICK_S = 0.25
_REMINDER_S = 30.0


class Localizer(LifecycleNode):
    """Recognises pictures against a map.

    Attributes:
        engine: Model and map; None until configured.
        outputs: The topics it publishes.
    """

    def __init__(self) -> None:
        """Declare parameters, topics and services; nothing is loaded yet.

        Raises:
            ParameterError: The parameter file or the command line is wrong.
        """
        super().__init__('localizer')
        self._name = self.get_fully_qualified_name()
        self._log_handler = forward_to(self.get_logger())
        self.engine: Engine | None = None
        self._live = LiveParameters(self, check=self._check, apply=self._apply)
        self._lifecycle = 'unconfigured'
        self._enabled = True
        self._worker: Worker | None = None
        self._reminded_s: dict[str, float] = {}
        self._told_missing: set[int] = set()
        self._inputs = Inputs(self, self._live.fixed, self._on_picture)
        names = self._inputs.names
        self._statistics = Statistics(names)
        self._silences = [''] * len(names)
        self._periods_warned = [0] * len(names)
        self.outputs = Outputs(self, names)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 1)
        self._own_services = Services(self)
        self._start_timers()
        self._jump_handle = on_jump_back(self, self._on_clock_jump)

    # Lifecycle.

    def autostart(self) -> bool:
        """Configure and activate, if the parameter says so; False if that failed."""
        if not self._live.fixed.autostart:
            return True
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load model and map."""
        return self._transition('inactive', self._configure, super().on_configure, state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start to work."""
        return self._transition('active', self._activate, super().on_activate, state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and finish the picture in hand; model and map stay."""
        return self._transition('inactive', self._deactivate, super().on_deactivate, state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of model and map."""
        return self._transition('unconfigured', self._cleanup, super().on_cleanup, state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop for good, from any state."""
        return self._transition('finalized', self._cleanup, super().on_shutdown, state)

    def _transition(
        self,
        goal: str,
        step: Callable[[], None],
        then: Callable[[LifecycleState], TransitionCallbackReturn],
        state: LifecycleState,
    ) -> TransitionCallbackReturn:
        """Take a step and say how it went: rclpy drops what a transition raises, unseen."""
        problem = ''
        try:
            step()
        except (VprError, OSError) as error:
            problem = str(error)
        except Exception:
            is_stopping = not self.context.ok()  # by a signal: no publisher works any more
            problem = 'told to stop' if is_stopping else traceback.format_exc()
        if problem:
            self.get_logger().error(f'stays {self._lifecycle}, cannot become {goal}: {problem}')
            return TransitionCallbackReturn.FAILURE
        self._lifecycle = goal
        self.get_logger().info(f'{state.label} -> {goal}')
        return then(state)

    def _configure(self) -> None:
        require_cv_bridge()
        live = self._live
        self.engine = engine = Engine(live.fixed, live.recognizer, live.mapping)
        self._log_configuration(engine)
        self.announce_map(engine)
        if not len(engine.place_map) and live.fixed.mode != 'slam':
            self.get_logger().warning(
                f'no map: every picture will be rejected until {self._name}/load_map is called, '
                'or start with -p map:=DIRECTORY (launch: map:=DIRECTORY)'
            )

    def _activate(self) -> None:
        assert self.engine is not None  # held by the lifecycle: configure comes first
        self._inputs.open()
        self._worker = Worker(
            self.engine,
            self.outputs,
            self._statistics,
            inputs=self._inputs,
            age_s=self.age_s,
            logger=self.get_logger(),
            is_alive=self.context.ok,
        )
        self._statistics.restart_silence()
        topics = ', '.join(f'{image.topic} ({image.qos})' for image in self._inputs.images)
        self.get_logger().info(f'listening to {topics}')

    def _deactivate(self) -> None:
        if self._worker is not None:  # first: a thread that is left behind lets no process end
            self._worker.stop()
            self._worker = None
        self._inputs.close()

    def _cleanup(self) -> None:
        self._deactivate()
        if self.engine is not None:
            self.engine.close()
        self.engine = None

    def close(self) -> None:
        """Join the threads and let go of everything; the node is of no use afterwards."""
        self._own_services.close()  # first: a map that is being saved needs what was learnt
        self._cleanup()
        logging.getLogger('vpr_ros').removeHandler(self._log_handler)
        self.destroy_node()

    # Pictures and what services do.

    def _on_picture(self, camera: int, msg: Any) -> None:
        if not self._enabled or self._worker is None:
            self._statistics.ignored(camera)
            return
        self._statistics.arrived(camera)
        put = self._worker.mailbox.put(msg, camera, max_rate=self._live.runtime.max_rate)
        if put is Put.LIMITED:
            self._statistics.limited(camera)
        elif put is Put.BUSY:
            self._statistics.dropped(camera)

    def age_s(self, stamp_ns: int) -> float:
        """Seconds from a picture's stamp to now, by the node's clock."""
        return (self.get_clock().now().nanoseconds - stamp_ns) * 1e-9

    def enable(self, enabled: bool) -> None:
        """Let pictures in, or ignore them."""
        self._enabled = enabled
        self._statistics.restart_silence()
        self.get_logger().info('enabled' if enabled else 'disabled: pictures are ignored')

    def reset(self, cause: str) -> None:
        """Forget what depends on earlier pictures, and say why."""
        if self.engine is not None:
            self.engine.reset()
        self.outputs.forget()
        self.get_logger().warning(f'forgetting earlier pictures: {cause}')

    def announce_map(self, engine: Engine) -> MapInfo:
        """Publish and return which map is in use; what was drawn was of another."""
        self.outputs.forget()
        return self.outputs.publish_map_info(engine, self.get_clock().now().to_msg())

    # Housekeeping: on a steady clock, which goes on when a paused bag stops the ROS clock.

    def _start_timers(self) -> None:
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        fixed = self._live.fixed
        self.create_timer(_TICK_S, self._tick, clock=steady)
        self.create_timer(fixed.diagnostics_period_s, self._publish_diagnostics, clock=steady)
        self.create_timer(fixed.markers_period_s, self._publish_markers, clock=steady)

    def _tick(self) -> None:
        self._live.refresh()
        if self._lifecycle != 'active':
            step = next_step(self._lifecycle, self._name)
            self._remind(f'{self._lifecycle}: no picture is processed; {step}')
            return
        if self._clock_stands:
            self._remind(NO_CLOCK)
        self._inputs.follow_publishers()
        if self._enabled:
            self._watch_silence()
            self._watch_sensors()
        else:
            self._remind(
                f'disabled: pictures are ignored; call {self._name}/enable with data: true'
            )

    def _remind(self, text: str, key: str = '') -> None:
        """Log at most every _REMINDER_S what has this key, or text where there is none.

        (rclpy throttles lines of code, not texts.)
        """
        now_s = time.monotonic()
        if now_s - self._reminded_s.get(key or text, -_REMINDER_S) >= _REMINDER_S:
            self._reminded_s[key or text] = now_s
            self.get_logger().warning(text)

    @property
    def _clock_stands(self) -> bool:
        return self.get_clock().now().nanoseconds == 0

    def _watch_silence(self) -> None:
        for camera, image in enumerate(self._inputs.images):
            silent_s = self._statistics.silent_s(camera)
            periods = int(silent_s / self._live.fixed.input_timeout_s)
            if periods == 0:
                self._silences[camera] = ''
            elif periods > self._periods_warned[camera]:
                self._silences[camera] = image.explain_silence()
                self.get_logger().warning(
                    f'no picture on {image.topic} for {silent_s:.1f} s: {self._silences[camera]}'
                )
            self._periods_warned[camera] = periods

    def _watch_sensors(self) -> None:
        kind, text = self._inputs.odometry.view().problem
        if text and kind != 'jumped':  # that is logged when it happens
            self._remind(f'odometry {text}', f'odometry {kind}')
        for number, camera_info in enumerate(self._inputs.camera_infos):
            kind, text = camera_info.view().problem
            if kind == 'missing':  # many do without on purpose
                if number not in self._told_missing:
                    self._told_missing.add(number)
                    self.get_logger().info(f'camera_info {text}')
            elif text:
                self._remind(f'camera_info {text}', f'camera_info {number} {kind}')

    def _on_clock_jump(self, jump: Any) -> None:
        self.reset(f'the clock jumped back by {-jump.delta.nanoseconds * 1e-9:.3f} s')

    def _publish_diagnostics(self) -> None:
        if self.engine is not None:
            self._follow_growth(self.engine)
        state = NodeState(
            name=self._name,
            lifecycle=self._lifecycle,
            enabled=self._enabled,
            clock_stands=self._clock_stands,
            engine=self.engine,
            sensors=self._sensor_state() if self._lifecycle == 'active' else None,
            counts=self._statistics.snapshot(),
        )
        self._diagnostics.publish(diagnostic_array(state, self.get_clock().now().to_msg()))

    def _follow_growth(self, engine: Engine) -> None:
        """Announce the map again when it has grown, or is in another frame with the odometry."""
        said = self.outputs.map_info
        if (said.num_places, said.header.frame_id) != (len(engine.place_map), engine.map_frame_id):
            self.outputs.publish_map_info(engine, self.get_clock().now().to_msg())

    def _sensor_state(self) -> SensorState:
        return SensorState(
            images=[
                InputState(
                    topic=image.topic,
                    qos=image.qos,
                    publishers=len(image.publishers()),
                    lost=image.lost,
                    mismatches=image.mismatches,
                    silence=silence if self._enabled else '',
                )
                for image, silence in zip(self._inputs.images, self._silences, strict=True)
            ],
            camera_infos=[camera_info.view() for camera_info in self._inputs.camera_infos],
            odometry=self._inputs.odometry.view(),
        )

    def _publish_markers(self) -> None:
        if self.engine is not None:
            self.outputs.publish_markers(self.engine, self.get_clock().now().to_msg())

    # Parameters.

    def _check(self, wanted: RecognizerConfig) -> None:
        if self.engine is not None:
            self.engine.check(wanted)

    def _apply(self, wanted: RecognizerConfig, mapping: MappingConfig) -> None:
        if self.engine is not None:
            self.engine.config = wanted
            self.engine.mapping = mapping
        self.get_logger().info(
            f'now {wanted}' + (f', {mapping}' if self._live.fixed.learns else '')
        )

    def _log_configuration(self, engine: Engine) -> None:
        """Write the whole effective configuration in one record."""
        effective = {
            **self._live.values(),
            'use_sim_time': self.get_parameter('use_sim_time').value,
            'topics': [topic_input.topic for topic_input in self._inputs],
            **engine.summary(),
        }
        self.get_logger().info(f'configuration: {json.dumps(effective)}')


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to stop; returns the exit code of the process."""
    return run_node('localizer', Localizer, args, begin=Localizer.autostart)
