# SPDX-License-Identifier: Apache-2.0
"""A small model that really recognises pictures: an 8x8 colour thumbnail, centred, unit norm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vpr_ros import extractor
from vpr_ros.preprocess import Preprocess

INPUT_SIZE = 64
GRID = 8
DESCRIPTOR_SIZE = GRID * GRID * 3

METADATA = {
    extractor.KEY_SCHEMA: extractor.METADATA_SCHEMA_VERSION,
    extractor.KEY_NAME: 'thumbnail-8x8',
    extractor.KEY_DESCRIPTOR_SIZE: str(DESCRIPTOR_SIZE),
    extractor.KEY_PREPROCESS: Preprocess(INPUT_SIZE, INPUT_SIZE).to_json(),
    extractor.KEY_TRAINING_DATA: 'none',
    extractor.KEY_SOURCE_SHA256: '0' * 64,
    extractor.KEY_LICENSE: 'Apache-2.0',
    extractor.KEY_MIN_SIMILARITY: '0.8',
    extractor.KEY_RECALL_AT_1: '0.9',
    extractor.KEY_RECALL_PROTOCOL: 'made for tests',
}


def thumbnail_graph(*, normalise: bool = True) -> onnx.ModelProto:
    """uint8 (B, 64, 64, 3) -> thumbnail minus its mean -> (B, 192) of unit norm, no record."""
    constants = {
        'shape': np.array([0, -1], np.int64),
        'channels': np.array([1], np.int64),
        'scale': np.array(1 / 255, np.float32),
        'tiny': np.array(1e-12, np.float32),
    }
    output = 'descriptor' if normalise else 'unused'
    nodes = [
        helper.make_node('Cast', ['image'], ['float'], to=TensorProto.FLOAT),
        helper.make_node('Mul', ['float', 'scale'], ['scaled']),
        helper.make_node('Transpose', ['scaled'], ['nchw'], perm=[0, 3, 1, 2]),
        helper.make_node(
            'AveragePool', ['nchw'], ['pooled'], kernel_shape=[GRID, GRID], strides=[GRID, GRID]
        ),
        helper.make_node('Reshape', ['pooled', 'shape'], ['flat' if normalise else 'raw']),
    ]
    if not normalise:
        nodes.append(helper.make_node('Identity', ['raw'], ['descriptor']))
    else:
        nodes += [
            helper.make_node('ReduceMean', ['flat', 'channels'], ['mean'], keepdims=1),
            helper.make_node('Sub', ['flat', 'mean'], ['centred']),
            helper.make_node('ReduceL2', ['centred', 'channels'], ['norm'], keepdims=1),
            helper.make_node('Max', ['norm', 'tiny'], ['safe']),
            helper.make_node('Div', ['centred', 'safe'], [output]),
        ]
    graph = helper.make_graph(
        nodes,
        'thumbnail',
        [
            helper.make_tensor_value_info(
                'image', TensorProto.UINT8, ['B', INPUT_SIZE, INPUT_SIZE, 3]
            )
        ],
        [helper.make_tensor_value_info('descriptor', TensorProto.FLOAT, ['B', DESCRIPTOR_SIZE])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)])
    model.ir_version = 9
    return model


def write(path: Path, model: onnx.ModelProto, metadata: dict[str, str]) -> Path:
    """Save `model` with `metadata` in it."""
    helper.set_model_props(model, metadata)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def write_tiny_model(path: Path, **changes: str | None) -> Path:
    """Save the thumbnail model; `changes` replace or, with None, remove entries of its record.

    Their names are the record's keys without `vpr.`.
    """
    record = METADATA | {f'vpr.{key}': value for key, value in changes.items()}
    return write(path, thumbnail_graph(), {k: v for k, v in record.items() if v is not None})
