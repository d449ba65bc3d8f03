# SPDX-License-Identifier: Apache-2.0
"""Why no picture arrives, in a sentence that says what to do; no rclpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PICTURE_TYPES = {
    'raw': 'sensor_msgs/msg/Image',
    'compressed': 'sensor_msgs/msg/CompressedImage',
}


@dataclass(frozen=True)
class Publisher:
    """Who publishes on the picture topic.

    Attributes:
        node: Full name of the node.
        type: Message type, `sensor_msgs/msg/Image`.
        reliable: Whether it offers reliable delivery.
    """

    node: str
    type: str
    reliable: bool


def explain(
    topic: str,
    transport: str,
    *,
    reliable: bool,
    publishers: Sequence[Publisher],
    topics: Mapping[str, Sequence[str]],
) -> str:
    """Say why no picture arrives.

    Args:
        topic: Full name of the topic that the node subscribes to.
        transport: `raw` or `compressed`.
        reliable: Whether the node asks for reliable delivery.
        publishers: Who publishes on `topic`, with any type.
        topics: Every topic that exists, with its types.
    """
    wanted = PICTURE_TYPES[transport]
    if not publishers:
        return f'nobody publishes it; {_elsewhere(topic, topics)}'
    names = ', '.join(sorted({f'{p.node} ({p.type})' for p in publishers}))
    if all(p.type != wanted for p in publishers):
        return f'{names} publishes another type than {wanted}; {_elsewhere(topic, topics)}'
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


def _elsewhere(topic: str, topics: Mapping[str, Sequence[str]]) -> str:
    """Name the topics that do carry pictures, with the setting that subscribes to them."""
    transports = {kind: transport for transport, kind in PICTURE_TYPES.items()}
    found = sorted(
        _settings(name, transports[kind])
        for name, kinds in topics.items()
        for kind in kinds
        if kind in transports and name != topic and not name.endswith('/debug_image')
    )
    if not found:
        return 'no topic here carries pictures: start the camera, check ROS_DOMAIN_ID'
    return f'pictures are to be had with {", or ".join(found)} (launch: image:=TOPIC)'


def _settings(topic: str, transport: str) -> str:
    """What subscribes to a topic; a transport's own name is appended to the one remapped."""
    suffix = '' if transport == 'raw' else f'/{transport}'
    base = topic.removesuffix(suffix)
    remapped = 'image' if topic.endswith(suffix) else f'image{suffix}'
    return f'-r {remapped}:={base} -p image_transport:={transport}'
