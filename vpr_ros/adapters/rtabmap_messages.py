# SPDX-License-Identifier: Apache-2.0
"""Messages of rtabmap_msgs, which is imported only here and only when it is asked for."""

from __future__ import annotations

from typing import Any

from vpr_ros.adapters.rtabmap import USER_CLOSURE, LinkMaker, MapLink
from vpr_ros.conversions import transform_msg
from vpr_ros.errors import VprError
from vpr_ros.pose_graph.transforms import quaternion_xyzw


class RtabmapError(VprError):
    """RTAB-Map's messages are not installed."""


def require_rtabmap_msgs() -> tuple[Any, Any]:
    """Return the types MapData and AddLink.

    Raises:
        RtabmapError: rtabmap_msgs is not installed.
    """
    try:
        from rtabmap_msgs.msg import MapData
        from rtabmap_msgs.srv import AddLink
    except ImportError as error:
        raise RtabmapError(
            f'rtabmap_links needs the package rtabmap_msgs, which does not import ({error}): apt '
            'install ros-$ROS_DISTRO-rtabmap-msgs, and source the distribution or the workspace '
            'that has it (the ROS wheels of PyPI do not)'
        ) from error
    return MapData, AddLink


def see_map_data(maker: LinkMaker, msg: Any) -> None:
    """Take over ids and stamps of a rtabmap_msgs/MapData, its graph and its links."""
    for node in msg.nodes:
        maker.add_node(node.id, node.stamp)
    maker.see_graph(msg.graph.poses_id, [(link.from_id, link.to_id) for link in msg.graph.links])


def add_link_request(link: MapLink, service: Any) -> Any:
    """Make the request of rtabmap_msgs/AddLink."""
    request = service.Request()
    request.link.from_id = link.from_id
    request.link.to_id = link.to_id
    request.link.type = USER_CLOSURE
    request.link.transform = transform_msg(link.from_to[:3, 3], quaternion_xyzw(link.from_to))
    request.link.information = link.information.ravel()
    return request
