"""HTTP/1.1 over uvloop and httptools (llhttp): bytes of a connection in, exchanges out."""
