"""Makes a tree self-contained and audits it. Runs inside the build and depends only on pyelftools.

The tree always lives at ``/openhands``. Because the prefix is fixed, the program interpreter (PT_INTERP) can be pinned
to the tree's own loader. Nothing needs ``LD_LIBRARY_PATH``, and ``/proc/self/exe`` is still the program itself.
"""
