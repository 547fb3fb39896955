"""The transaction log, the truth of a run: `writer` appends to it, `reader` reads it while it grows."""
