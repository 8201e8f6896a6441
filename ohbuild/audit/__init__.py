"""What is below ``/openhands`` in a finished image."""
