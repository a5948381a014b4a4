"""What regions say to each other, and how: topology, messages, links. Nothing of S3."""
