"""Arguments and options that the registry commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Url = Annotated[str, typer.Argument(metavar="REGISTRY", help="A directory, or a URL such as s3://bucket/embeddings.")]
Name = Annotated[str, typer.Argument(help="name@version, an artifact id or its first digits, or a label.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Reason = Annotated[str, typer.Option(help="The reason, for the log.")]
