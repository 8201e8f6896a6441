"""``oh-doctor``: goes through the parts of an image and says what works, what does not, and why."""
