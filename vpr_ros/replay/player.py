# SPDX-License-Identifier: Apache-2.0
"""Publish a recording at its own pace, with its own stamps or those of the present.

A picture waits decoded before its time comes, so that the pace is that of the recording. With
`clock_hz`, /clock says where in the recording it is: many times a second, and right before each
message, so that no stamp lies in the future of a node that uses it.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image

from vpr_ros.conversions import stamp_msg_from_ns, stamp_ns_from_msg
from vpr_ros.prefetch import Prefetcher
from vpr_ros.replay.recording import Event, Recording, headers
from vpr_ros.replay.timeline import Timeline

# Messages kept for a slow subscriber: of pictures, more would only be older and take memory.
PICTURE_DEPTH, DEPTH = 5, 100
_AHEAD = 4  # events decoded before their time


@dataclass(frozen=True)
class Sent:
    """A picture that was published.

    Attributes:
        picture: Its number in the source.
        name: Its name there.
        recorded_ns: Its stamp there, nanoseconds.
        stamp_ns: The stamp it carried.
        monotonic_s: When it was handed to DDS, `time.monotonic`.
        late_s: How long after its time.
    """

    picture: int
    name: str
    recorded_ns: int
    stamp_ns: int
    monotonic_s: float
    late_s: float


@dataclass
class Replay:
    """What a replay did.

    Attributes:
        sent: The pictures, in order.
        others: Messages of other topics.
        rounds: How often the recording was played to its end.
        seconds: Duration, pauses included.
    """

    sent: list[Sent] = field(default_factory=list)
    others: int = 0
    rounds: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Pace:
    """How a recording is played.

    Attributes:
        rate: Speed, 1 is real time.
        clock_hz: Messages a second on /clock, by real time; None: no /clock.
        restamp: Move all stamps in headers to the present as the messages themselves are: by one
            offset at rate 1, so that equal stamps stay equal; otherwise they stay as the recording
            has them.
        paused: Wait for somebody to resume before the first message.
    """

    rate: float = 1.0
    clock_hz: float | None = None
    restamp: bool = False
    paused: bool = False

    def __post_init__(self) -> None:
        """Refuse what is no frequency.

        Raises:
            ValueError: `clock_hz` is not positive and finite.
        """
        if self.clock_hz is not None and not 0 < self.clock_hz < math.inf:
            raise ValueError(f'clock_hz must be positive, not {self.clock_hz}')


class Player:
    """Publishes a recording in real time.

    Attributes:
        publishers: By topic.
        timeline: Where in the recording it is; pause, resume and stop it from any thread.
    """

    def __init__(self, node: Node, recording: Recording, pace: Pace = Pace()) -> None:
        """Offer the topics, so that subscribers can find them before the first message.

        All are offered reliably: that fits every subscriber.

        Args:
            node: Publishes; it need not be spinning.
            recording: What to play.
            pace: How.

        Raises:
            ValueError: The rate is not positive.
        """
        self.timeline = Timeline(pace.rate, paused=pace.paused)
        self._recording = recording
        self._pace = pace
        self._clock: Publisher | None = None
        if pace.clock_hz is not None:
            self._clock = node.create_publisher(Clock, '/clock', _qos(PICTURE_DEPTH))
        self._clock_lock = threading.Lock()
        self._clock_ns = 0
        self.publishers: dict[str, Publisher] = {
            topic: node.create_publisher(kind, topic, _qos_of(topic, recording))
            for topic, kind in recording.types.items()
        }

    def unheard(self) -> list[str]:
        """Topics that nobody subscribes to, /clock among them."""
        clock = {} if self._clock is None else {'/clock': self._clock}
        offered = {**self.publishers, **clock}
        return [topic for topic, p in offered.items() if p.get_subscription_count() == 0]

    def flush(self, timeout_s: float) -> None:
        """Wait until what was published has arrived, at most so many seconds."""
        deadline = time.monotonic() + timeout_s
        for publisher in self.publishers.values():
            left_s = max(0.0, deadline - time.monotonic())
            publisher.wait_for_all_acked(Duration(seconds=left_s))

    def play(
        self,
        *,
        loop: bool = False,
        on_event: Callable[[Event], None] | None = None,
        on_picture: Callable[[Sent], None] | None = None,
        ready: Callable[[], None] | None = None,
    ) -> Replay:
        """Publish every message at its time; one that is late goes out at once.

        Args:
            loop: Begin again at the end, until `timeline.stop`; /clock then jumps back.
            on_event: Is told of every message, just before it is published.
            on_picture: Likewise of every picture.
            ready: Returns when the first message may be published; until then /clock stands.

        Returns:
            What was sent, and when.
        """
        replay = Replay()
        begin_s = math.nan
        with self._ticking_clock():
            while not self.timeline.stopped and (loop or not replay.rounds):
                with Prefetcher(self._recording.events(), _AHEAD) as ahead:
                    for event in self._due(ahead, None if replay.rounds else ready):
                        begin_s = time.monotonic() if math.isnan(begin_s) else begin_s
                        if on_event is not None:
                            on_event(event)
                        self._publish(event, replay, on_picture)
                replay.rounds += not self.timeline.stopped
                if not replay.sent and not replay.others:
                    break  # an empty recording would be begun again without end
        replay.seconds = 0.0 if math.isnan(begin_s) else time.monotonic() - begin_s
        return replay

    def _due(self, events: Iterable[Event], ready: Callable[[], None] | None) -> Iterator[Event]:
        """Yield each event at its time, until somebody stops the timeline."""
        for number, event in enumerate(events):
            if number == 0 and ready is not None:
                self._begin(event, held=True)
                ready()
            if number == 0:
                self._begin(event)
            if not self.timeline.wait_until(event.stamp_ns):
                return
            yield event

    def _begin(self, event: Event, *, held: bool = False) -> None:
        with self._clock_lock:
            self._clock_ns = event.stamp_ns
            self._publish_clock()
            self.timeline.begin(event.stamp_ns, held=held)

    def _publish(
        self, event: Event, replay: Replay, on_picture: Callable[[Sent], None] | None
    ) -> None:
        for header in headers(event.message) if self._pace.restamp else ():
            # One without a stamp gets that of its message's time.
            stamp_ns = stamp_ns_from_msg(header.stamp) or event.stamp_ns
            header.stamp = stamp_msg_from_ns(max(0, self.timeline.system_ns(stamp_ns)))
        if event.picture < 0:
            replay.others += 1
        else:
            sent = Sent(
                picture=event.picture,
                name=event.name,
                recorded_ns=event.stamp_ns,
                stamp_ns=stamp_ns_from_msg(event.message.header.stamp),
                monotonic_s=time.monotonic(),
                late_s=self.timeline.late_s(event.stamp_ns),
            )
            replay.sent.append(sent)
            if on_picture is not None:
                on_picture(sent)
        self._tick()
        self.publishers[event.topic].publish(event.message)

    def _tick(self) -> None:
        """Publish the time, which goes back only where the recording begins again."""
        with self._clock_lock:  # two threads come here, and the later must not say less
            now_ns = self.timeline.now_ns()
            if now_ns is not None:
                self._clock_ns = max(self._clock_ns, now_ns)
                self._publish_clock()

    def _publish_clock(self) -> None:
        if self._clock is not None:
            self._clock.publish(Clock(clock=stamp_msg_from_ns(self._clock_ns)))

    @contextmanager
    def _ticking_clock(self) -> Iterator[None]:
        """Tick in a thread until the block ends."""
        if self._pace.clock_hz is None:
            yield
            return
        period_s, ended = 1 / self._pace.clock_hz, threading.Event()

        def tick() -> None:
            while not ended.wait(period_s):
                self._tick()

        thread = threading.Thread(target=tick, name='clock', daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _qos_of(topic: str, recording: Recording) -> QoSProfile:
    depth = PICTURE_DEPTH if recording.types[topic] in (Image, CompressedImage) else DEPTH
    if topic not in recording.latched:
        return _qos(depth)
    # Several nodes may have published it, as /tf_static: who comes late needs what each said.
    return _qos(max(depth, recording.latched[topic]), DurabilityPolicy.TRANSIENT_LOCAL)


def _qos(depth: int, durability: DurabilityPolicy = DurabilityPolicy.VOLATILE) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=durability,
    )
