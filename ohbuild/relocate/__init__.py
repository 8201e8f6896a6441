"""Makes a tree self-contained and audits it. Runs inside the build, on Python's standard library and pyelftools.

A tree lives at a fixed prefix, ``/openhands``. That allows what a movable tree cannot have: the program interpreter
(PT_INTERP) is pinned to the tree's own loader, so that nothing needs ``LD_LIBRARY_PATH`` and ``/proc/self/exe`` stays
the program itself.
"""
