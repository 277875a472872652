"""Jobs, media and webhooks over REST, in the words of WIA."""
