//! Sessions against each other and against scripted peers, in memory and with time moved by hand (`kit.rs`).
//! With sockets and tasks they are tested in `tests/driver/`, frames by themselves in `frame/tests.rs`.

mod apart;
mod base;
mod budget;
mod frames;
mod handshake;
mod kit;
mod memory;
mod messages;
mod reasons;
mod timers;
