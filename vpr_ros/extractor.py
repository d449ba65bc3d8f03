# SPDX-License-Identifier: Apache-2.0
"""From a picture to its global descriptor, with the model and its own record.

A vpr_ros model is one ONNX file: input `image` uint8 RGB (B, h, w, 3), output `descriptor`
float32 (B, D) of unit norm, weights inside, and a record in the ONNX metadata (keys `vpr.*`).
`training/export_onnx.py` writes such files.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime as ort

from vpr_ros.errors import DeviceError, ModelError
from vpr_ros.hashing import file_sha256
from vpr_ros.model_ref import ModelRef
from vpr_ros.onnx_session import CPU_PROVIDER, create_session, session_options
from vpr_ros.preprocess import Preprocess

logger = logging.getLogger(__name__)

INPUT_NAME = 'image'
OUTPUT_NAME = 'descriptor'
METADATA_SCHEMA_VERSION = '1'

KEY_SCHEMA = 'vpr.schema'
KEY_NAME = 'vpr.name'
KEY_DESCRIPTOR_SIZE = 'vpr.descriptor_size'
KEY_PREPROCESS = 'vpr.preprocess'
KEY_TRAINING_DATA = 'vpr.training_data'
KEY_SOURCE_SHA256 = 'vpr.source_sha256'
KEY_LICENSE = 'vpr.license'
REQUIRED_KEYS = (
    KEY_SCHEMA,
    KEY_NAME,
    KEY_DESCRIPTOR_SIZE,
    KEY_PREPROCESS,
    KEY_TRAINING_DATA,
    KEY_SOURCE_SHA256,
    KEY_LICENSE,
)
# Optional: measured on the validation split of the training, never on a test set.
KEY_MIN_SIMILARITY = 'vpr.min_similarity'
KEY_RECALL_AT_1 = 'vpr.recall_at_1'
KEY_RECALL_PROTOCOL = 'vpr.recall_protocol'

_REMEDY = 'export it again with `python training/export_onnx.py`'
_UNIT_NORM_TOLERANCE = 1e-3

DEVICES = ('auto', 'cpu', 'cuda', 'tensorrt')
_PROVIDER_OF_DEVICE = {
    'cpu': CPU_PROVIDER,
    'cuda': 'CUDAExecutionProvider',
    'tensorrt': 'TensorrtExecutionProvider',
}


@dataclass(frozen=True)
class ModelInfo:
    """The record inside a model file.

    Attributes:
        name: Name of the model, for people.
        sha256: SHA-256 of the file, hexadecimal; what a map is bound to.
        descriptor_size: D.
        preprocess: How a picture becomes the input.
        path: The file.
        metadata: The whole record, key to text.
        min_similarity: Cosine similarity that the training measured as its threshold, or None.
        recall_at_1: Recall@1 on the validation split, fraction, or None.
    """

    name: str
    sha256: str
    descriptor_size: int
    preprocess: Preprocess
    path: Path
    metadata: Mapping[str, str] = field(repr=False)
    min_similarity: float | None
    recall_at_1: float | None

    @property
    def ref(self) -> ModelRef:
        """What a map records of this model."""
        return ModelRef(self.name, self.sha256, self.descriptor_size)


class DescriptorExtractor:
    """Run a model on pictures.

    Attributes:
        info: The model's own record.
        provider: The onnxruntime execution provider in use, e.g. `CPUExecutionProvider`.
        provider_reason: One sentence: why this provider.
    """

    def __init__(self, model: str | Path, *, device: str = 'auto', num_threads: int = 0) -> None:
        """Load the model, choose the provider and run the network once.

        Args:
            model: The ONNX file.
            device: `auto` (an NVIDIA GPU where one works, else the CPU), `cpu`, `cuda` or
                `tensorrt`; a device that is named and does not work is an error.
            num_threads: CPU threads of one inference; 0: as many as there are cores.

        Raises:
            FileNotFoundError: No such file.
            ModelError: Not a vpr_ros model; the message says what is missing.
            DeviceError: The named device cannot be used; the message says why.
            ValueError: `device` is not one of the four.
        """
        path = Path(model)
        if not path.is_file():
            raise FileNotFoundError(f'no model file at {path}')
        if device not in DEVICES:
            raise ValueError(f'device must be one of {", ".join(DEVICES)}, not {device!r}')
        options = session_options(num_threads)
        # The CPU first: what fails there is the model's fault, what fails later the device's.
        session = create_session(path, [CPU_PROVIDER], options, remedy=_REMEDY)
        self.info = _read_info(path, session)
        _check_output(self.info, session)
        self._session, self.provider, self.provider_reason = _choose_session(
            self.info, device, session, options
        )
        logger.info('%s on %s: %s', self.info.name, self.provider, self.provider_reason)

    def extract(self, rgb: np.ndarray) -> np.ndarray:
        """Describe one picture.

        Args:
            rgb: uint8 RGB (H, W, 3).

        Returns:
            (D,) float32, unit norm.

        Raises:
            ValueError: `rgb` is not such a picture.
        """
        return self._run(self.info.preprocess(rgb)[np.newaxis])[0]

    def extract_batch(self, rgbs: Sequence[np.ndarray]) -> np.ndarray:
        """Describe several pictures, which may differ in size, in one run of the network.

        Args:
            rgbs: B pictures, each uint8 RGB (H, W, 3).

        Returns:
            (B, D) float32, rows of unit norm.
        """
        if len(rgbs) == 0:
            return np.empty((0, self.info.descriptor_size), np.float32)
        return self._run(np.stack([self.info.preprocess(rgb) for rgb in rgbs]))

    def _run(self, batch: np.ndarray) -> np.ndarray:
        return self._session.run([OUTPUT_NAME], {INPUT_NAME: batch})[0]


def read_model_info(model: str | Path) -> ModelInfo:
    """Read the record of a model file without choosing a device for it.

    Raises:
        FileNotFoundError: No such file.
        ModelError: Not a vpr_ros model.
    """
    path = Path(model)
    if not path.is_file():
        raise FileNotFoundError(f'no model file at {path}')
    session = create_session(path, [CPU_PROVIDER], session_options(0), remedy=_REMEDY)
    return _read_info(path, session)


def available_providers() -> list[str]:
    """Execution providers this onnxruntime was built with; being listed is no promise to work."""
    return list(ort.get_available_providers())


def _check_output(info: ModelInfo, session: ort.InferenceSession) -> None:
    """Run two different pictures: wrong width, fixed batch or missing norm show up here."""
    try:
        descriptors = _describe_noise(info, session)
    except Exception as error:  # onnxruntime raises its own untyped family
        raise ModelError(
            f'{info.path} does not run on a batch of two: {error}; {_REMEDY}'
        ) from error
    expected = (2, info.descriptor_size)
    if descriptors.shape != expected or descriptors.dtype != np.float32:
        raise ModelError(
            f'{info.path} returns {descriptors.dtype} {descriptors.shape}, its record promises '
            f'float32 {expected}; {_REMEDY}'
        )
    norms = np.linalg.norm(descriptors, axis=1)
    if not np.allclose(norms, 1.0, atol=_UNIT_NORM_TOLERANCE):
        raise ModelError(f'{info.path} returns descriptors of norm {norms}, not 1; {_REMEDY}')


def _describe_noise(info: ModelInfo, session: ort.InferenceSession) -> np.ndarray:
    shape = (2, info.preprocess.height, info.preprocess.width, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return session.run([OUTPUT_NAME], {INPUT_NAME: noise})[0]


def _choose_session(
    info: ModelInfo, device: str, on_cpu: ort.InferenceSession, options: ort.SessionOptions
) -> tuple[ort.InferenceSession, str, str]:
    """Return the session, the provider that runs it and why it was chosen."""
    cpu, cuda = _PROVIDER_OF_DEVICE['cpu'], _PROVIDER_OF_DEVICE['cuda']
    if device == 'cpu':
        return on_cpu, cpu, 'device cpu was asked for'
    if device != 'auto':
        session = _open_on_gpu(info, device, options)
        return session, _PROVIDER_OF_DEVICE[device], f'device {device} was asked for'
    if cuda not in ort.get_available_providers():
        reason = 'CPU: this onnxruntime has no CUDA provider (the set-up installs one with a GPU)'
        return on_cpu, cpu, reason
    try:
        return _open_on_gpu(info, 'cuda', options), cuda, 'GPU: the CUDA provider works'
    except DeviceError as error:
        return on_cpu, cpu, f'CPU: CUDA does not work here: {error}'


def _open_on_gpu(
    info: ModelInfo, device: str, options: ort.SessionOptions
) -> ort.InferenceSession:
    """Open the model on a GPU and run it once.

    Raises:
        DeviceError: It does not work; the message holds onnxruntime's own reason.
    """
    wanted = _PROVIDER_OF_DEVICE[device]
    if wanted not in ort.get_available_providers():
        raise DeviceError(
            f'device {device}: this onnxruntime was built without {wanted} (it has '
            f'{", ".join(ort.get_available_providers())}); install onnxruntime-gpu instead of '
            'onnxruntime, or use device cpu'
        )
    _preload_cuda_libraries()
    try:
        session = ort.InferenceSession(
            info.path.read_bytes(),
            options,
            providers=[wanted, _PROVIDER_OF_DEVICE['cpu']],
            enable_fallback=0,  # a run that fails must not go on, unsaid, on the CPU
        )
        if session.get_providers()[0] == wanted:
            _describe_noise(info, session)
            return session
        # onnxruntime drops a provider that fails to start and goes on with the CPU.
        reason = 'it could not be started (driver, CUDA or cuDNN missing or too old?)'
    except Exception as error:  # onnxruntime raises its own untyped family
        raise DeviceError(_gpu_problem(device, str(error))) from error
    raise DeviceError(_gpu_problem(device, reason))


def _gpu_problem(device: str, reason: str) -> str:
    return (
        f'device {device}: {_PROVIDER_OF_DEVICE[device]}: {reason}; run `nvidia-smi`, or use '
        'device cpu'
    )


def _preload_cuda_libraries() -> None:
    """Load CUDA and cuDNN from the nvidia wheels, which are on no library path."""
    preload = getattr(ort, 'preload_dlls', None)  # onnxruntime >= 1.21
    if preload is not None:
        preload()


def _read_info(path: Path, session: ort.InferenceSession) -> ModelInfo:
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    missing = [key for key in REQUIRED_KEYS if key not in metadata]
    if missing:
        raise ModelError(f'{path} lacks the record {", ".join(missing)}; {_REMEDY}')
    if metadata[KEY_SCHEMA] != METADATA_SCHEMA_VERSION:
        raise ModelError(
            f'{path} has record version {metadata[KEY_SCHEMA]!r}, this vpr_ros reads '
            f'{METADATA_SCHEMA_VERSION!r}; update vpr_ros or {_REMEDY}'
        )
    try:
        info = ModelInfo(
            name=metadata[KEY_NAME],
            sha256=file_sha256(path),
            descriptor_size=int(metadata[KEY_DESCRIPTOR_SIZE]),
            preprocess=Preprocess.from_json(metadata[KEY_PREPROCESS]),
            path=path,
            metadata=metadata,
            min_similarity=_optional_float(metadata, KEY_MIN_SIMILARITY),
            recall_at_1=_optional_float(metadata, KEY_RECALL_AT_1),
        )
    except ValueError as error:
        raise ModelError(f'{path} has a damaged record: {error}; {_REMEDY}') from error
    _check_graph(path, session, info)
    return info


def _optional_float(metadata: Mapping[str, str], key: str) -> float | None:
    return float(metadata[key]) if key in metadata else None


def _check_graph(path: Path, session: ort.InferenceSession, info: ModelInfo) -> None:
    """Hold the graph's declared input and output against the record."""
    inputs = {i.name: (i.type, i.shape) for i in session.get_inputs()}
    outputs = {o.name: (o.type, o.shape) for o in session.get_outputs()}
    size = info.preprocess
    kind, shape = inputs.get(INPUT_NAME, (None, None))
    if len(inputs) != 1 or kind != 'tensor(uint8)' or shape[1:] != [size.height, size.width, 3]:
        raise ModelError(
            f'{path} takes {inputs}; a vpr_ros model takes {INPUT_NAME!r}: uint8 RGB '
            f'(B, {size.height}, {size.width}, 3); {_REMEDY}'
        )
    if not isinstance(shape[0], str):
        raise ModelError(f'{path} has a fixed batch of {shape[0]}; {_REMEDY} (dynamic batch)')
    kind, shape = outputs.get(OUTPUT_NAME, (None, None))
    if kind != 'tensor(float)' or shape[-1] not in (info.descriptor_size, None):
        raise ModelError(
            f'{path} returns {outputs}; a vpr_ros model returns {OUTPUT_NAME!r}: float32 '
            f'(B, {info.descriptor_size}); {_REMEDY}'
        )
