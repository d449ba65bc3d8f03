# SPDX-License-Identifier: Apache-2.0
"""The lifecycle node `localizer`: what runs in which thread, and when.

The executor's thread receives pictures, answers services and watches; it never works on a
picture. One worker thread takes the newest picture from a mailbox and publishes the answer.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from vpr_msgs.msg import MapInfo

from vpr_ros import conversions
from vpr_ros.errors import EncodingError, VprError
from vpr_ros.node import parameters
from vpr_ros.node.diagnostics import InputState, NodeState, diagnostic_array, next_step
from vpr_ros.node.engine import Answer, Engine
from vpr_ros.node.image_input import ImageInput
from vpr_ros.node.mailbox import Mailbox, RateLimiter
from vpr_ros.node.outputs import Outputs
from vpr_ros.node.parameters import NodeConfig, ParameterError, RuntimeConfig, config_of
from vpr_ros.node.ros_logging import forward_to
from vpr_ros.node.services import Services
from vpr_ros.node.statistics import Statistics
from vpr_ros.recognizer import RecognizerConfig, Status

_TICK_S = 0.25
_THROTTLE_S = 5.0
_REMINDER_S = 30.0
_CONVERT = {
    'raw': conversions.rgb_from_image,
    'compressed': conversions.rgb_from_compressed,
}


class Localizer(LifecycleNode):
    """Recognises pictures against a map.

    Attributes:
        config: What is fixed while the node runs.
        engine: Model and map; None until configured.
        outputs: The topics it publishes.
    """

    def __init__(self) -> None:
        """Declare parameters, topics and services; nothing is loaded yet.

        Raises:
            ParameterError: The parameter file or the command line is wrong.
        """
        super().__init__('localizer')
        self._log_handler = forward_to(self.get_logger())
        values = self._declare_parameters()
        self.config: NodeConfig = config_of(NodeConfig, values)
        self._runtime: RuntimeConfig = config_of(RuntimeConfig, values)
        self.engine: Engine | None = None
        self._lifecycle = 'unconfigured'
        self._enabled = True
        self._statistics = Statistics()
        self._limiter = RateLimiter()
        self._mailbox: Mailbox[Any] = Mailbox()
        self._worker: threading.Thread | None = None
        self._silence = ''
        self._periods_warned = 0
        self._input = ImageInput(self, self.config, self._on_picture)
        self.outputs = Outputs(self, self.config.camera)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 1)
        self._own_services = Services(self)
        self._start_timers()
        self._jump_handle = self.get_clock().create_jump_callback(
            JumpThreshold(
                min_forward=None, min_backward=Duration(seconds=-0.1), on_clock_change=False
            ),
            post_callback=self._on_clock_jump,
        )

    # Lifecycle: rclpy swallows exceptions in transitions, so each is wrapped.

    def autostart(self) -> bool:
        """Configure and activate, if the parameter says so; False if that failed."""
        if not self.config.autostart:
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
        try:
            step()
        except (VprError, OSError) as error:
            self.get_logger().error(f'stays {self._lifecycle}, cannot become {goal}: {error}')
            return TransitionCallbackReturn.FAILURE
        except Exception:  # rclpy would drop it unseen
            text = traceback.format_exc()
            self.get_logger().error(f'stays {self._lifecycle}, cannot become {goal}:\n{text}')
            return TransitionCallbackReturn.FAILURE
        self._lifecycle = goal
        self.get_logger().info(f'{state.label} -> {goal}')
        return then(state)

    def _configure(self) -> None:
        conversions.require_cv_bridge()
        engine = Engine(self.config, config_of(RecognizerConfig, self._parameter_values()))
        self.engine = engine
        self._log_configuration(engine)
        self.announce_map(engine)
        if not len(engine.place_map):
            self.get_logger().warning(
                f'no map: every picture will be rejected until {self.get_name()}/load_map is '
                'called, or start with -p map:=DIRECTORY (launch: map:=DIRECTORY)'
            )

    def _activate(self) -> None:
        self._mailbox = Mailbox()
        arguments = (self._mailbox, self.engine)
        self._worker = threading.Thread(target=self._work, args=arguments, name='worker')
        self._worker.start()
        self._statistics.restart_silence()
        self._input.open()
        self.get_logger().info(f'listening to {self._input.topic} ({self._input.qos})')

    def _deactivate(self) -> None:
        self._input.close()
        self._mailbox.close()
        if self._worker is not None:
            self._worker.join()
            self._worker = None

    def _cleanup(self) -> None:
        self._deactivate()
        self.engine = None

    def close(self) -> None:
        """Join the threads and let go of everything; the node is of no use afterwards."""
        self._cleanup()
        self._own_services.close()
        logging.getLogger('vpr_ros').removeHandler(self._log_handler)
        self.destroy_node()

    # Pictures: received in the executor's thread, worked on in the worker's.

    def _on_picture(self, msg: Any) -> None:
        if not self._enabled:
            self._statistics.ignored()
            return
        self._statistics.arrived()
        if not self._limiter.admits(time.monotonic(), self._runtime.max_rate):
            self._statistics.limited()
        elif self._mailbox.put(msg):
            self._statistics.dropped()

    def _work(self, mailbox: Mailbox[Any], engine: Engine) -> None:
        while (msg := mailbox.take()) is not None:
            try:
                self._answer(msg, engine)
            except EncodingError as error:
                self._statistics.refused(getattr(msg, 'encoding', None) or msg.format, str(error))
                self.get_logger().error(str(error), throttle_duration_sec=_THROTTLE_S)
            except Exception:  # the edge of a thread: a fault must be seen and not end it
                if not self.context.ok():
                    return  # shut down between taking the picture and publishing
                text = traceback.format_exc()
                self._statistics.failed(text.splitlines()[-1])
                self.get_logger().error(
                    f'picture not processed:\n{text}', throttle_duration_sec=_THROTTLE_S
                )

    def _answer(self, msg: Any, engine: Engine) -> None:
        start_s = time.perf_counter()
        rgb = _CONVERT[self.config.image_transport](msg)
        encoding = getattr(msg, 'encoding', None) or msg.format
        self._statistics.decoded(encoding, f'{rgb.shape[1]}x{rgb.shape[0]}')
        stamp_ns = conversions.stamp_ns_from_msg(msg.header.stamp)
        answer = engine.process(rgb, stamp_ns)
        age_s = self.age_s(stamp_ns)
        self.outputs.publish_answer(answer, msg.header, rgb, age_s=age_s)
        self._statistics.answered(answer.recognition, time.perf_counter() - start_s, age_s)
        self._explain(answer)

    def age_s(self, stamp_ns: int) -> float:
        """Seconds from a picture's stamp to now, by the node's clock."""
        return (self.get_clock().now().nanoseconds - stamp_ns) * 1e-9

    def _explain(self, answer: Answer) -> None:
        found = answer.recognition
        if found.status is not Status.REJECTED:
            return
        if found.reason.startswith('below_threshold'):  # usual where the robot has not been
            self.get_logger().info(found.reason, throttle_duration_sec=_THROTTLE_S)
        else:
            self.get_logger().warning(found.reason, throttle_duration_sec=_THROTTLE_S)

    # What services do to the node.

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
        """Publish and return which map is in use."""
        return self.outputs.publish_map_info(engine, self.get_clock().now().to_msg())

    # Housekeeping: on a steady clock, which goes on when a paused bag stops the ROS clock.

    def _start_timers(self) -> None:
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        for period_s, callback in (
            (_TICK_S, self._tick),
            (self.config.diagnostics_period_s, self._publish_diagnostics),
            (self.config.markers_period_s, self._publish_markers),
        ):
            self.create_timer(period_s, callback, clock=steady)

    def _tick(self) -> None:
        self._apply_parameters()
        if self._lifecycle != 'active':
            step = next_step(self._lifecycle, self.get_fully_qualified_name())
            self.get_logger().warning(
                f'{self._lifecycle}: no picture is processed; run `{step}`',
                throttle_duration_sec=_REMINDER_S,
            )
            return
        self._input.follow_publishers()
        if self._enabled:
            self._watch_silence()
        else:
            self.get_logger().warning(
                f'disabled: pictures are ignored; call {self.get_name()}/enable with data: true',
                throttle_duration_sec=_REMINDER_S,
            )

    def _watch_silence(self) -> None:
        silent_s = self._statistics.silent_s()
        periods = int(silent_s / self.config.input_timeout_s)
        if periods == 0:
            self._silence = ''
        elif periods > self._periods_warned or not self._silence:
            self._silence = self._input.explain_silence()
            self.get_logger().warning(
                f'no picture on {self._input.topic} for {silent_s:.1f} s: {self._silence}'
            )
        self._periods_warned = periods

    def _on_clock_jump(self, jump: Any) -> None:
        self.reset(f'the clock jumped back by {-jump.delta.nanoseconds * 1e-9:.3f} s')

    def _publish_diagnostics(self) -> None:
        state = NodeState(
            name=self.get_fully_qualified_name(),
            lifecycle=self._lifecycle,
            enabled=self._enabled,
            engine=self.engine,
            input=self._input_state() if self._lifecycle == 'active' else None,
            counts=self._statistics.snapshot(),
        )
        self._diagnostics.publish(diagnostic_array(state, self.get_clock().now().to_msg()))

    def _input_state(self) -> InputState:
        return InputState(
            topic=self._input.topic,
            qos=self._input.qos,
            publishers=len(self._input.publishers()),
            lost=self._input.lost,
            mismatches=self._input.mismatches,
            silence=self._silence if self._enabled else '',
        )

    def _publish_markers(self) -> None:
        if self.engine is not None:
            self.outputs.publish_markers(self.engine, self.get_clock().now().to_msg())

    # Parameters.

    def _declare_parameters(self) -> dict[str, Any]:
        # rclpy ignores names that nobody declares; its C++ sister has a public way to ask for
        # what the user gave, rclpy only this attribute (in every supported version).
        given = {
            name: parameter.value
            for name, parameter in self._parameter_overrides.items()
            if not (self.has_parameter(name) or name.startswith('qos_overrides.'))
        }
        values = parameters.resolve(given)
        for name, value in values.items():
            descriptor = parameters.PARAMETERS[name].descriptor()
            # The value is checked and converted already: a whole number given for a real one.
            self.declare_parameter(name, value, descriptor, ignore_override=True)
        self.add_on_set_parameters_callback(self._check_parameters)
        if hasattr(self, 'add_post_set_parameters_callback'):  # not in Humble: there the tick does
            self.add_post_set_parameters_callback(lambda _: self._apply_parameters())
        return values

    def _parameter_values(self) -> dict[str, Any]:
        return {name: self.get_parameter(name).value for name in parameters.PARAMETERS}

    def _check_parameters(self, changes: list[Any]) -> SetParametersResult:
        values = self._parameter_values() | {p.name: p.value for p in changes}
        try:
            wanted = config_of(RecognizerConfig, values)
            config_of(RuntimeConfig, values)
            if self.engine is not None:
                self.engine.check(wanted)
        except (ValueError, VprError) as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply_parameters(self) -> None:
        values = self._parameter_values()
        self._runtime = config_of(RuntimeConfig, values)
        wanted = config_of(RecognizerConfig, values)
        if self.engine is not None and self.engine.config != wanted:
            self.engine.config = wanted
            self.get_logger().info(f'now {wanted}')

    def _log_configuration(self, engine: Engine) -> None:
        """Write the whole effective configuration in one record."""
        extractor = engine.extractor
        effective = {
            **self._parameter_values(),
            'image topic': self._input.topic,
            'model file': str(extractor.info.path),
            'model name': extractor.info.name,
            'model sha256': extractor.info.sha256,
            'provider': f'{extractor.provider} ({extractor.provider_reason})',
            'min_similarity in force': engine.min_similarity,
            'map url': engine.place_map.url,
            'map places': len(engine.place_map),
            'map frame': engine.map_frame_id,
            'use_sim_time': self.get_parameter('use_sim_time').value,
        }
        self.get_logger().info(f'configuration: {json.dumps(effective)}')


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to stop; returns the exit code of the process."""
    rclpy.init(args=args)
    node: Localizer | None = None
    try:
        node = Localizer()
        if not node.autostart():
            return 1
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except ParameterError as error:
        get_logger('localizer').fatal(str(error))
        return 1
    except Exception:
        if rclpy.ok():
            raise
        # A signal invalidates rclpy's context at once, in the middle of whatever it does.
    finally:
        if node is not None:
            node.close()
        rclpy.try_shutdown()
    return 0
