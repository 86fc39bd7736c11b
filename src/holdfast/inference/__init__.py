"""Group inference: one file per way to groups that no column names."""
