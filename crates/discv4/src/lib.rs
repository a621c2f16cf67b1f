//! Node discovery v4: the UDP node table, endpoint proof and lookups.
