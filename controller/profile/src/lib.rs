//! What load a pool has at which hour of the week, learned, and how far to believe it.
