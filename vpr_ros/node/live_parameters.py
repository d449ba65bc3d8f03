# SPDX-License-Identifier: Apache-2.0
"""The parameters on a running node: declared strictly, checked and applied when set."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import SetParametersResult

from vpr_ros.errors import VprError
from vpr_ros.node.parameters import PARAMETERS, NodeConfig, RuntimeConfig, config_of, resolve
from vpr_ros.recognizer import RecognizerConfig

if TYPE_CHECKING:
    from rclpy.node import Node


class LiveParameters:
    """Declares the parameters and keeps the configurations made from them.

    Attributes:
        fixed: What cannot change.
        runtime: Rates in force.
        recognizer: Thresholds in force.
    """

    def __init__(
        self,
        node: Node,
        *,
        check: Callable[[RecognizerConfig], None],
        apply: Callable[[RecognizerConfig], None],
    ) -> None:
        """Declare every parameter with what the user gave or its default.

        Args:
            node: The node.
            check: Raises VprError on thresholds that cannot be used now.
            apply: Called with thresholds that have changed.

        Raises:
            ParameterError: Unknown names, wrong types, values out of range.
        """
        self._node = node
        self._check = check
        self._apply = apply
        values = self._declare()
        self.fixed: NodeConfig = config_of(NodeConfig, values)
        self.runtime: RuntimeConfig = config_of(RuntimeConfig, values)
        self.recognizer: RecognizerConfig = config_of(RecognizerConfig, values)
        node.add_on_set_parameters_callback(self._on_set)
        if hasattr(node, 'add_post_set_parameters_callback'):
            node.add_post_set_parameters_callback(lambda _: self.refresh())

    def values(self) -> dict[str, Any]:
        """Return name to value of every parameter."""
        return {name: self._node.get_parameter(name).value for name in PARAMETERS}

    def refresh(self) -> None:
        """Take over what was set; to be called now and then, for Humble tells nobody."""
        values = self.values()
        self.runtime = config_of(RuntimeConfig, values)
        recognizer = config_of(RecognizerConfig, values)
        if recognizer != self.recognizer:
            self.recognizer = recognizer
            self._apply(recognizer)

    def _declare(self) -> dict[str, Any]:
        # rclpy ignores names that nobody declares. What the user gave, rclcpp tells in public,
        # rclpy only by this attribute, the same in every supported version.
        given = {
            name: parameter.value
            for name, parameter in self._node._parameter_overrides.items()
            if not (self._node.has_parameter(name) or name.startswith('qos_overrides.'))
        }
        values = resolve(given)
        for name, value in values.items():
            descriptor = PARAMETERS[name].descriptor()
            # Checked and converted already: a whole number given for a real one.
            self._node.declare_parameter(name, value, descriptor, ignore_override=True)
        return values

    def _on_set(self, changes: list[Any]) -> SetParametersResult:
        values = self.values() | {p.name: p.value for p in changes}
        try:
            config_of(RuntimeConfig, values)
            self._check(config_of(RecognizerConfig, values))
        except (ValueError, VprError) as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)
