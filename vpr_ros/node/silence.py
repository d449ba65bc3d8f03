# SPDX-License-Identifier: Apache-2.0
"""Why nothing arrives on a topic, in a sentence that says what to do; no rclpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PICTURE_TYPES = {
    'raw': 'sensor_msgs/msg/Image',
    'compressed': 'sensor_msgs/msg/CompressedImage',
}


@dataclass(frozen=True)
class Publisher:
    """Who publishes on a topic.

    Attributes:
        node: Full name of the node.
        type: Message type, `sensor_msgs/msg/Image`.
        reliable: Whether it offers reliable delivery.
        latched: Whether it keeps what it has published for those who subscribe later.
    """

    node: str
    type: str
    reliable: bool
    latched: bool = False


def explain(
    topic: str,
    base: str,
    transport: str,
    *,
    reliable: bool,
    publishers: Sequence[Publisher],
    topics: Mapping[str, Sequence[str]],
) -> str:
    """Say why no picture arrives.

    Args:
        topic: Full name of the topic that the node subscribes to.
        base: The name that is remapped: `image`, or `front/image`.
        transport: `raw` or `compressed`.
        reliable: Whether the node asks for reliable delivery.
        publishers: Who publishes on `topic`, with any type.
        topics: Every topic that exists, with its types.
    """
    wanted = PICTURE_TYPES[transport]
    if not publishers:
        return f'nobody publishes it; {_elsewhere(topic, base, topics)}'
    names = ', '.join(sorted({f'{p.node} ({p.type})' for p in publishers}))
    if all(p.type != wanted for p in publishers):
        return f'{names} publishes another type than {wanted}; {_elsewhere(topic, base, topics)}'
    if reliable and not all(p.reliable for p in publishers):
        return (
            f'QoS mismatch: {names} offers best effort delivery and the node asks for reliable; '
            'set image_reliability to auto or best_effort'
        )
    cause = (
        ''
        if reliable
        else (
            '; with best effort delivery large pictures may be lost on the way: raise '
            'net.core.rmem_max or set image_reliability to reliable'
        )
    )
    return f'connected to {names}, which sends nothing (camera off, bag paused?){cause}'


def explain_other(
    topic: str,
    base: str,
    kind: str,
    *,
    publishers: Sequence[Publisher],
    topics: Mapping[str, Sequence[str]],
) -> str:
    """Say why nothing arrives that is no picture.

    Args:
        topic: Full name of the topic that the node subscribes to.
        base: The name that is remapped: `odom`, or `front/camera_info`.
        kind: Message type, `nav_msgs/msg/Odometry`.
        publishers: Who publishes on `topic`, with any type.
        topics: Every topic that exists, with its types.
    """
    names = ', '.join(sorted({f'{p.node} ({p.type})' for p in publishers}))
    if any(p.type == kind for p in publishers):
        return f'connected to {names}, which sends nothing'
    found = sorted(name for name, kinds in topics.items() if kind in kinds and name != topic)
    hint = f'no topic here carries {kind}'
    if found:
        settings = ', or '.join(f'-r {base}:={name}' for name in found)
        hint = f'{kind} is to be had with {settings}{_launch(base)}'
    if publishers:
        return f'{names} publishes another type than {kind}; {hint}'
    return f'nobody publishes it; {hint}'


def _elsewhere(topic: str, base: str, topics: Mapping[str, Sequence[str]]) -> str:
    """Name the topics that do carry pictures, with the setting that subscribes to them."""
    transports = {kind: transport for transport, kind in PICTURE_TYPES.items()}
    found = sorted(
        _settings(name, base, transports[kind])
        for name, kinds in topics.items()
        for kind in kinds
        if kind in transports and name != topic and not name.endswith('/debug_image')
    )
    if not found:
        return 'no topic here carries pictures: start the camera, check ROS_DOMAIN_ID'
    return f'pictures are to be had with {", or ".join(found)}{_launch(base)}'


def _settings(topic: str, base: str, transport: str) -> str:
    """What subscribes to a topic; a transport's own name is appended to the one remapped."""
    suffix = '' if transport == 'raw' else f'/{transport}'
    target = topic.removesuffix(suffix)
    remapped = base if topic.endswith(suffix) else f'{base}{suffix}'
    return f'-r {remapped}:={target} -p image_transport:={transport}'


def _launch(base: str) -> str:
    """The launch file has an argument for each topic of a single camera."""
    return '' if '/' in base else f' (launch: {base}:=TOPIC)'
