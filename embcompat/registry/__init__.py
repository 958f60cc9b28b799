"""The registry of spaces and aligners, in a directory or an object store."""

from embcompat.registry.events import Standing
from embcompat.registry.records import AlignerEntry, Damage, Event, Garbage
from embcompat.registry.registry import Registry

__all__ = ["AlignerEntry", "Damage", "Event", "Garbage", "Registry", "Standing"]
