"""Decoder of aws-chunked bodies: signed or not, with or without trailers. Sans-IO.

    hex-size[;chunk-signature=HEX]\\r\\n  bytes \\r\\n  ...  0[;chunk-signature=HEX]\\r\\n
    name:value\\r\\n ...  [x-amz-trailer-signature:HEX\\r\\n]  \\r\\n

Theory of operation: SIZE -> DATA -> DATA_END -> SIZE ... -> (size 0) TRAILER -> DONE. Bytes of an
unsigned body are given out as they come; those of a signed chunk only once its signature was
verified, so a chunk is held whole and may have at most AWS_CHUNK_BYTES_MAX.

Source: Amazon S3 documentation, "Signature calculations: transferring payload in multiple chunks".
"""

from __future__ import annotations

from enum import Enum
from hashlib import sha256

from amur.gateway.errors import S3Error
from amur.gateway.sigv4 import EMPTY_SHA256, ChunkChain, PayloadMode, is_signature
from amur.limits import AWS_CHUNK_BYTES_MAX

LINE_BYTES_MAX = 1024
"""A size line has about 100 bytes, a trailer with a checksum about the same."""

_CRLF = b"\r\n"
_HEX = b"0123456789abcdefABCDEF"
_SIGNATURE_FIELD = b";chunk-signature="
_TRAILER_SIGNATURE = "x-amz-trailer-signature"


class _State(Enum):
    SIZE = "the line before a chunk"
    DATA = "bytes of a chunk"
    DATA_END = "the line break behind them"
    TRAILER = "lines behind the last chunk"
    DONE = "nothing may follow"


class ChunkedDecoder:
    """Give all received bytes to `feed`, in any pieces, then call `finish`."""

    def __init__(
        self,
        mode: PayloadMode,
        decoded_length: int,
        *,
        chain: ChunkChain | None = None,
        announced: str = "",
    ) -> None:
        """`decoded_length` is x-amz-decoded-content-length, `announced` x-amz-trailer."""
        assert (chain is not None) == (
            mode in (PayloadMode.SIGNED_CHUNKS, PayloadMode.SIGNED_CHUNKS_TRAILER)
        )
        self.trailers: dict[str, str] = {}
        self._announced = {name for part in announced.lower().split(",") if (name := part.strip())}
        if self._announced and mode is PayloadMode.SIGNED_CHUNKS:
            raise S3Error("InvalidRequest", "This x-amz-content-sha256 does not allow trailers")
        self._trailers_signed = mode is PayloadMode.SIGNED_CHUNKS_TRAILER
        self._trailer_signature = ""
        self._chain = chain
        self._previous = chain.seed if chain else ""
        self._signature = ""  # of the current chunk, as sent
        self._state = _State.SIZE
        self._pending = b""  # the beginning of a line
        self._left = 0  # bytes of the current chunk
        self._missing = decoded_length  # bytes of the whole
        self._held: list[bytes] = []  # of a signed chunk that is not verified yet
        self._hash = sha256()

    def feed(self, data: bytes) -> list[bytes]:
        """Payload that `data` completes, none of it empty. Raises S3Error."""
        if self._pending:
            data = self._pending + data
            self._pending = b""
        out: list[bytes] = []
        at, end = 0, len(data)
        while at < end:
            state = self._state
            if state is _State.DATA:
                stop = min(end, at + self._left)
                self._take(data if stop - at == end else data[at:stop], out)
                at = stop
            elif state is _State.DONE:
                raise S3Error("IncompleteBody", "Data follows the end of the chunked body")
            else:
                line_end = data.find(_CRLF, at, at + LINE_BYTES_MAX)
                if line_end < 0:
                    if end - at >= LINE_BYTES_MAX or (
                        state is _State.DATA_END and not _CRLF.startswith(data[at:])
                    ):
                        raise _malformed()
                    self._pending = data[at:]
                    break
                self._line(data[at:line_end])
                at = line_end + 2
        return out

    def finish(self) -> None:
        """Raises IncompleteBody unless the whole body was there."""
        if self._state is not _State.DONE:
            raise S3Error("IncompleteBody", "The chunked body ended before its last chunk")

    def _take(self, piece: bytes, out: list[bytes]) -> None:
        self._left -= len(piece)
        if self._chain is None:
            out.append(piece)
        else:
            self._hash.update(piece)
            self._held.append(piece)
            if not self._left:
                self._verify_chunk(self._hash.hexdigest())
                out += self._held
                self._held = []
                self._hash = sha256()
        if not self._left:
            self._state = _State.DATA_END

    def _line(self, line: bytes) -> None:
        if self._state is _State.SIZE:
            self._start_chunk(line)
        elif self._state is _State.DATA_END:
            if line:
                raise _malformed()
            self._state = _State.SIZE
        elif line:
            self._add_trailer(line)
        else:
            self._end()

    def _start_chunk(self, line: bytes) -> None:
        size, separator, signature = line.partition(_SIGNATURE_FIELD)
        if not 0 < len(size) <= 16 or size.translate(None, _HEX):
            raise _malformed()
        if (self._chain is None) == bool(separator):
            raise _malformed("signatures of chunks do not match x-amz-content-sha256")
        self._left = int(size, 16)
        self._signature = signature.decode("latin-1")
        if self._left > self._missing:
            raise S3Error("IncompleteBody", "More bytes than x-amz-decoded-content-length")
        if self._chain is not None and self._left > AWS_CHUNK_BYTES_MAX:
            raise S3Error(
                "EntityTooLarge",
                "A signed chunk is too large",
                MaxSizeAllowed=str(AWS_CHUNK_BYTES_MAX),
            )
        self._missing -= self._left
        if self._left:
            self._state = _State.DATA
            return
        if self._chain is not None:
            self._verify_chunk(EMPTY_SHA256)
        if self._missing:
            raise S3Error("IncompleteBody", "Fewer bytes than x-amz-decoded-content-length")
        self._state = _State.TRAILER

    def _verify_chunk(self, digest: str) -> None:
        assert self._chain is not None
        to_sign = self._chain.chunk_to_sign(self._previous, digest)
        if not is_signature(self._signature, self._chain.key, to_sign):
            raise S3Error("SignatureDoesNotMatch", "The signature of a chunk does not match")
        self._previous = self._signature

    def _add_trailer(self, line: bytes) -> None:
        name, separator, value = line.decode("latin-1").partition(":")
        name = name.lower()
        if not separator or self._trailer_signature:
            raise S3Error("MalformedTrailerError")
        if name == _TRAILER_SIGNATURE and self._trailers_signed:
            self._trailer_signature = value.strip()
        elif name in self._announced and name not in self.trailers:
            self.trailers[name] = value.strip()
        else:
            raise S3Error("MalformedTrailerError", "A trailer was not announced, or is repeated")
        assert len(self.trailers) <= len(self._announced)

    def _end(self) -> None:
        if self._announced != self.trailers.keys():
            raise S3Error("MalformedTrailerError", "The announced trailer did not arrive")
        if self._trailers_signed:
            assert self._chain is not None
            lines = "".join([f"{name}:{value}\n" for name, value in self.trailers.items()])
            to_sign = self._chain.trailer_to_sign(self._previous, lines)
            if not is_signature(self._trailer_signature, self._chain.key, to_sign):
                raise S3Error("SignatureDoesNotMatch", "The signature of the trailer is wrong")
        self._state = _State.DONE


def _malformed(why: str = "a chunk does not have the announced form") -> S3Error:
    return S3Error("IncompleteBody", f"The chunked body is malformed: {why}")
