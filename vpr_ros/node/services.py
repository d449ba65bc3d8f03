# SPDX-License-Identifier: Apache-2.0
"""The services of the node; slow ones run in a thread of their own while pictures go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from std_srvs.srv import SetBool, Trigger
from vpr_msgs.srv import LoadMap, Recognize, SaveMap

from vpr_ros.conversions import rgb_from_image, stamp_ns_from_msg
from vpr_ros.errors import MapError, MapModelMismatchError, VprError
from vpr_ros.node.engine import Engine
from vpr_ros.node.messages import map_info
from vpr_ros.node_common.service_thread import ServiceThread

if TYPE_CHECKING:
    from vpr_ros.node.localizer import Localizer

_NOT_CONFIGURED = 'the node is not configured: run `ros2 lifecycle set {} configure`'


class Services:
    """Offers ~/load_map, ~/save_map, ~/recognize, ~/enable and ~/reset."""

    def __init__(self, node: Localizer) -> None:
        """Offer the services of `node`."""
        self._node = node
        self._thread = ServiceThread(node)
        group = self._thread.group
        node.create_service(LoadMap, '~/load_map', self._load_map, callback_group=group)
        node.create_service(SaveMap, '~/save_map', self._save_map, callback_group=group)
        node.create_service(Recognize, '~/recognize', self._recognize, callback_group=group)
        node.create_service(SetBool, '~/enable', self._enable)
        node.create_service(Trigger, '~/reset', self._reset)

    def close(self) -> None:
        """Finish what runs and drop what waits."""
        self._thread.close()

    async def _load_map(
        self, request: LoadMap.Request, response: LoadMap.Response
    ) -> LoadMap.Response:
        return await self._thread.run(self._do_load_map, request, response)

    async def _save_map(
        self, request: SaveMap.Request, response: SaveMap.Response
    ) -> SaveMap.Response:
        return await self._thread.run(self._do_save_map, request, response)

    async def _recognize(
        self, request: Recognize.Request, response: Recognize.Response
    ) -> Recognize.Response:
        return await self._thread.run(self._do_recognize, request, response)

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._node.enable(request.data)
        response.success = True
        response.message = 'pictures are processed' if request.data else 'pictures are ignored'
        return response

    def _reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._node.engine is not None
        if response.success:
            self._node.reset('asked for by ~/reset')
            response.message = 'what depended on earlier pictures is forgotten'
        else:
            response.message = self._not_configured()
        return response

    def _do_load_map(self, request: LoadMap.Request, response: LoadMap.Response) -> None:
        response.result = LoadMap.Response.FAILURE
        engine = self._node.engine
        if engine is None:
            response.message = self._not_configured()
            return
        try:
            engine.load_map(request.map_url)
        except (VprError, OSError) as error:
            response.result, response.message = _result_of(error), str(error)
            response.info = self._node.outputs.map_info  # of the one that stays
            self._node.get_logger().error(f'~/load_map: {error}')
        else:
            response.result = LoadMap.Response.SUCCESS
            response.message = f'{len(engine.place_map)} places from {request.map_url}'
            response.info = self._node.announce_map(engine)
            self._node.get_logger().info(f'~/load_map: {response.message}')

    def _do_save_map(self, request: SaveMap.Request, response: SaveMap.Response) -> None:
        response.result = SaveMap.Response.FAILURE
        engine = self._node.engine
        if engine is None:
            response.message = self._not_configured()
            return
        try:
            saved = engine.save_map(request.map_url)
        except (VprError, OSError) as error:
            response.result, response.message = _result_of(error), str(error)
            self._node.get_logger().error(f'~/save_map: {error}')
        else:
            response.result = SaveMap.Response.SUCCESS
            response.message = (
                f'{len(saved.place_map)} places written to {saved.place_map.directory}'
            )
            if saved.num_unplaced:
                response.message += f'; {saved.explain_unplaced()}'
            stamp = self._node.get_clock().now().to_msg()
            response.info = map_info(saved.place_map, saved.place_map.frame_id, stamp)
            self._node.get_logger().info(f'~/save_map: {response.message}')

    def _do_recognize(self, request: Recognize.Request, response: Recognize.Response) -> None:
        engine = self._node.engine
        if engine is None:
            response.message = self._not_configured()
            return
        try:
            response.result = self._look_up(engine, request)
        except VprError as error:
            response.message = str(error)
        else:
            response.success = True
            response.message = response.result.reason or 'recognised'

    def _look_up(self, engine: Engine, request: Recognize.Request) -> Any:
        header = request.image.header
        stamp_ns = stamp_ns_from_msg(header.stamp)
        answer = engine.recognize_once(rgb_from_image(request.image), stamp_ns)
        return self._node.outputs.of_no_camera(answer, header, self._node.age_s(stamp_ns))

    def _not_configured(self) -> str:
        return _NOT_CONFIGURED.format(self._node.get_fully_qualified_name())


def _result_of(error: Exception) -> int:
    """Return the code of ~/load_map for an error."""
    if isinstance(error, FileNotFoundError):
        return LoadMap.Response.NOT_FOUND
    if isinstance(error, MapModelMismatchError):
        return LoadMap.Response.MODEL_MISMATCH
    return LoadMap.Response.INVALID if isinstance(error, MapError) else LoadMap.Response.FAILURE
