"""Small reference networks, one file each."""
