raise ImportError("a stale file of the base")
