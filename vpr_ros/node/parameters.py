# SPDX-License-Identifier: Apache-2.0
"""The parameters of the node, each declared from one dataclass field; no rclpy.

A field's metadata hold its `description`, and a `range` (numbers) or `choices` (texts). The
fields of `NodeConfig` are read-only while the node runs, those of `RecognizerConfig` can be set.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from vpr_ros.errors import VprError
from vpr_ros.extractor import DEVICES
from vpr_ros.recognizer import RecognizerConfig

RELIABILITIES = ('auto', 'best_effort', 'reliable')
TRANSPORTS = ('raw', 'compressed')


class ParameterError(VprError):
    """A parameter file or command line that the node cannot use."""


def _parameter(default: Any, description: str, **limits: Any) -> Any:
    return field(default=default, metadata={'description': description, **limits})


@dataclass(frozen=True)
class NodeConfig:
    """What is fixed while the node runs."""

    autostart: bool = _parameter(
        True, 'Configure and activate at start; false leaves that to a lifecycle manager'
    )
    model: str = _parameter('', 'Model file (.onnx); empty takes the shipped one')
    map: str = _parameter('', 'Map directory, as path or file:// URL; empty waits for ~/load_map')
    device: str = _parameter('auto', 'Where the model runs', choices=DEVICES)
    num_threads: int = _parameter(
        0, 'CPU threads of one inference; 0 takes as many as there are cores', range=(0, 1024)
    )
    camera: str = _parameter('', 'Name of the camera, copied into ~/loop_closures')
    map_frame_id: str = _parameter('', 'Frame of the map; empty takes the one recorded in the map')
    image_transport: str = _parameter(
        'raw', 'Subscribe to image or to image/compressed', choices=TRANSPORTS
    )
    image_reliability: str = _parameter(
        'auto',
        'QoS reliability of the pictures; auto is reliable where every publisher offers it',
        choices=RELIABILITIES,
    )
    input_timeout_s: float = _parameter(
        5.0, 'Seconds without a picture until the node says so, and why', range=(0.1, 3600.0)
    )
    diagnostics_period_s: float = _parameter(
        1.0, 'Seconds between messages on /diagnostics', range=(0.1, 60.0)
    )
    markers_period_s: float = _parameter(
        0.5, 'Seconds between messages on ~/markers', range=(0.05, 60.0)
    )


@dataclass(frozen=True)
class RuntimeConfig:
    """What can be set while the node runs, beside the fields of RecognizerConfig."""

    max_rate: float = _parameter(
        0.0, 'Pictures processed per second at most; 0.0 sets no limit', range=(0.0, 1000.0)
    )


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
    """

    name: str
    default: bool | int | float | str
    description: str
    read_only: bool
    limits: tuple[float, float] | None
    choices: tuple[str, ...] | None

    @property
    def accepted(self) -> str:
        """What values are accepted, for people: `integer, 1 to 1000`."""
        kind = _TYPE_NAMES[type(self.default)]
        if self.choices:
            return ', '.join(self.choices)
        return f'{kind}, {self.limits[0]} to {self.limits[1]}' if self.limits else kind

    def check(self, value: Any) -> Any:
        """Return `value` in the parameter's type; a whole number serves as a real one.

        Raises:
            ParameterError: Wrong type, or outside range or choices.
        """
        kind = type(self.default)
        if kind is float and type(value) is int:
            value = float(value)
        wrong = type(value) is not kind
        if not wrong and self.limits:
            wrong = not self.limits[0] <= value <= self.limits[1]
        if wrong or (self.choices and value not in self.choices):
            given = f'{value!r} ({_TYPE_NAMES.get(type(value), type(value).__name__)})'
            raise ParameterError(
                f'{self.name}: {given} is not accepted; accepted: {self.accepted}'
            )
        return value

    def descriptor(self) -> ParameterDescriptor:
        """Return what `ros2 param describe` shows."""
        descriptor = ParameterDescriptor(
            name=self.name,
            description=self.description,
            read_only=self.read_only,
            additional_constraints='' if self.limits else self.accepted,
        )
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


def _of_fields(config: type, *, read_only: bool) -> list[Parameter]:
    return [
        Parameter(
            name=f.name,
            default=cast('bool | int | float | str', f.default),
            description=f.metadata['description'],
            read_only=read_only,
            limits=f.metadata.get('range'),
            choices=f.metadata.get('choices'),
        )
        for f in dataclasses.fields(config)
    ]


PARAMETERS = {
    p.name: p
    for p in (
        *_of_fields(NodeConfig, read_only=True),
        *_of_fields(RecognizerConfig, read_only=False),
        *_of_fields(RuntimeConfig, read_only=False),
    )
}


def resolve(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Complete what the user gave with the defaults.

    Args:
        overrides: Name to value, from parameter file and command line, without those that
            belong to rclpy.

    Returns:
        Name to value of every parameter.

    Raises:
        ParameterError: Names that do not exist, values of the wrong type or out of range; the
            text lists all of them.
    """
    problems = [_unknown(name) for name in overrides if name not in PARAMETERS]
    values = {}
    for parameter in PARAMETERS.values():
        try:
            values[parameter.name] = parameter.check(
                overrides.get(parameter.name, parameter.default)
            )
        except ParameterError as error:
            problems.append(str(error))
    if problems:
        raise ParameterError('; '.join(problems))
    return values


def config_of(kind: type, values: Mapping[str, Any]) -> Any:
    """Make a NodeConfig, RecognizerConfig or RuntimeConfig from parameter values.

    Raises:
        ValueError: The values do not go together.
    """
    return kind(**{f.name: values[f.name] for f in dataclasses.fields(kind)})


def markdown_rows() -> list[str]:
    """Return the rows of README's table: name, default, accepted, changeable, description."""
    rows = []
    for p in PARAMETERS.values():
        default = json.dumps(p.default).replace('"', "'")
        changeable = 'no' if p.read_only else 'yes'
        rows.append(
            f'| `{p.name}` | `{default}` | {p.accepted} | {changeable} | {p.description} |'
        )
    return rows


def markdown_table() -> list[str]:
    """Return README's whole table."""
    head = [
        '| parameter | default | accepted | while running | what it is |',
        '|---|---|---|---|---|',
    ]
    return head + markdown_rows()


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, PARAMETERS, n=1)
    hint = f'; did you mean {near[0]!r}?' if near else ''
    return f'there is no parameter {name!r}{hint} (there are: {", ".join(PARAMETERS)})'


if __name__ == '__main__':
    sys.stdout.write('\n'.join(markdown_table()) + '\n')
