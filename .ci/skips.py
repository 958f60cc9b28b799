"""Fail when a test was skipped for a reason that is not allowed."""

import re
import sys
from pathlib import Path

ALLOWED = ("shared data", "GPU", "browser", "outside server", "this store", "torchvision")
"""What another machine has, or what a check of all stores asks of a store that cannot have it."""

log = Path(sys.argv[1]).read_text()
skips = re.findall(r"^SKIPPED .*$", log, flags=re.MULTILINE)
bad = [line for line in skips if not any(reason in line for reason in ALLOWED)]
if bad:
    sys.exit("tests were skipped without an allowed reason:\n" + "\n".join(bad))
