"""Artifacts on the Hugging Face Hub: push one with a model card, and load one by its name and revision.

A repository holds ``README.md``, the card, and the artifact's files in the folder ``artifact``. Needs huggingface_hub
(``embcompat[hub]``); the token is the one of that library: ``HF_TOKEN``, or ``hf auth login``.
"""

from embcompat.hub.card import model_card
from embcompat.hub.repository import HubCommit, download_artifact, push_to_hub

__all__ = ["HubCommit", "download_artifact", "model_card", "push_to_hub"]
