"""Turns a request into built images: facts, plan, rendering, bake file and run."""
