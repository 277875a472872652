"""Who is asking, what they may, what they used and what it costs."""
