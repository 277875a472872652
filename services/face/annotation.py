"""Draws what was found onto the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2

from services.face.image import Pixels, encode_png

if TYPE_CHECKING:
    from services.face.analyze import Face

BOX_COLOUR = (46, 204, 113)
POINT_COLOUR = (255, 255, 255)
TEXT_COLOUR = (16, 16, 16)


def draw(pixels: Pixels, faces: Sequence[Face]) -> bytes:
    """A PNG of the image with each face's box, primary emotion and landmarks."""
    canvas = pixels.copy()
    scale = max(min(canvas.shape[:2]) / 720, 0.35)
    line = max(round(2 * scale), 1)
    for number, face in enumerate(faces):
        x, y, width, height = face.box
        if face.landmarks is not None:
            for point in face.landmarks[:, :2]:
                centre = (round(float(point[0])), round(float(point[1])))
                cv2.circle(canvas, centre, width // 300, POINT_COLOUR, -1)
        cv2.rectangle(canvas, (x, y), (x + width, y + height), BOX_COLOUR, line, cv2.LINE_AA)
        text = f"{number} {face.primary} {face.emotions[face.primary]:.2f}"
        font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.7 * scale
        (wide, high), below = cv2.getTextSize(text, font, size, line)
        bottom = max(y, high + below)
        cv2.rectangle(canvas, (x, bottom - high - below), (x + wide, bottom), BOX_COLOUR, -1)
        cv2.putText(canvas, text, (x, bottom - below), font, size, TEXT_COLOUR, line, cv2.LINE_AA)
    return encode_png(canvas)
