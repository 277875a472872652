"""Write the trained network as one int8 ONNX file with its tokenizer, beside config.pbtxt.

    DATA=../shared/data python -m models.training.text.export --work build/text --name main

The encoder is quantised statically, its weights per channel; the heads stay in float. calibrate.py
must run next: it fits on the very file written here.
"""

import argparse
import json
import logging
import os
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process

from models.training.text import corpora
from models.training.text.network import AffectNet
from models.training.text.schema import CLS, MAX_TOKENS, REPOSITORY, SEP
from models.training.text.train import minilm_folder
from services.text.tokens import TokenReader

OUTPUTS = (
    "emotions", "sentiment", "subjectivity", "sarcasm", "aspect_tags", "aspect_polarity",
    "entity_tags", "states",
)  # fmt: skip
TOKEN_OUTPUTS = ("aspect_tags", "aspect_polarity", "entity_tags", "states")
SPIKED = ("layers.0/down", "layers.1/down", "layers.2/down")
"""Products whose inputs have a few huge numbers: their ranges are found token by token."""


class _Flat(torch.nn.Module):
    """The network with its outputs as a tuple, as the exporter wants them."""

    def __init__(self, net: AffectNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, ids: torch.Tensor, cases: torch.Tensor) -> tuple[torch.Tensor, ...]:
        out = self.net(ids, cases)
        for name in ("subjectivity", "sarcasm"):
            out[name] = out[name].unsqueeze(-1)
        return tuple(out[name] for name in OUTPUTS)


def write_float(net: AffectNet, path: Path) -> None:
    """The network in float32, opset 17, batch and length free."""
    axes = {name: {0: "batch"} for name in OUTPUTS}
    for name in ("ids", "cases", *TOKEN_OUTPUTS):
        axes[name] = {0: "batch", 1: "length"}
    ids = torch.randint(1000, 20000, (2, 12))
    torch.onnx.export(
        _Flat(net.eval()),
        (ids, torch.zeros_like(ids)),
        str(path),
        input_names=["ids", "cases"],
        output_names=list(OUTPUTS),
        dynamic_axes=axes,
        opset_version=17,
        dynamo=False,
    )


class Samples(CalibrationDataReader):  # type: ignore[misc]
    """Training texts whose activations set the ranges of the int8 model."""

    def __init__(self, data: Path, reader: TokenReader) -> None:
        corpus = (
            (corpora.goemotions(data, "train"), 250),
            (corpora.mams(data, "train"), 100),
            (corpora.wnut(data, "wnut17train"), 100),
            ((record for record, _ in corpora.isarcasm(data)), 50),
        )
        texts = [record.text for records, count in corpus for record in islice(records, count)]
        self._tokens = iter([tokens for tokens in reader.read_all(texts) if len(tokens)])

    def get_next(self) -> dict[str, NDArray[np.int64]] | None:
        """Inputs of the next text, or None after the last."""
        tokens = next(self._tokens, None)
        if tokens is None:
            return None
        ids = [CLS, *tokens.ids[:MAX_TOKENS], SEP]
        cases = [0, *tokens.cases[:MAX_TOKENS], 0]
        return {"ids": np.array([ids]), "cases": np.array([cases])}


def write_int8(source: Path, target: Path, samples: Samples) -> None:
    """Encoder matrices and the token table in int8; heads and attention products in float.

    Activation ranges are fixed beforehand (static quantisation): ranges found at run time are those
    of the whole batch, so a text's result would depend on the texts beside it. The products in
    SPIKED are `MatMulNBits` of ONNX Runtime, which finds a range for each 128 numbers of a token.
    """
    with tempfile.TemporaryDirectory() as folder:
        ready, table, spiked = (Path(folder) / f"{n}.onnx" for n in ("ready", "table", "spiked"))
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        graph = onnx.load(str(ready)).graph
        lookups = [node.name for node in graph.node if node.op_type == "Gather"]
        quantize_dynamic(
            str(ready),
            str(table),
            op_types_to_quantize=["Gather"],
            nodes_to_exclude=[name for name in lookups if "/tokens/" not in name],
            weight_type=QuantType.QInt8,
        )
        model = onnx.load(str(table))
        weights = {tensor.name for tensor in model.graph.initializer}
        products = [node for node in model.graph.node if node.op_type == "MatMul"]
        kept = [
            node.name
            for node in products
            if "/layers." not in node.name or node.input[1] not in weights
        ]
        plain = [node.name for node in products if not any(part in node.name for part in SPIKED)]
        blocks = MatMulNBitsQuantizer(
            model,
            bits=8,
            block_size=128,
            is_symmetric=True,
            accuracy_level=4,
            nodes_to_exclude=plain,
        )
        blocks.process()
        blocks.model.save_model_to_file(str(spiked))
        quantize_static(
            str(spiked),
            str(target),
            samples,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=kept,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/text"))
    parser.add_argument("--name", default="main")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "text_affect")
    args = parser.parse_args()
    logging.disable(logging.INFO)
    net = AffectNet()
    net.load_state_dict(torch.load(args.work / args.name / "final.pt", weights_only=True))
    (args.out / "1").mkdir(parents=True, exist_ok=True)
    single = args.work / args.name / "float.onnx"
    write_float(net, single)
    data = Path(os.environ.get("DATA", "../shared/data"))
    samples = Samples(data, TokenReader(minilm_folder() / "tokenizer.json"))
    write_int8(single, args.out / "1" / "model.onnx", samples)
    tokenizer = json.loads((minilm_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["truncation"] = tokenizer["padding"] = None
    (args.out / "tokenizer.json").write_text(
        json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")), encoding="utf-8"
    )
    size = (args.out / "1" / "model.onnx").stat().st_size
    print(json.dumps({"float_mb": single.stat().st_size / 1e6, "int8_mb": size / 1e6}))


if __name__ == "__main__":
    main()
