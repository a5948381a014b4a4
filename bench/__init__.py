"""`make bench`: the design's table, against a bare server in the same run."""
