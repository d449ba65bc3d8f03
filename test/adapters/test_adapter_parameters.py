# SPDX-License-Identifier: Apache-2.0
"""The adapters' parameters: the same in files, nodes and documentation."""

from pathlib import Path

import pytest
import yaml

pytest.importorskip('rcl_interfaces')

from vpr_ros.adapters.parameters import PARAMETERS, RecorderConfig, RtabmapConfig
from vpr_ros.adapters.rtabmap import LinkConfig
from vpr_ros.node_common.declared import ParameterError, config_of, markdown_rows, resolve

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize('executable', PARAMETERS)
def test_the_file_holds_every_parameter_at_its_default(executable):
    text = (ROOT / 'config' / f'{executable}.yaml').read_text('utf-8')
    (content,) = yaml.safe_load(text).values()
    given = content['ros__parameters']
    assert list(given) == list(PARAMETERS[executable])
    for name, value in given.items():
        default = PARAMETERS[executable][name].default
        default = list(default) if isinstance(default, tuple) else default
        assert (value, type(value)) == (default, type(default)), name


@pytest.mark.parametrize('executable', PARAMETERS)
def test_the_documentation_holds_every_parameter(executable):
    lines = (ROOT / 'docs' / 'slam.md').read_text('utf-8').splitlines()
    missing = [row for row in markdown_rows(PARAMETERS[executable]) if row not in lines]
    assert not missing, 'python -m vpr_ros.adapters.parameters prints the tables'


def test_defaults_are_those_of_the_core():
    values = resolve({}, PARAMETERS['rtabmap_links'])
    assert config_of(RtabmapConfig, values).links == LinkConfig()


def test_every_number_reaches_the_core():
    names = [n for n, p in PARAMETERS['rtabmap_links'].items() if isinstance(p.default, float)]
    for name in set(names) - {'diagnostics_period_s'}:
        default = PARAMETERS['rtabmap_links'][name].default
        values = resolve({name: 0.9 if default != 0.9 else 0.8}, PARAMETERS['rtabmap_links'])
        assert config_of(RtabmapConfig, values).links != LinkConfig(), name


@pytest.mark.parametrize('given', [(1.0, 2.0), (0.0,) * 7])
def test_a_mounting_that_is_none_is_named(given):
    with pytest.raises(ParameterError, match='body_from_camera: '):
        RecorderConfig(body_from_camera=given)


def test_a_missing_mounting_is_told_where_frames_differ():
    config = RecorderConfig()
    assert "'camera_optical', the body is 'base_link'" in config.mounting_warning(
        'camera_optical', 'base_link'
    )
    assert config.mounting_warning('a', 'a') == config.mounting_warning('', 'a') == ''
    mounted = RecorderConfig(body_from_camera=(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    assert mounted.mounting_warning('camera_optical', 'base_link') == ''
