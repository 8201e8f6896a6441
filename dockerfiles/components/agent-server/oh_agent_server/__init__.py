"""Starts OpenHands' agent-server in containers that it was not written for. Uses the standard library and oh_container.

``launch``     the entry point of an image: starts the server, or runs a command
``variables``  decides the variables of the server's own process
``seams``      changes a few functions of the server when it imports them
``parts``      notes why VS Code or the browser do not work
``terminal``   makes the agent's shell from that of oh_container
"""
