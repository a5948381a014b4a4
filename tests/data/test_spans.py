"""Which extents are read together."""

from __future__ import annotations

import random

from amur.data.framing import CHECKSUM_BYTES
from amur.data.spans import GAP_BYTES_MAX, SPAN_BYTES_MAX, spans
from amur.extent import Extent

A, B = b"a" * 16, b"b" * 16


def test_neighbours_are_read_together() -> None:
    extents = [Extent(A, at * 108, 100) for at in (3, 1, 2, 0)]
    (span,) = spans(extents)
    assert (span.file, span.offset, span.length) == (A, 0, 4 * 108)
    assert span.members == [3, 1, 2, 0]


def test_a_small_gap_is_read_over_and_a_large_one_is_not() -> None:
    near = Extent(A, 108 + GAP_BYTES_MAX, 100)
    far = Extent(A, 108 + GAP_BYTES_MAX + 1, 100)
    assert len(list(spans([Extent(A, 0, 100), near]))) == 1
    assert len(list(spans([Extent(A, 0, 100), far]))) == 2


def test_files_are_apart() -> None:
    assert [span.file for span in spans([Extent(B, 0, 10), Extent(A, 18, 10)])] == [A, B]


def test_nothing() -> None:
    assert list(spans([])) == []


def test_every_extent_is_in_one_span_and_spans_are_bounded() -> None:
    rng = random.Random(1)
    for _ in range(50):
        extents = [
            Extent(
                rng.choice((A, B)), rng.randrange(1 << 20), rng.choice((1, 900, 40_000, 300_000))
            )
            for _ in range(rng.randrange(60))
        ]
        found = list(spans(extents))
        assert sorted(at for span in found for at in span.members) == list(range(len(extents)))
        for span in found:
            assert span.length <= SPAN_BYTES_MAX or len(span.members) == 1
            for at in span.members:
                start = extents[at].offset - span.offset
                assert extents[at].file == span.file
                assert 0 <= start <= start + CHECKSUM_BYTES + extents[at].length <= span.length
