"""The transaction log of a run: `writer` appends to it, `reader` reads it while it grows, `verify` checks it."""
