"""Lets the tests of this folder import its helpers by name (pytest imports without packages)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
