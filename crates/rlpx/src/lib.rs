//! RLPx: encrypted TCP transport, frames, the base protocol, peers, server and dialer.
