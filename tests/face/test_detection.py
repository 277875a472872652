"""Faces are found large and small, once each, and not where there are none."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.face.detection import MAX_TILES, Detection, Known, detect, in_turn, merge, tile
from services.face.image import Pixels
from tests.face.conftest import Recorded
from tests.face.pictures import scene


async def found(
    inference: Recorded, picture: Pixels, centres: list[tuple[float, float]], min_size: int
) -> tuple[int, int]:
    """How many of the faces were found, and how many boxes were none of them."""
    search = await detect(inference, picture, min_size)
    middles = [(d.box[:2] + d.box[2:]) / 2 for d in search.detections]
    hits = sum(
        any(np.linalg.norm(m - c) < 0.5 * (d.box[2] - d.box[0]) for m, d in pairs)
        for c in centres
        if (pairs := list(zip(middles, search.detections, strict=True)))
    )
    return hits, len(middles) - hits


@pytest.mark.parametrize("side", [32, 48, 64, 100, 200])
async def test_finds_every_face_of_a_size_on_720p(
    inference: Recorded, portrait: Pixels, side: int
) -> None:
    places = [(40 + 400 * column, 60, side) for column in range(3)]
    picture, centres = scene(portrait, places)
    assert await found(inference, picture, centres, 24) == (3, 0)


async def test_finds_twenty_small_faces(inference: Recorded, portrait: Pixels) -> None:
    places = [(20 + 120 * (n % 10), 40 + 300 * (n // 10), 40) for n in range(20)]
    picture, centres = scene(portrait, places)
    hits, wrong = await found(inference, picture, centres, 24)
    assert hits >= 19
    assert wrong == 0


async def test_min_face_size_leaves_out_smaller_faces(
    inference: Recorded, portrait: Pixels
) -> None:
    picture, _ = scene(portrait, [(100, 100, 150), (800, 300, 50)])
    sides = [d.side for d in (await detect(inference, picture, 100)).detections]
    assert len(sides) == 1
    assert sides[0] > 100


async def test_a_small_face_is_found_where_it_should_be_without_tiles(
    inference: Recorded, portrait: Pixels
) -> None:
    picture, [(x, y)] = scene(portrait, [(900, 300, 40)])
    inference.runs.clear()
    known = Known([np.array([x - 20, y - 20, x + 20, y + 20])], (0.5, 0.5))
    search = await detect(inference, picture, 24, known)
    assert len(search.detections) == 1
    assert len(inference.runs) <= 2


async def test_a_whole_round_finds_what_a_first_look_finds(
    inference: Recorded, portrait: Pixels
) -> None:
    picture, _ = scene(portrait, [(900, 300, 30), (200, 100, 60)])
    first = await detect(inference, picture, 24)
    later = await detect(inference, picture, 24, Known([], (0.4, 1.4)))
    assert [d.box.tolist() for d in later.detections] == [d.box.tolist() for d in first.detections]
    assert later.smallest == first.smallest


def test_a_round_looks_at_every_tile_once() -> None:
    tiles = tile(1280, 720, 24)
    steps = np.linspace(3.7, 4.7, 12)
    looks = [one for turn in pairwise(steps.tolist()) for one in in_turn(tiles, turn)]
    assert sorted(looks, key=tiles.index) == tiles
    assert in_turn(tiles, (0.2, 9.0)) == tiles[3:] + tiles[:3]


async def test_a_large_face_is_followed_by_one_look(inference: Recorded, portrait: Pixels) -> None:
    picture, [(x, y)] = scene(portrait, [(500, 10, 280)])
    box = np.array([x - 150, y - 150, x + 150, y + 150])
    inference.runs.clear()
    search = await detect(inference, picture, 24, Known([box], (0.5, 0.5)))
    assert len(search.detections) == 1
    assert len(inference.runs) == 1


@pytest.mark.parametrize("texture", ["flat", "noise", "stripes", "checks"])
async def test_finds_nothing_in_a_texture(inference: Recorded, texture: str) -> None:
    rows, columns = np.mgrid[:480, :640]
    grey = {
        "flat": np.full((480, 640), 127),
        "noise": np.random.default_rng(0).integers(0, 256, (480, 640)),
        "stripes": columns // 8 % 2 * 255,
        "checks": (columns // 16 + rows // 16) % 2 * 255,
    }[texture]
    picture = np.repeat(grey[..., None], 3, 2).astype(np.uint8)
    assert (await detect(inference, picture, 24)).detections == []


@given(st.integers(64, 9000), st.integers(64, 9000), st.sampled_from([16, 24, 50, 200, 1000]))
def test_tiles_cover_the_image_and_stay_few(width: int, height: int, size: int) -> None:
    tiles = tile(width, height, size)
    assert len(tiles) <= MAX_TILES
    for length, starts in (
        (width, sorted({t.left for t in tiles})),
        (height, sorted({t.top for t in tiles})),
    ):
        side = tiles[0].side
        assert starts[0] == 0
        assert starts[-1] + side >= length - 1e-6
        assert all(b - a <= side for a, b in pairwise(starts))


def detection(left: float, top: float, side: float, score: float) -> Detection:
    box = np.array([left, top, left + side, top + side], np.float32)
    return Detection(box, score, np.zeros((6, 2), np.float32), 40.0)


def test_overlapping_boxes_become_one() -> None:
    merged = merge([detection(100, 100, 50, 0.9), detection(104, 98, 50, 0.6)])
    assert len(merged) == 1
    assert merged[0].score == pytest.approx(0.9)
    assert 100 < merged[0].box[0] < 104


def test_a_part_of_a_face_belongs_to_the_face() -> None:
    merged = merge([detection(100, 100, 90, 0.9), detection(130, 140, 30, 0.5)])
    assert [d.score for d in merged] == [pytest.approx(0.9)]


def test_neighbours_stay_apart() -> None:
    assert len(merge([detection(0, 0, 50, 0.9), detection(60, 0, 50, 0.8)])) == 2
