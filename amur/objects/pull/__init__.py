"""Bytes that lie in other regions: pulled once, kept while there is room, mended, counted."""
