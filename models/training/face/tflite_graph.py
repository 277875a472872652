"""TensorFlow Lite networks to ONNX: just the operators that the MediaPipe face nets use.

Two layouts. ``IMAGE`` rewrites a convolutional net from NHWC to NCHW. ``POINTS`` keeps the layout
and turns 1 x 1 convolutions into matrix products (the blendshape mixer). Either way the first
dimension becomes a free batch. Weights stay in float16 where the source has them so, behind a Cast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from math import ceil
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import tflite
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

Array = npt.NDArray[np.generic]
T = TypeVar("T")
OPSET = 17
_OPERATORS = {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}
_DTYPES = {0: np.float32, 1: np.float16, 2: np.int32, 3: np.uint8, 4: np.int64, 9: np.int8}


class Layout(Enum):
    """What kind of net is converted."""

    IMAGE = "image"
    POINTS = "points"


@dataclass(frozen=True)
class Output:
    """A tensor to keep: its number in the source, its new name, what is done to it last."""

    tensor: int
    name: str
    shape: tuple[int, ...]
    sigmoid: bool = False


@dataclass
class Converter:
    """One conversion. ``scale`` and ``offset`` turn uint8 pixels into what the net was made for."""

    source: bytes
    layout: Layout
    scale: float = 1.0
    offset: float = 0.0
    nodes: list[NodeProto] = field(default_factory=list)
    initialisers: dict[str, TensorProto] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model = tflite.Model.GetRootAs(self.source, 0)
        self.graph = self.model.Subgraphs(0)
        self.producers: dict[int, int] = {}
        for index in range(self.graph.OperatorsLength()):
            for tensor in self.graph.Operators(index).OutputsAsNumpy():
                self.producers[int(tensor)] = index

    def convert(self, name: str, input_name: str, outputs: Sequence[Output]) -> ModelProto:
        """The ONNX model with the given outputs; raises KeyError for an operator not known here."""
        entry = int(self.graph.Inputs(0))
        shape = self._shape(entry)
        self.batch = input_name
        if self.layout is Layout.IMAGE:
            kind = TensorProto.UINT8
            self._add("Cast", [input_name], "pixels", to=TensorProto.FLOAT)
            self._add("Mul", ["pixels", self._constant(np.array(self.scale, np.float32))], "scaled")
            self._add(
                "Add", ["scaled", self._constant(np.array(self.offset, np.float32))], "centred"
            )
            self._add("Transpose", ["centred"], f"t{entry}", perm=[0, 3, 1, 2])
        else:
            kind = TensorProto.FLOAT
            self._add("Identity", [input_name], f"t{entry}")
        for index in self._needed([output.tensor for output in outputs]):
            self._operator(index)
        for output in outputs:
            last = f"t{output.tensor}"
            if output.sigmoid:
                last = self._add("Sigmoid", [last], f"{output.name}_sigmoid")
            target = self._constant(np.array([-1, *output.shape], np.int64))
            self._add("Reshape", [last, target], output.name)
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info(input_name, kind, ["batch", *shape[1:]])],
            [
                helper.make_tensor_value_info(o.name, TensorProto.FLOAT, ["batch", *o.shape])
                for o in outputs
            ],
            list(self.initialisers.values()),
        )
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        checker.check_model(model, full_check=True)
        return model

    def _needed(self, tensors: Sequence[int]) -> list[int]:
        found: set[int] = set()
        queue = [t for t in tensors if t in self.producers]
        while queue:
            index = self.producers[queue.pop()]
            if index in found:
                continue
            found.add(index)
            inputs = self.graph.Operators(index).InputsAsNumpy()
            queue.extend(int(t) for t in inputs if int(t) in self.producers)
        return sorted(found)

    def _operator(self, index: int) -> None:
        operator = self.graph.Operators(index)
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        name = _OPERATORS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        inputs = [int(t) for t in operator.InputsAsNumpy()]
        output = int(operator.OutputsAsNumpy()[0])
        if name == "DEQUANTIZE":
            return
        plain = {
            "ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div", "NEG": "Neg", "SQRT": "Sqrt",
            "LOGISTIC": "Sigmoid", "RELU": "Relu",
        }  # fmt: skip
        if name in plain:
            options = getattr(tflite, f"{name.capitalize()}Options", None)
            fused = self._options(operator, options) if options and name in _FUSED else None
            result = self._temporary(output) if fused and _fused(fused) else f"t{output}"
            self._add(plain[name], [self._name(t) for t in inputs], result)
            if fused and _fused(fused):
                self._add("Relu", [result], f"t{output}")
            return
        handlers: dict[str, Callable[[tflite.Operator, list[int], int], None]] = {
            "CONV_2D": self._convolution,
            "DEPTHWISE_CONV_2D": self._depthwise,
            "MAX_POOL_2D": self._max_pool,
            "PAD": self._pad,
            "PRELU": self._prelu,
            "RESIZE_BILINEAR": self._resize,
            "RESHAPE": self._reshape,
            "MEAN": self._reduce("ReduceMean"),
            "SUM": self._reduce("ReduceSum"),
            "SQUARED_DIFFERENCE": self._squared_difference,
            "RSQRT": self._rsqrt,
            "TRANSPOSE": self._transpose,
            "STRIDED_SLICE": self._slice,
            "CONCATENATION": self._concatenate,
        }
        handlers[name](operator, inputs, output)

    def _convolution(self, operator: tflite.Operator, inputs: list[int], output: int) -> None:
        options = self._options(operator, tflite.Conv2DOptions)
        weights = self._value(inputs[1])
        result = self._temporary(output) if _fused(options) else f"t{output}"
        if self.layout is Layout.POINTS:
            matrix = self._constant(weights.reshape(weights.shape[0], -1).T)
            product = self._add("MatMul", [f"t{inputs[0]}", matrix], f"p{output}")
            self._add("Add", [product, self._name(inputs[2])], result)
        else:
            kernel = self._constant(weights.transpose(0, 3, 1, 2))
            self._windowed(
                "Conv", [f"t{inputs[0]}", kernel, self._name(inputs[2])], result, inputs[0],
                weights.shape[1:3], options,
            )  # fmt: skip
        if _fused(options):
            self._add("Relu", [result], f"t{output}")

    def _depthwise(self, operator: tflite.Operator, inputs: list[int], output: int) -> None:
        options = self._options(operator, tflite.DepthwiseConv2DOptions)
        weights = self._value(inputs[1])
        kernel = self._constant(weights.transpose(3, 0, 1, 2))
        result = self._temporary(output) if _fused(options) else f"t{output}"
        self._windowed(
            "Conv", [f"t{inputs[0]}", kernel, self._name(inputs[2])], result, inputs[0],
            weights.shape[1:3], options, group=self._shape(inputs[0])[3],
        )  # fmt: skip
        if _fused(options):
            self._add("Relu", [result], f"t{output}")

    def _max_pool(self, operator: tflite.Operator, inputs: list[int], output: int) -> None:
        options = self._options(operator, tflite.Pool2DOptions)
        window = (options.FilterHeight(), options.FilterWidth())
        names = [f"t{inputs[0]}"]
        self._windowed(
            "MaxPool", names, f"t{output}", inputs[0], window, options, kernel_shape=list(window)
        )

    def _windowed(
        self,
        kind: str,
        names: list[str],
        result: str,
        source: int,
        window: Sequence[int],
        options: tflite.Conv2DOptions | tflite.DepthwiseConv2DOptions | tflite.Pool2DOptions,
        **attributes: int | list[int],
    ) -> None:
        strides = [options.StrideH(), options.StrideW()]
        before, after = [0, 0], [0, 0]
        if options.Padding() == tflite.Padding.SAME:
            for axis in (0, 1):
                size = self._shape(source)[1 + axis]
                total = (ceil(size / strides[axis]) - 1) * strides[axis] + window[axis] - size
                before[axis] = max(total, 0) // 2
                after[axis] = max(total, 0) - before[axis]
        self._add(kind, names, result, strides=strides, pads=before + after, **attributes)

    def _pad(self, operator: tflite.Operator, inputs: list[int], output: int) -> None:
        pads = self._value(inputs[1]).astype(np.int64)[[0, 3, 1, 2]]
        self._add("Pad", [f"t{inputs[0]}", self._constant(pads.T.reshape(-1))], f"t{output}")

    def _prelu(self, operator: tflite.Operator, inputs: list[int], output: int) -> None:
        """slope x + (1 - slope) max(x, 0), as convolutions of each channel by itself: PRelu of ONNX
        Runtime takes longer than all other layers together."""
        slope = self._value(inputs[1]).astype(np.float32).reshape(-1, 1, 1, 1)
        source = f"t{inputs[0]}"
        positive = self._add("Relu", [source], f"positive{output}")
        parts = [
            self._add(
                "Conv", [values, self._constant(factor)], f"{name}{output}",
                kernel_shape=[1, 1], group=len(slope),
            )
            for name, values, factor in (("above", positive, 1 - slope), ("slope", source, slope))
        ]  # fmt: skip
        self._add("Add", parts, f"t{output}")

    def _resize(self, operator: tflite.Operator, inputs: list[int], output: int) -> None:
        options = self._options(operator, tflite.ResizeBilinearOptions)
        mode = "asymmetric"
        if options.AlignCorners():
            mode = "align_corners"
        elif options.HalfPixelCenters():
            mode = "half_pixel"
        scales = [b / a for a, b in zip(self._shape(inputs[0]), self._shape(output), strict=True)]
        factors = np.array([1, 1, scales[1], scales[2]], np.float32)
        self._add(
            "Resize", [f"t{inputs[0]}", "", self._constant(factors)], f"t{output}",
            mode="linear", coordinate_transformation_mode=mode,
        )  # fmt: skip

    def _reshape(self, operator: tflite.Operator, inputs: list[int], output: int) -> None:
        source = f"t{inputs[0]}"
        if self.layout is Layout.IMAGE:
            source = self._add("Transpose", [source], f"nhwc{output}", perm=[0, 2, 3, 1])
        shape = self._shape(output)
        rest = shape[1:] if shape[0] == 1 else shape
        target = self._constant(np.array([-1, *rest], np.int64))
        self._add("Reshape", [source, target], f"t{output}")

    def _reduce(self, kind: str) -> Callable[[tflite.Operator, list[int], int], None]:
        def handler(operator: tflite.Operator, inputs: list[int], output: int) -> None:
            options = self._options(operator, tflite.ReducerOptions)
            axes = np.atleast_1d(self._value(inputs[1])).astype(np.int64)
            keep = int(options.KeepDims())
            if kind == "ReduceSum":
                names = [f"t{inputs[0]}", self._constant(axes)]
                self._add(kind, names, f"t{output}", keepdims=keep)
            else:
                self._add(kind, [f"t{inputs[0]}"], f"t{output}", axes=axes.tolist(), keepdims=keep)

        return handler

    def _squared_difference(
        self, operator: tflite.Operator, inputs: list[int], output: int
    ) -> None:
        difference = self._add("Sub", [self._name(t) for t in inputs], f"difference{output}")
        self._add("Mul", [difference, difference], f"t{output}")

    def _rsqrt(self, operator: tflite.Operator, inputs: list[int], output: int) -> None:
        root = self._add("Sqrt", [f"t{inputs[0]}"], f"root{output}")
        self._add("Reciprocal", [root], f"t{output}")

    def _transpose(self, operator: tflite.Operator, inputs: list[int], output: int) -> None:
        order = [int(axis) for axis in self._value(inputs[1])]
        self._add("Transpose", [f"t{inputs[0]}"], f"t{output}", perm=order)

    def _slice(self, operator: tflite.Operator, inputs: list[int], output: int) -> None:
        options = self._options(operator, tflite.StridedSliceOptions)
        if options.ShrinkAxisMask() or options.EllipsisMask() or options.NewAxisMask():
            raise NotImplementedError("STRIDED_SLICE that changes the rank")
        shape = self._shape(inputs[0])
        begin, end, step = (self._value(t).astype(np.int64).copy() for t in inputs[1:4])
        for axis in range(len(begin)):
            if options.BeginMask() >> axis & 1:
                begin[axis] = 0
            if options.EndMask() >> axis & 1 or axis == 0:
                end[axis] = np.iinfo(np.int64).max if axis == 0 else shape[axis]
        axes = np.arange(len(begin), dtype=np.int64)
        names = [f"t{inputs[0]}", *(self._constant(v) for v in (begin, end, axes, step))]
        self._add("Slice", names, f"t{output}")

    def _concatenate(self, operator: tflite.Operator, inputs: list[int], output: int) -> None:
        axis = self._options(operator, tflite.ConcatenationOptions).Axis()
        names = []
        for tensor in inputs:
            name = self._name(tensor)
            if name in self.initialisers or name.startswith("cast_"):
                shape = self._add("Shape", [self.batch], f"rows{output}", start=0, end=1)
                rest = self._constant(np.array(self._shape(tensor)[1:], np.int64))
                target = self._add("Concat", [shape, rest], f"target{output}", axis=0)
                name = self._add("Expand", [name, target], f"expanded{output}")
            names.append(name)
        self._add("Concat", names, f"t{output}", axis=axis)

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def _temporary(self, output: int) -> str:
        return f"before_relu{output}"

    def _shape(self, tensor: int) -> list[int]:
        entry = self.graph.Tensors(tensor)
        return [int(d) for d in entry.ShapeAsNumpy()] if entry.ShapeLength() else []

    def _value(self, tensor: int) -> Array:
        """The constant behind a tensor, looking through DEQUANTIZE."""
        if tensor in self.producers:
            tensor = int(self.graph.Operators(self.producers[tensor]).InputsAsNumpy()[0])
        entry = self.graph.Tensors(tensor)
        raw = self.model.Buffers(entry.Buffer()).DataAsNumpy()
        value: Array = np.frombuffer(bytes(raw), _DTYPES[entry.Type()])
        return value.reshape(self._shape(tensor))

    def _is_constant(self, tensor: int) -> bool:
        if tensor in self.producers:
            operator = self.graph.Operators(self.producers[tensor])
            code = self.model.OperatorCodes(operator.OpcodeIndex())
            name = _OPERATORS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            return bool(name == "DEQUANTIZE")
        return bool(self.model.Buffers(self.graph.Tensors(tensor).Buffer()).DataLength())

    def _name(self, tensor: int) -> str:
        return self._constant(self._value(tensor)) if self._is_constant(tensor) else f"t{tensor}"

    def _constant(self, value: Array) -> str:
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        name = f"c{len(self.initialisers)}"
        self.initialisers[name] = numpy_helper.from_array(array, name)
        if array.dtype == np.float16:
            return self._add("Cast", [name], f"cast_{name}", to=TensorProto.FLOAT)
        return name

    def _options(self, operator: tflite.Operator, kind: type[T]) -> T:
        options = kind()
        table = operator.BuiltinOptions()
        options.Init(table.Bytes, table.Pos)  # type: ignore[attr-defined]
        return options


_FUSED = {"ADD", "SUB", "MUL", "DIV"}


def _fused(options: object) -> bool:
    """Whether a ReLU is fused into the operator; refuses other fused functions."""
    function = options.FusedActivationFunction()  # type: ignore[attr-defined]
    if function not in (tflite.ActivationFunctionType.NONE, tflite.ActivationFunctionType.RELU):
        raise NotImplementedError(f"fused activation {function}")
    return bool(function == tflite.ActivationFunctionType.RELU)
