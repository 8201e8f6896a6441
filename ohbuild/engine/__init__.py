"""The Docker Engine that ohbuild uses: the user's own, or a private one built from Debian packages."""
