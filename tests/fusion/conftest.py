"""A busy machine does not make a property false."""

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
