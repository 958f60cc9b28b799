"""Files in object stores, with what is used of `pathlib.Path`."""

from embcompat.files.objects.failures import object_error
from embcompat.files.objects.paths import Location, ObjectPath, is_object_url, location

__all__ = ["Location", "ObjectPath", "is_object_url", "location", "object_error"]
