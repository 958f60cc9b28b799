"""An OpenAI-compatible endpoint that answers in the space of an index whose model is gone."""

from embcompat.gateway.app import create_app
from embcompat.gateway.upstream import EndpointUpstream, ExtractorUpstream, Upstream, UpstreamAnswer, UpstreamError

__all__ = ["EndpointUpstream", "ExtractorUpstream", "Upstream", "UpstreamAnswer", "UpstreamError", "create_app"]
