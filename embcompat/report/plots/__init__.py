"""The pictures of the report; each returns None where the part that it shows is missing."""
