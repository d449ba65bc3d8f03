# SPDX-License-Identifier: Apache-2.0
"""Make an ONNX file smaller and, on the right hardware, faster: float16 and int8.

Whoever calls these compares the answers afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

# Sums over hundreds of positions or channels, and what divides by them.
KEPT_IN_FLOAT32 = ['LayerNormalization', 'ReduceL2', 'Softmax']
STORED_IN_FLOAT32 = 1000  # values and fewer: biases, norms, single numbers
QUANTIZED = ['Conv', 'MatMul', 'Gemm']


def store_float16(path: Path) -> None:
    """Store the weights in float16; the runtime turns them back as it loads the file."""
    model = onnx.load(path)
    graph = model.graph
    casts = []
    for weight in graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < STORED_IN_FLOAT32:
            continue
        name = weight.name
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f'{name}.half'))
        casts.append(
            onnx.helper.make_node('Cast', [weight.name], [name], to=onnx.TensorProto.FLOAT)
        )
    for position, cast in enumerate(casts):
        graph.node.insert(position, cast)
    onnx.save(model, path)


def to_float16(path: Path) -> None:
    """Store the weights, and compute, in float16; input and output keep their types."""
    model = convert_float_to_float16(
        onnx.load(path),
        keep_io_types=True,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *KEPT_IN_FLOAT32],
    )
    onnx.save(model, path)


def to_int8(path: Path, pictures: Sequence[np.ndarray], input_name: str) -> None:
    """Quantise convolutions and matrix products: static, weights per channel.

    Args:
        path: ONNX file, replaced.
        pictures: uint8 RGB (h, w, 3), resized for the model: they show the range of each value.
        input_name: Name of the model's input.
    """
    prepared = path.with_suffix('.prepared.onnx')
    quant_pre_process(path, prepared)  # folds batch norms into convolutions, infers shapes
    quantize_static(
        prepared,
        path,
        _Pictures(pictures, input_name),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=QUANTIZED,
        per_channel=True,
        reduce_range=True,  # without VNNI, sums of full 8 bit products overflow
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    prepared.unlink()


class _Pictures(CalibrationDataReader):
    """Feeds one picture after another."""

    def __init__(self, pictures: Sequence[np.ndarray], input_name: str) -> None:
        self._batches: Iterator[dict[str, np.ndarray]] = iter(
            [{input_name: rgb[None]} for rgb in pictures]
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)
