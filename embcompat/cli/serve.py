"""``embcompat serve``: an OpenAI-compatible endpoint in front of a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embcompat.cli.console import messages
from embcompat.cli.inputs.models import open_model
from embcompat.cli.inputs.options import ExtractorOptions, ModelPath
from embcompat.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    import socket

    import uvicorn

    from embcompat.gateway import Upstream
    from embcompat.spaces import SpaceVersion

GRACE_SECONDS = 10


def serve(
    artifact: Annotated[Path, typer.Argument(help="An artifact whose source is the space of the model that is alive.")],
    upstream: Annotated[
        str | None, typer.Option(help="The model's OpenAI-compatible endpoint, for instance https://api.openai.com/v1.")
    ] = None,
    upstream_model: Annotated[str | None, typer.Option(help="The model's name at --upstream.")] = None,
    extractor: Annotated[
        str | None, typer.Option("--extractor", "-e", help="An extractor instead: the model runs in this process.")
    ] = None,
    model: ModelPath = None,
    option: ExtractorOptions = None,
    alias: Annotated[
        list[str] | None,
        typer.Option(help="Another name of the target: the model that applications ask for today; repeatable."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for a free one.")] = 8000,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that upstream may take for a request.")] = 60,
    canary_seconds: Annotated[
        float, typer.Option(min=1, help="Seconds between two checks that upstream is still the same model.")
    ] = 3600,
) -> None:
    r"""Serve a model's vectors in the artifact's target space, as OpenAI's API does.

    An application changes one base URL and its index stays alive: POST /v1/embeddings embeds with the model that is
    alive and maps the vectors to the space of the index. The target's id, or an --alias of it, as "model" asks for
    mapped vectors; the source's id for the model's own. It also answers GET /v1/models, /health and /metrics
    (Prometheus). Clients' API keys are passed on to --upstream; without one, OPENAI_API_KEY is used.

    Examples:
    ```bash
    embcompat serve new-to-old --upstream https://api.openai.com/v1 \
        --upstream-model new-model --alias old-model
    embcompat serve new-to-old --extractor minilm --port 8080
    ```
    """
    from embcompat.runtime import OnnxAligner

    try:
        import uvicorn

        from embcompat.gateway import EndpointUpstream, create_app
    except ImportError as error:
        raise MissingExtraError(error.name or "uvicorn", "embcompat[serve]", "embcompat serve") from error
    if (upstream is None) == (extractor is None):
        raise InputError("name the model: either --upstream URL --upstream-model NAME, or --extractor NAME.")
    aligner = OnnxAligner(artifact, threads=1)  # requests run beside each other already
    source: Upstream
    if upstream is not None:
        if upstream_model is None:
            raise InputError("--upstream needs --upstream-model, the model's name there.")
        source = EndpointUpstream(upstream, upstream_model, timeout_seconds=timeout)
    else:
        source = _load_upstream(aligner.artifact.source, str(extractor), model, option or [])
    app = create_app(aligner, source, aliases=tuple(alias or ()), canary_seconds=canary_seconds)
    config = uvicorn.Config(
        app, host=host, port=port, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE_SECONDS
    )
    listener = listen(config)
    address = "{}:{}".format(*listener.getsockname()[:2])
    names = ", ".join([aligner.artifact.target.id, *(alias or ())])
    messages().print(
        f"http://{address}/v1 serves {names} (mapped) and {aligner.artifact.source.id} (the model's own). "
        "Ctrl-C stops.",
        soft_wrap=True,
    )
    uvicorn.Server(config).run(sockets=[listener])


def listen(config: uvicorn.Config) -> socket.socket:
    """Return a listening socket whose connections send small answers at once.

    asyncio sets this only for sockets that it opens itself; without it an answer waits 40 ms for an acknowledgement.
    """
    import socket

    listener = config.bind_socket()
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _load_upstream(space: SpaceVersion, extractor: str, model: str | None, options: list[str]) -> Upstream:
    from embcompat.gateway import ExtractorUpstream
    from embcompat.spaces import require_space

    loaded = open_model(extractor, model, options)
    require_space(loaded.space, space, what=f"The extractor {extractor}")
    return ExtractorUpstream(loaded)
