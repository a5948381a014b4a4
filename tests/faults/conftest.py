"""Kills, failing disks, cut uploads, wrong clocks and flipped bits on the real product."""

from __future__ import annotations
