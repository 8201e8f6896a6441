raise ImportError("poisoned by PYTHONPATH")
