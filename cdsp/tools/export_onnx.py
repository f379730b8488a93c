"""Writes a trained network as an ONNX graph, for programs that do not know this package."""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from pathlib import Path

import torch

from cdsp.io.outputs import atomic_path, check_outputs
from cdsp.networks.checkpoint import read_network
from cdsp.networks.onnx_graph import ImageToProbabilities

OPSET = 17
_ONNX_NAMES = {"uint8": "UINT8", "uint16": "UINT16", "float32": "FLOAT"}

logger = logging.getLogger(__name__)


def export_onnx(weights: Path, output: Path) -> None:
    """Write a network as one graph: ``image`` → ``probabilities``.

    ``image`` is (height, width, 3) uint8 RGB of any size, or has the channels and the depth of the
    photographs that were trained on; ``probabilities`` is (K, height, width) float32. Resizing to
    the working size, normalisation, padding, the protocol's scales and mirror and the way back to
    the image's size are in the graph; its metadata holds ``classes``, a JSON list in the order of
    K.

    Args:
        weights: the network's file.
        output: the ``.onnx`` file to write.

    Raises:
        ValueError: no package `onnx`, or see `read_network`.
    """
    if importlib.util.find_spec("onnx") is None:
        raise ValueError("export onnx: the package onnx is missing: pip install 'cdsp[onnx]'")
    import onnx

    check_outputs([output], inputs=[weights])
    checkpoint = read_network(weights, "segmentation")
    protocol = checkpoint.protocol
    if protocol.window:
        logger.warning(
            "the network's protocol slides a window of %d pixels; the graph predicts whole images",
            protocol.window,
        )
    graph = ImageToProbabilities(checkpoint.network, protocol, checkpoint.working_size).eval()  # type: ignore[arg-type]
    pixels = checkpoint.pixels
    # PyTorch's exporter knows no uint16: int32 takes its place, until the graph is written.
    depth = torch.int32 if pixels.depth == "uint16" else getattr(torch, pixels.depth)
    sides = {0: "height", 1: "width"}
    with atomic_path(output) as temporary:
        with warnings.catch_warnings():
            # PyTorch announces another exporter, which needs one package more.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph,
                (torch.zeros(65, 97, pixels.channels, dtype=depth),),
                temporary,
                dynamo=False,
                opset_version=OPSET,
                input_names=["image"],
                output_names=["probabilities"],
                dynamic_axes={"image": sides, "probabilities": {1: "height", 2: "width"}},
            )
        model = onnx.load(temporary)
        kind = onnx.TensorProto.DataType.Value(_ONNX_NAMES[pixels.depth])
        model.graph.input[0].type.tensor_type.elem_type = kind
        del model.graph.value_info[:]
        onnx.helper.set_model_props(model, {"classes": json.dumps(list(checkpoint.classes))})
        onnx.checker.check_model(model)
        onnx.save(model, temporary)
