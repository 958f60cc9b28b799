"""Commands that make the files an aligner is fitted and judged on: vectors, texts, queries and judgements."""

from embcompat.cli.collect.embed import embed
from embcompat.cli.collect.queries import app as queries
from embcompat.cli.collect.sample import sample

__all__ = ["embed", "queries", "sample"]
