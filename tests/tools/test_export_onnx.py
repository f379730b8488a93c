import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from cdsp.evaluation.settings import WHOLE_IMAGE
from cdsp.networks.checkpoint import read_network, write_network
from cdsp.networks.onnx_graph import ImageToProbabilities, resample
from cdsp.networks.predictor import predict_probabilities
from cdsp.tools.export_onnx import export_onnx
from cdsp.working_size import at_working_size, photograph_at_working_size

CPU = torch.device("cpu")
SIZES = [(48, 48), (97, 33), (20, 61), (150, 211), (1, 7)]


def draw_image(height, width):
    """Smooth colours, so that a pixel of one resizing is that of another."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    colours = [np.sin(9 * x + 4 * y), np.cos(7 * y), np.sin(5 * x * y + 1)]
    return np.rint(127.5 + 120 * np.stack(colours, axis=-1)).astype(np.uint8)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("working_size", [0, 40, 64, 300])
def test_images_are_resized_as_for_training(size, working_size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = photograph_at_working_size(image, working_size)
    sides = map(torch.tensor, at_working_size(size, working_size))
    found = resample(torch.from_numpy(image).permute(2, 0, 1).float(), *sides, rounds=True)
    difference = np.abs(found.permute(1, 2, 0).numpy() - expected)
    assert difference.max() <= 1  # OpenCV computes with 11 bits
    assert (difference > 0).mean() < 0.2


@pytest.mark.parametrize(
    ("working_size", "protocol"),
    [
        (0, WHOLE_IMAGE),
        (80, WHOLE_IMAGE),
        (64, replace(WHOLE_IMAGE, scales=(0.5, 1.0, 1.25), flip=True)),
        (64, replace(WHOLE_IMAGE, long_side=50)),
    ],
    ids=["as they are", "working size", "scales and mirror", "long side"],
)
def test_the_graph_predicts_what_the_network_predicts(
    tiny_weights, tmp_path, working_size, protocol
):
    runtime = pytest.importorskip("onnxruntime")
    checkpoint = replace(
        read_network(tiny_weights, "segmentation"), working_size=working_size, protocol=protocol
    )
    write_network(tmp_path / "weights.pt", checkpoint)
    export_onnx(tmp_path / "weights.pt", tmp_path / "network.onnx")
    session = runtime.InferenceSession(tmp_path / "network.onnx")
    classes = session.get_modelmeta().custom_metadata_map["classes"]
    assert tuple(json.loads(classes)) == checkpoint.classes
    module = ImageToProbabilities(checkpoint.network, protocol, working_size)
    for size in SIZES:
        image = draw_image(*size)
        (found,) = session.run(None, {"image": image})
        assert found.shape == (len(checkpoint.classes), *size)
        with torch.inference_mode():
            same = module(torch.from_numpy(image)).numpy()
        np.testing.assert_allclose(found, same, atol=1e-3)
        expected = predict_probabilities(
            checkpoint.network, image, protocol, CPU, working_size=working_size
        )
        np.testing.assert_allclose(found, expected, atol=0.02)


def test_without_onnx_one_is_told_what_to_install(tiny_weights, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'cdsp\[onnx\]'"):
        export_onnx(tiny_weights, tmp_path / "network.onnx")
    assert not list(tmp_path.iterdir())
