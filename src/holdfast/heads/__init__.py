"""The last layer of a model: linear heads, fitted on balanced groups, and put in place of a network's own."""
