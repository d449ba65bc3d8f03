# SPDX-License-Identifier: Apache-2.0
"""Parameters declared from the fields of dataclasses, strictly, for any node; no rclpy.

The fields are made by `settings.setting`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    ParameterType,
)

from vpr_ros.errors import VprError

Value = bool | int | float | str | tuple[str, ...] | tuple[float, ...]


class ParameterError(VprError):
    """A parameter file or command line that the node cannot use."""


@dataclass(frozen=True)
class Parameter:
    """One parameter as the user sees it.

    Attributes:
        name: Its name.
        default: Its default; the type of every value.
        description: One sentence.
        read_only: Whether it is fixed while the node runs.
        limits: Smallest and largest number, or None.
        choices: The accepted texts, or None.
        items: Type of what is in a list, str or float; None for what is no list.
    """

    name: str
    default: Value
    description: str
    read_only: bool
    limits: tuple[float, float] | None
    choices: tuple[str, ...] | None
    items: type | None = None

    @property
    def accepted(self) -> str:
        """What values are accepted, for people: `integer, 1 to 1000`."""
        if self.items is not None:
            return f'list of {_TYPE_NAMES[self.items]}s'
        kind = _TYPE_NAMES[type(self.default)]
        if self.choices:
            return ', '.join(self.choices)
        return f'{kind}, {self.limits[0]} to {self.limits[1]}' if self.limits else kind

    def check(self, value: Any) -> Any:
        """Return `value` in the parameter's type; a whole number serves as a real one.

        Raises:
            ParameterError: Wrong type, or outside range or choices.
        """
        if self.items is not None:
            return self._checked_list(value)
        kind = type(self.default)
        if kind is float and type(value) is int:
            value = float(value)
        wrong = type(value) is not kind
        if not wrong and self.limits:
            wrong = not self.limits[0] <= value <= self.limits[1]
        if wrong or (self.choices and value not in self.choices):
            raise self._refusal(value)
        return value

    def _checked_list(self, value: Any) -> tuple[Any, ...]:
        """Return a list as a tuple; whole numbers serve as real ones."""
        if value is None:  # what a parameter file's [] arrives as, whatever its type
            return ()
        if not isinstance(value, (list, tuple, array)):
            raise self._refusal(value)
        found = tuple(
            float(item) if self.items is float and type(item) is int else item for item in value
        )
        if any(type(item) is not self.items for item in found):
            raise self._refusal(value)
        if not all(math.isfinite(item) for item in found if isinstance(item, float)):
            raise self._refusal(value)
        return found

    def _refusal(self, value: Any) -> ParameterError:
        given = f'{value!r} ({_TYPE_NAMES.get(type(value), type(value).__name__)})'
        return ParameterError(f'{self.name}: {given} is not accepted; accepted: {self.accepted}')

    def descriptor(self) -> ParameterDescriptor:
        """Return what `ros2 param describe` shows."""
        descriptor = ParameterDescriptor(
            name=self.name,
            description=self.description,
            read_only=self.read_only,
            additional_constraints='' if self.limits else self.accepted,
        )
        if self.items is not None:
            descriptor.type = _ARRAYS[self.items]
        if self.limits and isinstance(self.default, float):
            low, high = self.limits
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        elif self.limits:
            low, high = map(int, self.limits)
            descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
        return descriptor


_TYPE_NAMES: dict[type, str] = {
    bool: 'true or false',
    int: 'integer',
    float: 'number',
    str: 'text',
}
_ARRAYS = {
    float: ParameterType.PARAMETER_DOUBLE_ARRAY,
    str: ParameterType.PARAMETER_STRING_ARRAY,
}


def of_fields(config: type, *, read_only: bool, prefix: str = '') -> list[Parameter]:
    """Return the parameters that the fields of a dataclass declare.

    A field that is itself such a dataclass gives parameters called FIELD.NAME.

    Args:
        config: The dataclass.
        read_only: Whether they are fixed while the node runs.
        prefix: What stands before their names.
    """
    found = []
    for f in dataclasses.fields(config):
        if (nested := _nested(f)) is not None:
            found += of_fields(nested, read_only=read_only, prefix=f'{prefix}{f.name}.')
            continue
        found.append(
            Parameter(
                name=f'{prefix}{f.name}',
                default=cast('Value', f.default),
                description=f.metadata['description'],
                read_only=read_only,
                limits=f.metadata.get('range'),
                choices=f.metadata.get('choices'),
                items=f.metadata.get('items'),
            )
        )
    return found


def resolve(overrides: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Complete what the user gave with the defaults.

    Args:
        overrides: Name to value, from parameter file and command line, without those that
            belong to rclpy.
        parameters: Those of the node, by name.

    Returns:
        Name to value of every parameter.

    Raises:
        ParameterError: Names that do not exist, values of the wrong type or out of range; the
            text lists all of them.
    """
    problems = [_unknown(name, parameters) for name in overrides if name not in parameters]
    values = {}
    for parameter in parameters.values():
        try:
            values[parameter.name] = parameter.check(
                overrides.get(parameter.name, parameter.default)
            )
        except ParameterError as error:
            problems.append(str(error))
    if problems:
        raise ParameterError('; '.join(problems))
    return values


