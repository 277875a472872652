"""Faces in images, videos and live frames: where they are and what they show."""
