"""OpenHands' functions and image names, implemented with ohbuild."""
