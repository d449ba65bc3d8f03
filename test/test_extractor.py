# SPDX-License-Identifier: Apache-2.0
import numpy as np
import onnxruntime as ort
import pytest

from vpr_ros import extractor
from vpr_ros.errors import DeviceError, ModelError
from vpr_ros.extractor import DescriptorExtractor, read_model_info
from vpr_ros.hashing import file_sha256

onnx = pytest.importorskip('onnx')
import tiny_model as tiny  # noqa: E402 - needs onnx

has_cuda = 'CUDAExecutionProvider' in ort.get_available_providers()


@pytest.fixture
def describe(tiny_model):
    return DescriptorExtractor(tiny_model, device='cpu')


def test_reads_the_record(describe, tiny_model):
    info = describe.info
    assert (info.name, info.descriptor_size) == ('thumbnail-8x8', 192)
    assert info.min_similarity == 0.8 and info.recall_at_1 == 0.9
    assert info.ref.sha256 == file_sha256(tiny_model)
    assert read_model_info(tiny_model) == info


def test_descriptor_is_the_known_one(describe):
    # One bright thumbnail cell on black, known by hand: (1 - mean) there, -mean elsewhere.
    rgb = np.zeros((64, 64, 3), np.uint8)
    rgb[0:8, 8:16, 2] = 255
    raw = np.full(192, -1 / 192)
    raw[2 * 64 + 1] += 1  # channel-major: blue, row 0, column 1
    np.testing.assert_allclose(describe.extract(rgb), raw / np.linalg.norm(raw), atol=1e-6)


def test_batch_gives_the_same_as_one_by_one(describe, textured_pictures):
    small, large = textured_pictures(2, height=60, width=80), textured_pictures(1, height=120)
    pictures = [*small, *large]
    batch = describe.extract_batch(pictures)
    assert batch.shape == (3, 192) and batch.dtype == np.float32
    np.testing.assert_allclose(batch, [describe.extract(p) for p in pictures], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(batch, axis=1), 1, atol=1e-6)


def test_empty_batch(describe):
    assert describe.extract_batch([]).shape == (0, 192)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no model file at .*absent\.onnx'):
        DescriptorExtractor(tmp_path / 'absent.onnx')


def test_not_an_onnx_file(tmp_path):
    path = tmp_path / 'text.onnx'
    path.write_text('not a model')
    with pytest.raises(ModelError, match='not a usable ONNX model'):
        DescriptorExtractor(path)


@pytest.mark.parametrize('key', extractor.REQUIRED_KEYS)
def test_refuses_a_model_without_its_record(tmp_path, key):
    path = tiny.write_tiny_model(tmp_path / 'm.onnx', **{key.removeprefix('vpr.'): None})
    with pytest.raises(ModelError, match=rf'lacks the record {key}; export it again with'):
        DescriptorExtractor(path)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'schema': '9'}, "record version '9'"),
        ({'preprocess': '{"height": 64}'}, 'damaged record'),
        ({'descriptor_size': 'many'}, 'damaged record'),
        ({'descriptor_size': '100'}, r'\(B, 100\)'),
        ({'preprocess': extractor.Preprocess(32, 32).to_json()}, r'\(B, 32, 32, 3\)'),
    ],
)
def test_refuses_a_record_that_does_not_fit(tmp_path, change, message):
    with pytest.raises(ModelError, match=message):
        DescriptorExtractor(tiny.write_tiny_model(tmp_path / 'm.onnx', **change))


def test_refuses_output_that_is_not_of_unit_norm(tmp_path):
    path = tiny.write(tmp_path / 'm.onnx', tiny.thumbnail_graph(normalise=False), tiny.METADATA)
    with pytest.raises(ModelError, match='norm'):
        DescriptorExtractor(path)


def test_refuses_external_data(tmp_path):
    model = tiny.thumbnail_graph()
    onnx.helper.set_model_props(model, tiny.METADATA)
    path = tmp_path / 'm.onnx'
    onnx.save_model(
        model, path, save_as_external_data=True, location='m.onnx.data', size_threshold=0
    )
    assert (tmp_path / 'm.onnx.data').exists()
    with pytest.raises(ModelError, match='second file'):
        DescriptorExtractor(path)


def test_auto_says_what_it_chose_and_why(tiny_model):
    describe = DescriptorExtractor(tiny_model, device='auto')
    assert describe.provider in ('CPUExecutionProvider', 'CUDAExecutionProvider')
    assert describe.provider_reason.startswith(('CPU: ', 'GPU: '))


@pytest.mark.skipif(has_cuda, reason='this onnxruntime has a CUDA provider')
@pytest.mark.parametrize('device', ['cuda', 'tensorrt'])
def test_a_named_gpu_that_is_not_there_is_an_error(tiny_model, device):
    with pytest.raises(DeviceError, match=rf'device {device}: .*onnxruntime-gpu'):
        DescriptorExtractor(tiny_model, device=device)


class FailingGpu:
    """Stands for onnxruntime's session on a GPU that opens and then cannot run."""

    def __init__(self, *args, providers, enable_fallback=1, **kwargs):
        self.providers = providers
        self._on_cpu = SESSION(*args, providers=['CPUExecutionProvider'])
        assert enable_fallback == 0 or providers == ['CPUExecutionProvider']

    def get_providers(self):
        return self.providers

    def run(self, *args):
        if self.providers[0] != 'CPUExecutionProvider':
            raise RuntimeError('CUDA error 35: driver too old')
        return self._on_cpu.run(*args)

    def __getattr__(self, name):
        return getattr(self._on_cpu, name)


SESSION = ort.InferenceSession


@pytest.fixture
def failing_gpu(monkeypatch):
    providers = ['CUDAExecutionProvider', 'CPUExecutionProvider']
    monkeypatch.setattr(ort, 'get_available_providers', lambda: providers)
    monkeypatch.setattr(ort, 'InferenceSession', FailingGpu)


def test_a_gpu_that_cannot_run_says_why(tiny_model, failing_gpu):
    with pytest.raises(DeviceError, match=r'device cuda: .*driver too old; run `nvidia-smi`'):
        DescriptorExtractor(tiny_model, device='cuda')


def test_auto_goes_to_the_cpu_and_says_why(tiny_model, failing_gpu):
    describe = DescriptorExtractor(tiny_model, device='auto')
    assert describe.provider == 'CPUExecutionProvider'
    assert 'driver too old' in describe.provider_reason


def test_unknown_device(tiny_model):
    with pytest.raises(ValueError, match="one of auto, cpu, cuda, tensorrt, not 'gpu'"):
        DescriptorExtractor(tiny_model, device='gpu')
