"""The options of a Kubernetes builder, where builders look for them.

They are defined in ``ohbuild.kubernetes_options``, which ``ohbuild.settings`` reads: this package needs the settings.
"""

from ohbuild.kubernetes_options import KubernetesOptions, NodeOptions, Resources, Toleration

__all__ = ["KubernetesOptions", "NodeOptions", "Resources", "Toleration"]
