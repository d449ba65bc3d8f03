# SPDX-License-Identifier: Apache-2.0
"""Parameters: declared once, checked strictly, the same in file, node and documentation."""

import re
from array import array
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip('rcl_interfaces')

from vpr_ros.node.parameters import (
    PARAMETERS,
    NodeConfig,
    RuntimeConfig,
    markdown_rows,
    resolve,
)
from vpr_ros.node_common.declared import ParameterError, config_of
from vpr_ros.online_map import MappingConfig
from vpr_ros.recognizer import RecognizerConfig
from vpr_ros.sequence_filter.config import SequenceFilterConfig
from vpr_ros.verification.verifier import VerifierConfig

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / 'config' / 'localize.yaml'
README_ROW = re.compile(r'\| `(?P<name>[\w.]+)` \| `.*` \| .* \| (yes|no) \| ')
PARAMETER_LINE = re.compile(r'    (?P<name>[\w.]+): (?P<value>\S+) +# (?P<comment>\S.*)')


def test_the_file_holds_every_parameter_at_its_default():
    (content,) = yaml.safe_load(FILE.read_text('utf-8')).values()
    given = content['ros__parameters']
    assert list(given) == list(PARAMETERS)
    for name, value in given.items():
        default = PARAMETERS[name].default
        if PARAMETERS[name].items is not None:
            assert isinstance(value, list)
            value = tuple(value)  # noqa: PLW2901
        assert (value, type(value)) == (default, type(default)), name


def test_the_file_has_one_comment_for_each_parameter():
    lines = [line for line in FILE.read_text('utf-8').splitlines() if PARAMETER_LINE.match(line)]
    assert [PARAMETER_LINE.match(line)['name'] for line in lines] == list(PARAMETERS)


def test_the_readme_documents_every_parameter_at_its_default():
    """README's table is the output of `python -m vpr_ros.node.parameters`."""
    readme = ROOT / 'README.md'
    lines = readme.read_text('utf-8').splitlines()
    missing = '\n'.join(row for row in markdown_rows() if row not in lines)
    assert not missing, f'python -m vpr_ros.node.parameters prints the table:\n{missing}'
    rows = [row for line in lines if (row := README_ROW.match(line))]
    assert {row['name'] for row in rows} == set(PARAMETERS)


def test_every_field_is_a_described_parameter():
    kinds = {
        '': (NodeConfig, RuntimeConfig, RecognizerConfig),
        'sequence_filter.': (SequenceFilterConfig,),
        'verification.': (VerifierConfig,),
        'mapping.': (MappingConfig,),
    }
    names = [
        f'{prefix}{f.name}'
        for prefix, of_prefix in kinds.items()
        for kind in of_prefix
        for f in fields(kind)
        if f.metadata
    ]
    assert sorted(names) == sorted(PARAMETERS)
    for parameter in PARAMETERS.values():
        assert len(parameter.description) > 10
        assert parameter.check(parameter.default) == parameter.default


def test_defaults_complete_what_is_given():
    values = resolve({'top_k': 7})
    assert values['top_k'] == 7
    assert config_of(NodeConfig, values) == NodeConfig()
    assert config_of(RecognizerConfig, values) == RecognizerConfig(top_k=7)


def test_nested_settings_become_nested_configurations():
    values = resolve(
        {
            'sequence_filter.mode': 'sequence',
            'sequence_filter.min_pictures': 4,
            'verification.max_distance_m': 2,
            'mapping.min_age_s': 9.5,
            'top_k': 3,
        }
    )
    config = config_of(RecognizerConfig, values)
    assert (config.sequence_filter.mode, config.sequence_filter.min_pictures) == ('sequence', 4)
    assert config.verification == VerifierConfig(max_distance_m=2.0)
    assert isinstance(config.verification.max_distance_m, float)
    assert config.top_k == 3
    mapping = config_of(MappingConfig, values, prefix='mapping.')
    assert mapping == MappingConfig(min_age_s=9.5)


def test_a_whole_number_serves_as_a_real_one():
    value = resolve({'min_similarity': 1})['min_similarity']
    assert (value, type(value)) == (1.0, float)


