"""Write a network of transformer layers in int8, as ONNX Runtime runs it fastest on a CPU."""

import tempfile
from collections.abc import Collection, Iterable, Sequence
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
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process

Inputs = dict[str, NDArray[Any]]

MOVED = 0.7
"""How much of the spread between the channels of a product's input goes over to its weights."""


class _Samples(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, samples: Iterable[Inputs]) -> None:
        self._left = iter(samples)

    def get_next(self) -> Inputs | None:
        return next(self._left, None)


def write_int8(
    source: Path, target: Path, samples: Sequence[Inputs], spiked: Collection[str] = ()
) -> None:
    """The layers' matrices and the token table in int8; heads and attention products in float.

    Activation ranges are those of the samples (static quantisation): ranges found at run time are
    those of the whole batch, so a text's result would depend on the texts beside it. Products named
    in `spiked` are `MatMulNBits` of ONNX Runtime, which finds a range for each 128 numbers of a
    token. Raises ValueError where one of these is not there.
    """
    with tempfile.TemporaryDirectory() as folder:
        ready, table, blocked, fixed = (
            Path(folder) / f"{name}.onnx" for name in ("ready", "table", "blocked", "fixed")
        )
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        model = onnx.load(str(ready))
        static, missing = _products(model.graph), set(spiked)
        for node in [node for node in static if node.name in spiked]:
            static.remove(node)
            missing.remove(node.name)
        if missing:
            raise ValueError(f"There is no product {', '.join(sorted(missing))}.")
        names = {node.name for node in static}
        _even_out(model, static, samples)
        onnx.save(model, str(ready))
        lookups = [node.name for node in model.graph.node if node.op_type == "Gather"]
        quantize_dynamic(
            str(ready),
            str(table),
            op_types_to_quantize=["Gather"],
            nodes_to_exclude=[name for name in lookups if "/tokens/" not in name],
            weight_type=QuantType.QInt8,
        )
        model = onnx.load(str(table))
        others = [n.name for n in model.graph.node if n.op_type == "MatMul" and n.name not in names]
        blocks = MatMulNBitsQuantizer(
            model,
            bits=8,
            block_size=128,
            is_symmetric=True,
            accuracy_level=4,
            nodes_to_exclude=[*names, *(name for name in others if name not in spiked)],
        )
        blocks.process()
        blocks.model.save_model_to_file(str(blocked))
        quantize_static(
            str(blocked),
            str(fixed),
            _Samples(samples),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=others,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={
                "MatMulConstBOnly": True,
                "OpTypesToExcludeOutputQuantization": ["MatMul"],
            },
        )
        model = onnx.load(str(fixed))
        _round_for_products_alone(model.graph)
        _keep_sums_apart(model.graph)
        onnx.save(model, str(target))


def _products(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The products of the layers with their weights."""
    weights = {tensor.name for tensor in graph.initializer}
    return [
        node
        for node in graph.node
        if node.op_type == "MatMul" and "layers." in node.name and node.input[1] in weights
    ]


def _even_out(
    model: onnx.ModelProto, products: Sequence[onnx.NodeProto], samples: Iterable[Inputs]
) -> None:
    """Divides the channels of what products read by factors that go into their weights, so that a
    channel of huge numbers does not coarsen the others (SmoothQuant, Xiao et al. 2023)."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    read: dict[str, list[onnx.NodeProto]] = {}
    for node in products:
        read.setdefault(node.input[0], []).append(node)
    for name, largest in _largest(model, list(read), samples).items():
        matrices = [weights[node.input[1]] for node in read[name]]
        heaviest = np.max([np.abs(numpy_helper.to_array(m)).max(1) for m in matrices], 0)
        logs = MOVED * np.log(largest.clip(1e-5)) - (1.0 - MOVED) * np.log(heaviest.clip(1e-5))
        factors = np.exp(logs - logs.mean()).astype(np.float32)
        for matrix in matrices:
            moved = numpy_helper.to_array(matrix) * factors[:, None]
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
            largest = np.abs(value).max((0, 1))
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
        if node.op_type != "MatMul":
            for i, name in enumerate(node.input):
                node.input[i] = before.get(name, name)


def _keep_sums_apart(graph: onnx.GraphProto) -> None:
    """Writes the layers' sums before norms and those with a bias as `Sum`, which means the same.

    ONNX Runtime joins `Add` with what follows into SkipLayerNormalization and BiasGelu, whose
    kernels for the CPU take longer than the parts.
    """
    normed = {node.input[0] for node in graph.node if node.op_type == "LayerNormalization"}
    biases = {
        tensor.name
        for tensor in graph.initializer
        if len(tensor.dims) == 1 and tensor.data_type == onnx.TensorProto.FLOAT
    }
    for node in graph.node:
        sums = node.op_type == "Add" and "layers." in node.name
        if sums and (node.output[0] in normed or biases & set(node.input)):
            node.op_type = "Sum"
