"""Files in object stores, with the part of `pathlib.Path` that is used here."""

from embcompat.files.objects.failures import object_error
from embcompat.files.objects.paths import Location, ObjectPath, is_object_url, location

__all__ = ["Location", "ObjectPath", "is_object_url", "location", "object_error"]
