"""What each setting means: for help texts, ``ohbuild config``, docs/reference.md and ohbuild.schema.json.

``--help`` loads this module, so it imports nothing.
"""

DESCRIPTIONS = {
    "bases": "Base images to build runtime images for: references or tables {image, platforms, system_packages}.",
    "platforms": "Platforms to build for, such as linux/amd64,linux/arm64; by default this machine's.",
    "server": "Server of the images: agent-server, action-execution-server (of OpenHands 1.6.0 and earlier) or both. "
    "By default agent-server, or with agent plug-ins action-execution-server.",
    "agent_server_version": "Version of the agent-server; by default the newest that ohbuild has a lock for.",
    "components": "Components to include, together with those they require; by default all that the server uses. "
    "Optional ones (uv, npx) are added to these.",
    "requirements": "Agent plug-ins of the action-execution-server to support (agent_skills, jupyter, vscode, …); "
    "components that none of them needs are left out. By default all are included.",
    "enable_browser": "Include a browser for the agent. Images without it are smaller.",
    "allow_secret_args": "Allow build arguments that hold secrets, and omit remarks about those that may. They are "
    "readable in the image's history.",
    "build_args": "Build arguments of components.",
    "extra_deps": "Shell commands to run as root in every base, after everything else. $OH_INTERPRETER_PATH is the "
    "runtime's Python.",
    "system_packages": "Packages to install into every base with its own package manager, such as git,curl=8.*; a "
    "base's own list adds to these.",
    "build_image": "Image in which components are built.",
    "debian_snapshot": "Dated Debian archive for packages that the regular one no longer has, such as "
    "http://snapshot.debian.org/archive/debian/20261101T000000Z.",
    "image": "Repository of the runtime images; by default ohbuild/runtime in the engine's registry, if it has one.",
    "deps_repository": "Repository of the deps image; by default `deps` next to `image`.",
    "component_repository": "Repository of component images and the assembly cache; by default that of the deps image.",
    "deps_image": "Existing deps image to use instead of building one.",
    "output": "Push images to their registry, load them into Docker, or neither (none). auto pushes if `image` names a "
    "registry, or is not set and the engine has one; otherwise it loads.",
    "cache_to": "Registry reference to write the assembly cache to, auto (next to the component images) or off.",
    "cache_from": "Registry references to read the assembly cache from, auto (next to the component images) or off.",
    "component_cache": "Repository of an additional build cache for building components; by default off.",
    "builder": "buildx builder to use; by default the current one.",
    "compression": "Compression of new layers.",
    "provenance": "Attach provenance attestations; adds a manifest for each image and platform.",
    "source_date_epoch": "Timestamp of everything in the images, in seconds since 1970.",
    "ca_bundle": "CA certificates for build steps that download: a PEM file, auto (this machine's) or off.",
    "labels": "Additional labels for every image.",
    "runtime": "Builder used by the Python API: docker, kubernetes or one from an extension.",
    "kubernetes": "How BuildKit runs in a cluster, if `runtime` is kubernetes.",
    "max_builds": "Maximum number of concurrent builds of the Python API.",
    "build_timeout": "Time limit for a build of the Python API, in seconds; 0 for none.",
    "preflight": "Query registries for all images before the build starts.",
    "folder": "Directory for generated files; by default .ohbuild.",
}
