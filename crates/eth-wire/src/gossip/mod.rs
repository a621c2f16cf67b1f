//! Gossip of transactions: who gets what, in full or by hash, and what is asked of those who announce. Pure parts; the
//! machine puts out what they decide.

pub(crate) mod announce;
pub(crate) mod broadcast;
pub(crate) mod fetcher;
pub(crate) mod queue;
pub(crate) mod recent;
