"""Sentiment, emotions, aspects, entities and sarcasm of written text."""
