"""What regions tell each other of their objects: items read, sent, merged in, compared, moved."""
