"""Write the trained network as one int8 ONNX file with its tokenizer, beside config.pbtxt.

    python -m models.training.text.export --work build/text --name main

Weights of the encoder are quantised per channel, activations at run time (dynamic quantisation);
the heads stay in float. calibrate.py must run next: it fits on the very file written here.
"""

import argparse
import json
import tempfile
from pathlib import Path

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process

from models.training.text.network import AffectNet
from models.training.text.schema import REPOSITORY
from models.training.text.train import minilm_folder

OUTPUTS = (
    "emotions", "sentiment", "subjectivity", "sarcasm", "aspect_tags", "aspect_polarity",
    "entity_tags", "embedding",
)  # fmt: skip
TOKEN_OUTPUTS = ("aspect_tags", "aspect_polarity", "entity_tags")


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


def write_int8(source: Path, target: Path) -> None:
    """Encoder matrices and the token table in int8; heads and attention products in float."""
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready.onnx"
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        graph = onnx.load(str(ready)).graph
        keep = [node.name for node in graph.node if "/layers." not in node.name]
        tokens = [node.name for node in graph.node if "/tokens/" in node.name]
        quantize_dynamic(
            str(ready),
            str(target),
            op_types_to_quantize=["MatMul", "Gather"],
            nodes_to_exclude=[name for name in keep if name not in tokens],
            per_channel=True,
            reduce_range=False,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/text"))
    parser.add_argument("--name", default="main")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "text_affect")
    args = parser.parse_args()
    net = AffectNet()
    net.load_state_dict(torch.load(args.work / args.name / "final.pt", weights_only=True))
    (args.out / "1").mkdir(parents=True, exist_ok=True)
    single = args.work / args.name / "float.onnx"
    write_float(net, single)
    write_int8(single, args.out / "1" / "model.onnx")
    tokenizer = json.loads((minilm_folder() / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["truncation"] = tokenizer["padding"] = None
    (args.out / "tokenizer.json").write_text(
        json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")), encoding="utf-8"
    )
    size = (args.out / "1" / "model.onnx").stat().st_size
    print(json.dumps({"float_mb": single.stat().st_size / 1e6, "int8_mb": size / 1e6}))


if __name__ == "__main__":
    main()
