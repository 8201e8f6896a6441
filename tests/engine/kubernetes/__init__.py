"""Tests of ``KubernetesBuilder`` with the real buildx."""
