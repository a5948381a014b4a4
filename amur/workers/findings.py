"""What fsck can find, how bad each kind is, and the report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


class Severity(Enum):
    LEFTOVER = "leftover"  # harmless: the workers, too, would remove it in time
    DAMAGE = "damage"  # against the rules of the store; repaired without losing anything
    LOSS = "loss"  # bytes or a record are gone; repair gives them up, if told to


KINDS: dict[str, tuple[Severity, str]] = {
    # buckets
    "bucket-undecodable": (Severity.LOSS, "a bucket's record can't be read"),
    "bucket-misnamed": (Severity.DAMAGE, "a bucket's record has another name than its key"),
    "object-without-bucket": (Severity.DAMAGE, "an object's bucket is gone"),
    "upload-without-bucket": (Severity.DAMAGE, "an upload's bucket is gone"),
    # records
    "entry-damaged": (Severity.LOSS, "an entry of the metadata fails its checksum"),
    "reference-damaged": (Severity.DAMAGE, "a reference fails its checksum"),
    "record-undecodable": (Severity.LOSS, "a record can't be read"),
    "object-is-marker": (Severity.DAMAGE, "a delete marker stands where objects stand"),
    "marker-is-object": (Severity.DAMAGE, "an object stands where delete markers stand"),
    "version-misplaced": (Severity.DAMAGE, "an older version stands at another version's place"),
    "size-wrong": (Severity.DAMAGE, "a record's size is not that of its bytes, which are whole"),
    "size-mismatch": (Severity.LOSS, "a record's size is not that of its bytes"),
    "part-count-wrong": (Severity.DAMAGE, "an object's part count is not that of its manifest"),
    # histories
    "object-and-marker": (Severity.DAMAGE, "a key has two newest versions"),
    "history-without-newest": (Severity.DAMAGE, "a key has older versions only"),
    "newest-is-older": (Severity.DAMAGE, "an older version is newer than the newest"),
    "null-twice": (Severity.DAMAGE, "a key has more than one null version"),
    "marker-without-versioning": (Severity.DAMAGE, "a marker in a bucket that never had versions"),
    # multipart
    "manifest-missing": (Severity.LOSS, "an object's manifest is gone"),
    "manifest-broken": (Severity.LOSS, "a manifest's parts do not add up to the object"),
    "manifest-without-object": (Severity.DAMAGE, "nothing refers to a manifest"),
    "part-without-upload": (Severity.DAMAGE, "a part's upload is gone"),
    "part-misnumbered": (Severity.DAMAGE, "a part's record has another number than its key"),
    # bytes of other regions
    "copy-without-version": (Severity.LEFTOVER, "pulled bytes of a version that is gone"),
    "holding-wrong": (Severity.DAMAGE, "a record says that bytes are here which are not"),
    # references
    "record-without-reference": (Severity.DAMAGE, "a record's bytes are not marked as in use"),
    "reference-without-record": (Severity.DAMAGE, "bytes are marked as used by no record"),
    "reference-to-stranger": (Severity.DAMAGE, "bytes are marked as used by another record"),
    # bytes
    "file-missing": (Severity.LOSS, "a data file is gone"),
    "file-truncated": (Severity.LOSS, "a data file is too short"),
    "bytes-damaged": (Severity.LOSS, "bytes fail their checksum"),
    "copy-damaged": (Severity.DAMAGE, "a copy of another region's bytes fails its checksum"),
    "file-orphaned": (Severity.LEFTOVER, "nothing refers to a data file"),
    # the directory
    "directory-undecodable": (Severity.LOSS, "an entry of the directory can't be read"),
    "directory-unindexed": (Severity.DAMAGE, "an entry of the directory is not found by its index"),
    "directory-index-stray": (Severity.DAMAGE, "an index row leads to no such entry"),
    # notes
    "note-undecodable": (Severity.DAMAGE, "a garbage note can't be read"),
    "doomed-but-used": (Severity.LEFTOVER, "what is to be freed is in use"),
    "garbage-gone": (Severity.LEFTOVER, "what is to be freed is gone already"),
    "clock-behind": (Severity.DAMAGE, "versions to come would be older than versions that are"),
}

FINDINGS_MAX = 10_000
"""Findings kept in a report; all are counted."""


class Finding(NamedTuple):
    """`key` is a metadata key, or a data file's id."""

    kind: str
    key: bytes
    detail: str
    is_repaired: bool

    def severity(self) -> Severity:
        return KINDS[self.kind][0]

    def text(self) -> str:
        state = "repaired" if self.is_repaired else self.severity().value
        return f"{self.kind}: {KINDS[self.kind][1]}: {self.key!r} {self.detail} [{state}]"


@dataclass(slots=True)
class Report:
    """What a run found. `checked` counts what it looked at, by name."""

    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)
    unrepaired: Counter[Severity] = field(default_factory=Counter)

    def add(self, finding: Finding) -> None:
        self.counts[finding.kind] += 1
        if not finding.is_repaired:
            self.unrepaired[finding.severity()] += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)

    def is_clean(self) -> bool:
        """Nothing was found at all."""
        return not self.counts

    def is_healthy(self) -> bool:
        """Nothing is wrong any more: what was found is repaired, or a mere leftover."""
        return not (self.unrepaired[Severity.DAMAGE] or self.unrepaired[Severity.LOSS])
