"""Write a network of transformer layers in int8, as ONNX Runtime runs it fastest on a CPU."""

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

Inputs = dict[str, NDArray[Any]]

OPSET = 23
EVENED = ("query", "key", "value", "up")
"""The products that read what a norm has put out, where single channels are huge."""
MOVED = 0.7
"""How much of the spread between the channels of a product's input goes over to its weights."""


class _Samples(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, samples: Iterable[Inputs]) -> None:
        self._left = iter(samples)

    def get_next(self) -> Inputs | None:
        return next(self._left, None)


def write_int8(source: Path, target: Path, samples: Sequence[Inputs]) -> None:
    """The layers' matrices in int8; heads and attention in float.

    Activation ranges are those of the samples (static quantisation): ranges found at run time are
    those of the whole batch, so a text's result would depend on the texts beside it.
    """
    with tempfile.TemporaryDirectory() as folder:
        ready, fixed = (Path(folder) / f"{name}.onnx" for name in ("ready", "fixed"))
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        model = onnx.load(str(ready))
        products = _products(model.graph)
        _even_out(model, products, samples)
        onnx.save(model, str(ready))
        quantize_static(
            str(ready),
            str(fixed),
            _Samples(samples),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Gemm", "MatMul"],
            nodes_to_quantize=[node.name for node in products],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
        )
        model = onnx.load(str(fixed))
    _round_for_products_alone(model.graph)
    _use_attention_of_onnx(model)
    onnx.save(model, str(target))


def _products(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The products of the layers with their weights."""
    weights = {tensor.name for tensor in graph.initializer}
    return [
        node
        for node in graph.node
        if node.op_type in ("Gemm", "MatMul")
        and "layers." in node.name
        and node.input[1] in weights
    ]


def _even_out(
    model: onnx.ModelProto, products: Sequence[onnx.NodeProto], samples: Iterable[Inputs]
) -> None:
    """Divides the channels of what products read by factors that go into their weights, so that a
    channel of huge numbers does not coarsen the others (SmoothQuant, Xiao et al. 2023).

    Not those of what attention or the layer's inner part puts out: it gains little there.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    read: dict[str, list[onnx.NodeProto]] = {}
    for node in products:
        if node.name.split("/")[-2] in EVENED:
            read.setdefault(node.input[0], []).append(node)
    for name, largest in _largest(model, list(read), samples).items():
        matrices = [weights[node.input[1]] for node in read[name]]
        heaviest = np.max([np.abs(numpy_helper.to_array(m)).max(0) for m in matrices], 0)
        logs = MOVED * np.log(largest.clip(1e-5)) - (1.0 - MOVED) * np.log(heaviest.clip(1e-5))
        factors = np.exp(logs - logs.mean()).astype(np.float32)
        for matrix in matrices:
            moved = numpy_helper.to_array(matrix) * factors
            matrix.CopyFrom(numpy_helper.from_array(moved, matrix.name))
        factor, evened = f"{name}/factors", f"{name}/evened"
        model.graph.initializer.append(numpy_helper.from_array(1.0 / factors, factor))
        first = min(list(model.graph.node).index(node) for node in read[name])
        even = helper.make_node("Mul", [name, factor], [evened], name=evened)
        for node in read[name]:
            node.input[0] = evened
        model.graph.node.insert(first, even)


def _largest(
    model: onnx.ModelProto, names: Sequence[str], samples: Iterable[Inputs]
) -> dict[str, NDArray[np.float32]]:
    """The greatest magnitude of each channel of some values in the graph."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    for name in names:
        probe.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(
        probe.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found: dict[str, NDArray[np.float32]] = {}
    for sample in samples:
        for name, value in zip(names, session.run(names, sample), strict=True):
            largest = np.abs(value).max(0)
            found[name] = np.maximum(found.get(name, largest), largest)
    return found


def _round_for_products_alone(graph: onnx.GraphProto) -> None:
    """Has sums and norms read what was there before it was rounded for a product."""
    rounded = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "QuantizeLinear"}
    before = {
        node.output[0]: rounded[node.input[0]]
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in rounded
    }
    for node in graph.node:
        if node.op_type not in ("Gemm", "MatMul"):
            for i, name in enumerate(node.input):
                node.input[i] = before.get(name, name)


def _use_attention_of_onnx(model: onnx.ModelProto) -> None:
    """Writes attention as the operator of ONNX since opset 23, whose kernel for the CPU takes half
    the time of the one that the exporter knows, and only standard operators."""
    for node in model.graph.node:
        if node.op_type == "MultiHeadAttention":
            (heads,) = (a.i for a in node.attribute if a.name == "num_heads")
            q, k, v, *_, bias = node.input
            node.CopyFrom(
                helper.make_node(
                    "Attention",
                    [q, k, v, bias],
                    node.output,
                    name=node.name,
                    q_num_heads=heads,
                    kv_num_heads=heads,
                )
            )
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", OPSET))
    model.ir_version = 10
    onnx.checker.check_model(model)
