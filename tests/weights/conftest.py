"""Lets the tests of this folder share ``weight_networks``."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
