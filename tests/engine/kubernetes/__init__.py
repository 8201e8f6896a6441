"""``KubernetesBuilder`` against buildx itself."""
