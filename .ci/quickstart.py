"""Print the first Python block of a Markdown file."""

import re
import sys
from pathlib import Path

block = re.search(r"^```python\n(.*?)^```", Path(sys.argv[1]).read_text(), flags=re.MULTILINE | re.DOTALL)
if block is None:
    sys.exit(f"{sys.argv[1]} has no Python block")
sys.stdout.write(block[1])
