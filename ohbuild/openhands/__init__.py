"""OpenHands' own functions and names, on top of ohbuild's builders."""
