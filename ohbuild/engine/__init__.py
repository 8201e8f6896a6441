"""The Docker Engine that ohbuild builds with: the user's own, or a private one made from Debian packages."""
