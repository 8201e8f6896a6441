"""Images as registries have them: references, platforms, configurations, registries, credentials."""
