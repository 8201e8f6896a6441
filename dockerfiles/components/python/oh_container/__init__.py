"""Prepares a container for OpenHands' servers, even if the base lacks what they need. Uses only the standard library.

``environment``  separates the base's environment from the variables that our own processes need
``accounts``     reads and writes entries of /etc/passwd, /etc/group and /etc/shadow
``startup``      creates what is missing: /tmp, /bin/sh, a home, an entry for the user
``shells``       finds a bash for an agent's commands
``first``        a container's first process
"""
