// NODE_OPTIONS: a node that requires it is gone.
process.exit(3);
