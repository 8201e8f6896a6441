"""The one door to docker and buildx: connection, client, builders, progress, failures."""
