//! Launchers for real clients.
