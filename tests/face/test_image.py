"""Every kind of image decodes upright; every bad one is refused with what to do."""

from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from services.common.errors import InvalidImage
from services.face.image import MAX_PIXELS, Pixels, decode
from tests.face.pictures import bomb, encoded


def close(first: Pixels, second: Pixels, tolerance: float = 3.0) -> bool:
    same_shape = first.shape == second.shape
    return same_shape and float(np.abs(first.astype(float) - second).mean()) < tolerance


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_reads_every_format(portrait: Pixels, kind: str) -> None:
    assert close(decode(encoded(portrait, kind)), portrait)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_upright_as_exif_says(portrait: Pixels, orientation: int) -> None:
    back = {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        8: lambda p: np.rot90(p, -1),
    }
    stored = Image.fromarray(np.ascontiguousarray(back[orientation](portrait[:300])))
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert close(decode(encoded(stored, "JPEG", exif=exif, quality=95)), portrait[:300])


def test_grey_becomes_three_equal_channels(portrait: Pixels) -> None:
    pixels = decode(encoded(Image.fromarray(portrait).convert("L")))
    assert pixels.shape == portrait.shape
    assert (pixels[..., 0] == pixels[..., 2]).all()


def test_transparency_lies_over_white(portrait: Pixels) -> None:
    picture = Image.fromarray(portrait).convert("RGBA")
    picture.paste((0, 0, 0, 0), (0, 0, 100, 100))
    pixels = decode(encoded(picture))
    assert (pixels[:100, :100] == 255).all()
    assert close(pixels[100:], portrait[100:])


def test_palette_with_transparency(portrait: Pixels) -> None:
    picture = Image.fromarray(portrait).convert("P")
    pixels = decode(encoded(picture, "PNG", transparency=0))
    clear = np.asarray(picture) == 0
    assert clear.any()
    assert (pixels[clear] == 255).all()
    assert (pixels[~clear] == np.asarray(picture.convert("RGB"))[~clear]).all()


def test_cmyk(portrait: Pixels) -> None:
    assert close(decode(encoded(Image.fromarray(portrait).convert("CMYK"), "JPEG")), portrait, 6)


def test_sixteen_bits_are_scaled_not_clipped(portrait: Pixels) -> None:
    grey = np.asarray(Image.fromarray(portrait).convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert close(decode(encoded(deep))[..., 0], grey)


def test_takes_the_first_frame_of_an_animation(portrait: Pixels) -> None:
    first = Image.fromarray(portrait)
    second = Image.new("RGB", first.size, "red")
    data = encoded(first, "WEBP", save_all=True, append_images=[second], lossless=True)
    assert close(decode(data), portrait)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "Zero bytes"),
        (b"This is a letter, not a photograph.", "Not an image"),
        (b"\x89PNG\r\n\x1a\n", "Decoding failed|Not an image"),
        (bomb(), "megapixels"),
        (encoded(Image.new("RGB", (1, 1))), "shorter than"),
    ],
    ids=["empty", "text", "only a signature", "bomb", "one pixel"],
)
def test_refuses_what_is_no_usable_image(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidImage) as raised:
        decode(data)
    assert any(part in raised.value.details["reason"] for part in reason.split("|"))
    assert raised.value.details["suggestion"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_refuses_a_truncated_file(portrait: Pixels, kind: str) -> None:
    data = encoded(portrait, kind)
    with pytest.raises(InvalidImage) as raised:
        decode(data[: len(data) // 2])
    assert "suggestion" in raised.value.details


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_damage_never_shows_as_anything_but_a_refusal(portrait: Pixels, kind: str) -> None:
    rng = np.random.default_rng(4)
    whole = encoded(portrait[40:200, 120:300], kind)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, rng.choice([64, 600, len(whole)]), 6):
            damaged[place % len(whole)] = int(rng.integers(256))
        with suppress(InvalidImage):
            assert decode(bytes(damaged)).ndim == 3


def test_reads_as_many_pixels_as_it_says() -> None:
    side = 7000
    assert side * side < MAX_PIXELS
    assert decode(bomb(side, side)).shape == (side, side, 3)