def declare(node: Any, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Declare every parameter on an rclpy node with what the user gave or its default.

    Returns:
        Name to value.

    Raises:
        ParameterError: Unknown names, wrong types, values out of range.
    """
    # rclpy ignores names that nobody declares. What the user gave, rclcpp tells in public,
    # rclpy only by this attribute, the same in every supported version.
    given = {
        name: parameter.value
        for name, parameter in node._parameter_overrides.items()
        if not (node.has_parameter(name) or name.startswith('qos_overrides.'))
    }
    values = resolve(given, parameters)
    for name, value in values.items():
        _declare(node, parameters[name], value)
    return values


def current(node: Any, parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return name to value of what `declare` has declared, in the same types."""
    return {name: p.check(node.get_parameter(name).value) for name, p in parameters.items()}


def _declare(node: Any, parameter: Parameter, value: Any) -> None:
    """Declare one parameter with a value that is checked and converted already."""
    descriptor = parameter.descriptor()
    if parameter.items is None or value:
        given = list(value) if parameter.items is not None else value
        node.declare_parameter(parameter.name, given, descriptor, ignore_override=True)
        return
    # rclpy takes every empty list for one of bytes, unless it is set with its type; what is
    # read-only can be set no more.
    from rclpy.parameter import Parameter as RosParameter

    kind = RosParameter.Type(descriptor.type)
    descriptor.read_only = False
    node.declare_parameter(parameter.name, kind, descriptor, ignore_override=True)
    node.set_parameters([RosParameter(parameter.name, kind, [])])
    node.set_descriptor(parameter.name, parameter.descriptor())


def config_of(kind: type, values: Mapping[str, Any], *, prefix: str = '') -> Any:
    """Make a dataclass whose fields are parameters from their values; see `of_fields`.

    Raises:
        ValueError: The values do not go together.
    """
    given = {}
    for f in dataclasses.fields(kind):
        name = f'{prefix}{f.name}'
        if (nested := _nested(f)) is not None:
            given[f.name] = config_of(nested, values, prefix=f'{name}.')
        else:
            given[f.name] = values[name]
    return kind(**given)


def _nested(spec: dataclasses.Field[Any]) -> type | None:
    """Return the dataclass that a field holds, None if it holds something else."""
    kind: Any = spec.default_factory
    return kind if isinstance(kind, type) and dataclasses.is_dataclass(kind) else None


def markdown_rows(parameters: Mapping[str, Parameter]) -> list[str]:
    """Return the rows of a table: name, default, accepted, changeable, description."""
    rows = []
    for p in parameters.values():
        default = json.dumps(p.default).replace('"', "'")
        changeable = 'no' if p.read_only else 'yes'
        rows.append(
            f'| `{p.name}` | `{default}` | {p.accepted} | {changeable} | {p.description} |'
        )
    return rows


def markdown_table(parameters: Mapping[str, Parameter]) -> list[str]:
    """Return the whole table, for the documentation."""
    head = [
        '| parameter | default | accepted | while running | what it is |',
        '|---|---|---|---|---|',
    ]
    return head + markdown_rows(parameters)


def _unknown(name: str, parameters: Mapping[str, Parameter]) -> str:
    near = difflib.get_close_matches(name, parameters, n=1)
    hint = f'; did you mean {near[0]!r}?' if near else ''
    return f'there is no parameter {name!r}{hint} (there are: {", ".join(parameters)})'
