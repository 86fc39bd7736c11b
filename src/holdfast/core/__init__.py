"""The nouns: data, tasks, methods, evaluations, and the registry that knows them by name."""
