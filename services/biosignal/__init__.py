"""Signals of the body: heart, skin, breath, warmth, and the states they speak of."""
