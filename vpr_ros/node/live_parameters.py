# SPDX-License-Identifier: Apache-2.0
"""The parameters on a running node: declared strictly, checked and applied when set."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import SetParametersResult

from vpr_ros.errors import VprError
from vpr_ros.node.parameters import MAPPING, PARAMETERS, NodeConfig, RuntimeConfig
from vpr_ros.node_common.declared import config_of, current, declare
from vpr_ros.online_map import MappingConfig
from vpr_ros.recognizer import RecognizerConfig

if TYPE_CHECKING:
    from rclpy.node import Node


class LiveParameters:
    """Declares the parameters and keeps the configurations made from them.

    Attributes:
        fixed: What cannot change.
        runtime: Rates in force.
        recognizer: Thresholds in force.
        mapping: When a picture becomes a place, in force.
    """

    def __init__(
        self,
        node: Node,
        *,
        check: Callable[[RecognizerConfig], None],
        apply: Callable[[RecognizerConfig, MappingConfig], None],
    ) -> None:
        """Declare every parameter with what the user gave or its default.

        Args:
            node: The node.
            check: Raises VprError on thresholds that cannot be used now.
            apply: Called with what is in force when something of it has changed.

        Raises:
            ParameterError: Unknown names, wrong types, values out of range.
        """
        self._node = node
        self._check = check
        self._apply = apply
        values = declare(node, PARAMETERS)
        self.fixed: NodeConfig = config_of(NodeConfig, values)
        self.runtime: RuntimeConfig = config_of(RuntimeConfig, values)
        self.recognizer: RecognizerConfig = config_of(RecognizerConfig, values)
        self.mapping: MappingConfig = config_of(MappingConfig, values, prefix=MAPPING)
        node.add_on_set_parameters_callback(self._on_set)
        if hasattr(node, 'add_post_set_parameters_callback'):
            node.add_post_set_parameters_callback(lambda _: self.refresh())

    def values(self) -> dict[str, Any]:
        """Return name to value of every parameter."""
        return current(self._node, PARAMETERS)

    def refresh(self) -> None:
        """Take over what was set; to be called now and then, for Humble tells nobody."""
        values = self.values()
        self.runtime = config_of(RuntimeConfig, values)
        recognizer = config_of(RecognizerConfig, values)
        mapping = config_of(MappingConfig, values, prefix=MAPPING)
        if (recognizer, mapping) != (self.recognizer, self.mapping):
            self.recognizer, self.mapping = recognizer, mapping
            self._apply(recognizer, mapping)

    def _on_set(self, changes: list[Any]) -> SetParametersResult:
        values = self.values() | {p.name: p.value for p in changes}
        try:
            config_of(RuntimeConfig, values)
            config_of(MappingConfig, values, prefix=MAPPING)
            self._check(config_of(RecognizerConfig, values))
        except (ValueError, VprError) as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)
