"""One file per published claim."""
