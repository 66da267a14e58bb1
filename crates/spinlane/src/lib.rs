//! Facade: what an embedding application depends on.
