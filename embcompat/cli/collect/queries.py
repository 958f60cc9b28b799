"""``embcompat queries``: queries and judgements where there are none yet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embcompat.cli.console import output, print_json, show_next

app = typer.Typer(name="queries", help="Make queries and judgements where there are none yet.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("known-item")
def known_item(
    items: Annotated[Path, typer.Argument(metavar="ITEMS", help="The items, as `embcompat embed` reads them.")],
    query_column: Annotated[str, typer.Option(help="Column of the queries: the title.")],
    text_column: Annotated[str, typer.Option(help="Column of the answers: the body, which the gallery embeds.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for queries.jsonl and qrels.tsv.")],
    id_column: Annotated[str | None, typer.Option(help="Column of the ids.")] = None,
    keep_verbatim: Annotated[
        bool, typer.Option(help="Keep titles that occur verbatim in the body; they are easy to find.")
    ] = True,
    limit: Annotated[int | None, typer.Option(help="Most queries to draw.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    r"""Make queries by known-item search: each title is a query for its item.

    This is a proxy. It shows which model is better where people search by topic in short phrases; it does not replace
    judged queries. Embed the queries with both models, and the gallery from the body alone.

    Examples:
    ```bash
    embcompat queries known-item docs.jsonl --query-column title \
        --text-column body --out judged
    embcompat queries known-item docs.jsonl --query-column title \
        --text-column body --out judged --no-keep-verbatim --limit 500
    ```
    """
    import json

    from embcompat.cli.inputs.items import read_items
    from embcompat.errors import InputError
    from embcompat.evaluation.retrieval.known_items import make_known_items
    from embcompat.files.writing.atomic import atomic_path

    titled = read_items(items, id_column=id_column, text_column=query_column)
    bodies = read_items(items, id_column=id_column, text_column=text_column)
    if titled.ids != bodies.ids:
        raise InputError(f"{items} must hold a row for each item in both columns. The ids of the two columns differ.")
    titles, texts = (["" if each is None else str(each) for each in side.items] for side in (titled, bodies))
    result = make_known_items(bodies.ids, titles, texts, keep_verbatim=keep_verbatim, limit=limit, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"id": query, "text": text}, ensure_ascii=False) for query, text in result.queries.items())
    judged = (f"{query}\t0\t{item}\t1" for query, gains in result.qrels.gains.items() for item in gains)
    for name, rows in (("queries.jsonl", lines), ("qrels.tsv", judged)):
        with atomic_path(out / name) as temporary:
            temporary.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    counts = {"queries": len(result.queries), "verbatim": result.verbatim, "untitled": result.untitled}
    if as_json:
        print_json({"kind": "known_item_queries", **counts, "out": str(out)})
        return
    console = output()
    console.print(f"{counts['queries']:,} queries, a proxy for what people ask: each title is a query for its item.")
    if result.verbatim:
        fate = "kept: --no-keep-verbatim leaves them out" if keep_verbatim else "left out"
        console.print(f"{result.verbatim:,} titles occur verbatim in the body; they are {fate}.")
    if result.untitled:
        console.print(f"{result.untitled:,} items have no title, so no query asks for them.")
    console.print(f"Written to {out / 'queries.jsonl'} and {out / 'qrels.tsv'}.", soft_wrap=True, markup=False)
    show_next("embed", out / "queries.jsonl", "--extractor", "NAME", "--out", "QUERIES.parquet")
