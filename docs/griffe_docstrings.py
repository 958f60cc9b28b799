"""Show docstrings as they are meant: griffe knows no `Example:` section, and Markdown no tables of reStructuredText."""

import re
from typing import Any

import griffe

TABLE = re.compile(r"^(=+(?: +=+)+\n.*?\n=+(?: +=+)+\n.*?\n=+(?: +=+)+)$", flags=re.MULTILINE | re.DOTALL)


class Docstrings(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is None:
            return
        text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
        text = TABLE.sub(r"```text\n\1\n```", text)
        obj.docstring.value = re.sub(r"^::$\n", "", text, flags=re.MULTILINE).replace("::\n\n", ":\n\n")
