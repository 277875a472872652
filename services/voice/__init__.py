"""What was said, how, and which emotion the voice carries."""