def test_lists_become_tuples_and_an_empty_one_has_no_type():
    """A parameter file's [] reaches the node as None, and rclpy hands doubles over as arrays."""
    given = {'cameras': ['front', 'left'], 'body_from_camera': array('d', [0.0] * 6 + [1.0])}
    values = resolve(given)
    assert values['cameras'] == ('front', 'left')
    assert values['body_from_camera'] == (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    assert resolve({'cameras': None})['cameras'] == ()
    whole = resolve({'body_from_camera': [0, 0, 0, 0, 0, 0, 1]})['body_from_camera']
    assert [type(number) for number in whole] == [float] * 7


AHEAD = (-0.5, 0.5, -0.5, 0.5)  # z of the optical frame along x of the body


def test_cameras_have_names_and_mountings_by_number():
    config = NodeConfig(camera='front')
    assert (config.camera_names, config.mountings) == (('front',), (None,))
    config = NodeConfig(
        cameras=('front', 'left'), body_from_camera=(1.0, 2.0, 3.0, *AHEAD, 0, 0, 0.5, 0, 0, 0, 1)
    )
    assert config.camera_names == ('front', 'left')
    front, left = config.mountings
    np.testing.assert_allclose(front @ [0, 0, 5, 1], [6, 2, 3, 1])  # z ahead is the body's x
    np.testing.assert_allclose(left @ [0, 0, 5, 1], [0, 0, 5.5, 1])


@pytest.mark.parametrize(
    ('given', 'text'),
    [
        ({'cameras': ('front', 'front')}, r"cameras: 'front' stands there twice"),
        ({'cameras': ('front/left',)}, r"cameras: 'front/left' cannot be part of a topic"),
        ({'cameras': ('',)}, r"cameras: '' cannot be part"),
        ({'cameras': ('front',), 'camera': 'rear'}, r"camera: 'rear' names a single camera"),
        ({'body_from_camera': (0.0,) * 6}, r'body_from_camera: 6 numbers for 1 cameras'),
        (
            {'cameras': ('a', 'b'), 'body_from_camera': (0.0,) * 6 + (1.0,)},
            r'body_from_camera: 7 numbers for 2 cameras; it has 7 for each',
        ),
        ({'body_from_camera': (0.0,) * 7}, r'body_from_camera: the quaternion .* length is 0'),
        ({'body_from_camera': (0.0,) * 6 + (1.1,)}, r'length is 1\.1, not 1'),
    ],
)
def test_cameras_that_do_not_go_together_are_refused(given, text):
    with pytest.raises(ParameterError, match=text):
        NodeConfig(**given)


@pytest.mark.parametrize(
    ('overrides', 'text'),
    [
        ({'min_similarty': 0.5}, r"no parameter 'min_similarty'; did you mean 'min_similarity'\?"),
        (
            {'verification.min_inlier': 20},
            r"no parameter 'verification.min_inlier'; did you mean 'verification.min_inliers'\?",
        ),
        ({'min_age_s': 2.0}, r"no parameter 'min_age_s'; did you mean 'mapping.min_age_s'\?"),
        (
            {'sequence_filter.mode': 'markov'},
            r"sequence_filter\.mode: 'markov' \(text\).*accepted: bayes, sequence, off",
        ),
        ({'mapping.min_keyframes': 0}, r'mapping\.min_keyframes: 0 \(integer\) is not accepted'),
        ({'foo.bar': 1}, r"no parameter 'foo\.bar' \(there are: autostart, mode, model, map"),
        ({'top_k': 5.0}, r'top_k: 5\.0 \(number\) is not accepted; accepted: integer, 1 to 1000'),
        ({'top_k': 0}, r'top_k: 0 \(integer\) is not accepted'),
        ({'top_k': True}, r'top_k: True \(true or false\) is not accepted'),
        ({'autostart': 1}, r'autostart: 1 \(integer\) is not accepted; accepted: true or false'),
        ({'map': 1}, r'map: 1 \(integer\) is not accepted; accepted: text'),
        ({'min_similarity': float('nan')}, r'min_similarity: nan'),
        ({'device': 'gpu'}, r"device: 'gpu' \(text\).*accepted: auto, cpu, cuda, tensorrt"),
        ({'model': ['a', 'b']}, r"model: \['a', 'b'\] \(list\)"),
        ({'model': None}, r'model: None'),
        ({'cameras': 'front'}, r"cameras: 'front' \(text\).*accepted: list of texts"),
        ({'cameras': [1, 2]}, r'cameras: \[1, 2\] \(list\)'),
        ({'body_from_camera': ['x']}, r'body_from_camera: .*accepted: list of numbers'),
        ({'body_from_camera': [True]}, r'body_from_camera: \[True\]'),
        ({'body_from_camera': [float('nan')]}, r'body_from_camera: \[nan\]'),
    ],
)
def test_what_is_wrong_is_named_with_what_is_accepted(overrides, text):
    with pytest.raises(ParameterError, match=text):
        resolve(overrides)


def test_all_faults_are_named_at_once():
    with pytest.raises(ParameterError, match=r"'modle'.*top_k: 0"):
        resolve({'modle': '', 'top_k': 0})
