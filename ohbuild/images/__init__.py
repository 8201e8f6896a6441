"""Images in registries: references, platforms, configs, credentials and the registry client."""
