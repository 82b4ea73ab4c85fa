//! `memory`: stores, recalls and forgets passages in isolated namespaces.
