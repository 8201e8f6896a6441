"""From a request to built images: facts, plan, render, the bake file, the run."""
