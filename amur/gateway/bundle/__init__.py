"""Bundles: many objects as one streamed archive."""
