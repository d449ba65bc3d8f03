# SPDX-License-Identifier: Apache-2.0
"""Parameters: declared once, checked strictly, the same in file, node and documentation."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

pytest.importorskip('rcl_interfaces')

from vpr_ros.node.parameters import (
    PARAMETERS,
    NodeConfig,
    ParameterError,
    RuntimeConfig,
    config_of,
    markdown_rows,
    resolve,
)
from vpr_ros.recognizer import RecognizerConfig

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / 'config' / 'localize.yaml'
README_ROW = re.compile(r'\| `(?P<name>\w+)` \| `.*` \| .* \| (yes|no) \| ')
PARAMETER_LINE = re.compile(r'    (?P<name>\w+): (?P<value>\S+) +# (?P<comment>\S.*)')


def test_the_file_holds_every_parameter_at_its_default():
    (content,) = yaml.safe_load(FILE.read_text('utf-8')).values()
    given = content['ros__parameters']
    assert list(given) == list(PARAMETERS)
    for name, value in given.items():
        default = PARAMETERS[name].default
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
    names = [
        f.name for kind in (NodeConfig, RecognizerConfig, RuntimeConfig) for f in fields(kind)
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


def test_a_whole_number_serves_as_a_real_one():
    value = resolve({'min_similarity': 1})['min_similarity']
    assert (value, type(value)) == (1.0, float)


@pytest.mark.parametrize(
    ('overrides', 'text'),
    [
        ({'min_similarty': 0.5}, r"no parameter 'min_similarty'; did you mean 'min_similarity'\?"),
        ({'foo.bar': 1}, r"no parameter 'foo\.bar' \(there are: autostart, model, map"),
        ({'top_k': 5.0}, r'top_k: 5\.0 \(number\) is not accepted; accepted: integer, 1 to 1000'),
        ({'top_k': 0}, r'top_k: 0 \(integer\) is not accepted'),
        ({'top_k': True}, r'top_k: True \(true or false\) is not accepted'),
        ({'autostart': 1}, r'autostart: 1 \(integer\) is not accepted; accepted: true or false'),
        ({'map': 1}, r'map: 1 \(integer\) is not accepted; accepted: text'),
        ({'min_similarity': float('nan')}, r'min_similarity: nan'),
        ({'device': 'gpu'}, r"device: 'gpu' \(text\).*accepted: auto, cpu, cuda, tensorrt"),
        ({'model': ['a', 'b']}, r"model: \['a', 'b'\] \(list\)"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_accepted(overrides, text):
    with pytest.raises(ParameterError, match=text):
        resolve(overrides)


def test_all_faults_are_named_at_once():
    with pytest.raises(ParameterError, match=r"'modle'.*top_k: 0"):
        resolve({'modle': '', 'top_k': 0})
