"""Access to docker and buildx: connection, client, builders, progress, failures."""
