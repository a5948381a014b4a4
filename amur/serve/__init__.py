"""`amur serve`: the parent that checks and supervises, the gateway workers, the jobs process."""
