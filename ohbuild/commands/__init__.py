"""Commands of ``ohbuild`` that are modules of their own: a Typer function each, which parses and prints only.

``ohbuild.cli`` registers them, with one line for each.
"""
