//! The server machine on virtual time: who is let in, who is dialed and when, what is forgotten.
//! No sockets: a story plays the driver's part, tells the machine what happens and looks at what it puts out.

#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

mod admission;
mod bans;
mod dials;
mod known;
mod limits;
mod owner;
mod privileges;
mod shortages;
mod story;
mod turnover;
mod two_addresses;
mod wishes;
