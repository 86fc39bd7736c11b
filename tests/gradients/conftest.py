"""Lets the tests of this folder share ``gradient_checks``."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
