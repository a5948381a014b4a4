"""TLS for a listener, whose certificate is renewed while it serves."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

log = logging.getLogger("amur.httpd")

HANDSHAKE_SECONDS = 10.0
CLOSE_SECONDS = 3600.0
"""What uvloop gives a client to take the end of an answer, however it gets on; our own sweep looks
after that, and is done long before."""

_Stamp = tuple[tuple[int, int, int], ...]


class Tls:
    """A context, and the pair of PEM files that it serves. With `client_ca` only clients that show
    a certificate of it are let in. Raises OSError of unreadable files."""

    def __init__(self, cert: Path, key: Path, client_ca: Path | None = None) -> None:
        self._files = (cert, key)
        self._stamp = self._now()
        self.context = _context(cert, key)
        if client_ca is not None:
            self.context.load_verify_locations(client_ca)
            self.context.verify_mode = ssl.CERT_REQUIRED

    def renew(self) -> bool:
        """Whether new files were taken up; call it now and then. A broken pair changes nothing.

        Connections that are open keep what they began with.
        """
        try:
            stamp = self._now()
            if stamp == self._stamp:
                return False
            self._stamp = stamp  # of broken files, too: say so once
            # a pair that does not match would spoil the context that is in use
            _context(*self._files)
            self.context.load_cert_chain(*self._files, password="")
        except OSError as error:
            log.warning("the TLS files have changed but are no pair; the old one stays: %s", error)
            return False
        log.info("a new TLS certificate is in use: %s", self._files[0])
        return True

    def _now(self) -> _Stamp:
        stats = [path.stat() for path in self._files]
        return tuple((each.st_mtime_ns, each.st_ino, each.st_size) for each in stats)


def _context(cert: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(cert, key, password="")  # none, so that nobody is asked for one
    return context
