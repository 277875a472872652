"""Encoded images in, upright RGB pixels out."""

import io
import struct
import warnings
import zlib

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from services.common.errors import InvalidImage

Pixels = npt.NDArray[np.uint8]
"""An upright RGB image, ``[height, width, 3]``."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 50_000_000
MIN_SIDE = 16
BACKDROP = (255, 255, 255)

Image.MAX_IMAGE_PIXELS = None  # decode() has its own limit, checked before any pixel is decoded
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # of damaged metadata


def decode(data: bytes) -> Pixels:
    """Decodes an image as a person would see it, ``[height, width, 3]``.

    The first frame of an animation; turned as EXIF says; transparency over white; 16-bit samples
    scaled to 8.

    Raises:
        InvalidImage: empty, of no known format, broken, or with too few or too many pixels.
    """
    if not data:
        raise InvalidImage(
            "The image is empty.",
            reason="Zero bytes of image data",
            suggestion="Send the bytes of a JPEG, PNG, WebP, GIF, BMP or TIFF image.",
        )
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(*image.size)
            return _upright_rgb(image)
    except UnidentifiedImageError:
        raise InvalidImage(
            "The data is not an image of a known format.",
            reason="Not an image",
            suggestion="Send a JPEG, PNG, WebP, GIF, BMP or TIFF image.",
        ) from None
    except (OSError, EOFError, SyntaxError, ValueError, struct.error, zlib.error) as error:
        raise InvalidImage(
            "The image is broken and cannot be decoded.",
            reason=f"Decoding failed: {error}",
            suggestion="Check that the whole file was sent, or save it anew.",
        ) from None


def encode_png(pixels: Pixels) -> bytes:
    """The image as a PNG."""
    _, encoded = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return encoded.tobytes()


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise InvalidImage(
            f"The image is {width} x {height} pixels.",
            reason=f"More than {MAX_PIXELS // 1_000_000} megapixels",
            suggestion=f"Send at most {MAX_PIXELS // 1_000_000} megapixels.",
        )
    if min(width, height) < MIN_SIDE:
        raise InvalidImage(
            f"The image is {width} x {height} pixels.",
            reason=f"A side is shorter than {MIN_SIDE} pixels",
            suggestion="Send an image large enough to show a face.",
        )


def _upright_rgb(image: Image.Image) -> Pixels:
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode.startswith("I") or image.mode == "F":
        image = _eight_bit(image)
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa"):
        image = image.convert("RGBA")
        flat = Image.new("RGB", image.size, BACKDROP)
        flat.paste(image, mask=image.getchannel("A"))
        image = flat
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _eight_bit(image: Image.Image) -> Image.Image:
    """Sixteen-bit samples by their range, anything wider by its own extremes."""
    samples = np.asarray(image).astype(np.float32)
    low, high = 0.0, 65535.0
    if not image.mode.startswith("I;16") and (samples.min() < low or samples.max() > high):
        low, high = float(samples.min()), float(samples.max())
    scaled = (samples - low) * (255.0 / max(high - low, 1e-6))
    converted = Image.fromarray(np.clip(np.nan_to_num(scaled), 0, 255).astype(np.uint8), "L")
    converted.info.update(image.info)
    return converted
