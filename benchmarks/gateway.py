"""What `embcompat serve` adds to the endpoint behind it: one text at a time, and many clients at once.

Clients, the gateway and upstream are processes on this machine. Upstream is `embcompat serve` itself with a small
real model (the extractor static64), asked for its own vectors. Beside the gateway stands a bare proxy, which passes
requests and answers on unread, over the same server and client: the least that such a gateway adds. Install the
extras `demo` and `serve`, and the text adapter.

    python benchmarks/gateway.py --out gateway.json
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import numpy as np
from machine import alternate, describe, line_at_most, median_ratio, write_results

import embcompat as ec
from embcompat.cli.demo.texts import read_docstrings

TEXTS = 400
BUSY_ROUNDS = 3


def make_artifact(folder: Path) -> Path:
    """Fit static64 → paraphrase-minilm-l3 on docstrings: 64 to 384 dimensions."""
    texts = [docstring.summary for docstring in read_docstrings(TEXTS)]
    sides = [ec.extract_embeddings(ec.load_extractor(name), texts) for name in ("static64", "paraphrase-minilm-l3")]
    split = ec.split_pairs(ec.pair_embeddings(*sides), seed=0)
    aligner = ec.fit_aligner("kernel", split.train, split.validation)
    ec.save_artifact(aligner, folder / "artifact", split=split, source=sides[0].space, target=sides[1].space)
    return folder / "artifact"


def pass_on(url: str) -> None:
    """Serve what an endpoint answers, unread."""
    import aiohttp
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from embcompat.cli.serve import listen

    sessions: list[aiohttp.ClientSession] = []

    async def embeddings(request: Request) -> Response:
        if not sessions:
            sessions.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        headers = {"content-type": "application/json"}
        async with sessions[0].post(f"{url}/embeddings", data=await request.body(), headers=headers) as answer:
            return Response(await answer.read(), answer.status, media_type="application/json")

    app = Starlette(routes=[Route("/v1/embeddings", embeddings, methods=["POST"])])
    config = uvicorn.Config(app, port=0, log_level="warning", access_log=False)
    listener = listen(config)
    print("http://{}:{}/v1".format(*listener.getsockname()[:2]), file=sys.stderr, flush=True)
    uvicorn.Server(config).run(sockets=[listener])


def serve(artifact: Path, *words: str) -> tuple[subprocess.Popen[str], str]:
    return start("-m", "embcompat", "serve", str(artifact), "--port", "0", *words)


def start(*words: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        address = re.search(r"http://\S+/v1", line)
        if address:
            break
    else:
        sys.exit("the endpoint did not start")
    while True:
        try:
            httpx.get(address[0].removesuffix("/v1") + "/health")
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return process, address[0]


def ask(client: httpx.Client, url: str, model: str, count: int) -> None:
    for number in range(count):
        answer = client.post(f"{url}/embeddings", json={"model": model, "input": f"how to read file number {number}"})
        answer.raise_for_status()


def load(url: str, model: str, clients: int, seconds: float) -> tuple[int, int, float]:
    """Return requests, errors, and the median seconds of a request."""
    end = time.monotonic() + seconds

    def one(number: int) -> list[float]:
        times = []
        with httpx.Client(timeout=60) as client:
            while not times or time.monotonic() < end:
                begin = time.perf_counter()
                body = {"model": model, "input": f"client {number} asks for text {len(times)}"}
                good = client.post(f"{url}/embeddings", json=body).status_code == httpx.codes.OK
                times.append(time.perf_counter() - begin if good else float("nan"))
        return times

    with ThreadPoolExecutor(clients) as pool:
        times = np.concatenate(list(pool.map(one, range(clients))))
    return len(times), int(np.isnan(times).sum()), float(np.nanmedian(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--requests", type=int, default=200, help="requests in a repeat")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60, help="how long all clients ask at once")
    parser.add_argument("--smoke", action="store_true", help="a size that only shows that it runs")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--pass-on", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.pass_on:
        pass_on(options.pass_on)
        return
    if options.smoke:
        options.repeats, options.requests, options.clients, options.seconds = 1, 5, 4, 1.0
    with tempfile.TemporaryDirectory() as folder:
        artifact = make_artifact(Path(folder))
        spaces = ec.OnnxAligner(artifact).artifact
        upstream, url = serve(artifact, "--extractor", "static64")
        gateway, mapped = serve(artifact, "--upstream", url, "--upstream-model", spaces.source.id)
        proxy, passed_on = start(__file__, "--pass-on", url)
        try:
            with httpx.Client() as client:
                runs = {
                    "upstream": partial(ask, client, url, spaces.source.id, options.requests),
                    "gateway": partial(ask, client, mapped, spaces.target.id, options.requests),
                    "proxy": partial(ask, client, passed_on, spaces.source.id, options.requests),
                }
                alternate(runs, repeats=1)
                seconds = alternate(runs, repeats=options.repeats)
            busy_ends = {"upstream": (url, spaces.source.id), "gateway": (mapped, spaces.target.id)}
            busy: dict[str, list[float]] = {name: [] for name in busy_ends}
            requests = errors = 0
            for _ in range(BUSY_ROUNDS):
                for name, end in busy_ends.items():
                    count, failed, median = load(*end, options.clients, options.seconds / BUSY_ROUNDS / 2)
                    requests, errors = requests + count, errors + failed
                    busy[name].append(median)
        finally:
            for process in (gateway, proxy, upstream):
                process.terminate()
                process.wait()
    ratio = median_ratio(seconds, "gateway", "upstream")
    bound = median_ratio(seconds, "proxy", "upstream")
    sides = "gateway", "upstream"
    many = f"one text through the gateway, {options.clients} clients at once"
    lines = [
        line_at_most("one text through the gateway", "upstream alone", ratio, 1.3, seconds, runs=sides),
        line_at_most(
            "one text through a bare proxy", "upstream alone", bound, None, seconds, runs=("proxy", "upstream")
        ),
        line_at_most(
            many, "upstream alone", median_ratio(busy, "gateway", "upstream"), 1.3, busy, runs=sides, errors=errors
        ),
    ]
    print(f"{options.clients} clients: {requests} requests, {errors} errors")
    write_results({"machine": describe("httpx"), "smoke": options.smoke, "lines": lines}, options.out)


if __name__ == "__main__":
    main()
