//! A node's fork id beside ours, and the client that its record names (EIP-2124, EIP-7636).
//! Both ping verbs show them; what they mean is decided by eth-wire.

use std::fmt;

use devp2p::{
    eth_wire::{ChainStatus, ForkId, fork_id::ENR_KEY},
    identity::Enr,
};
use serde::Serialize;

use crate::output::printable;

/// The key of a record's entry that tells the client (EIP-7636).
const CLIENT_KEY: &str = "client";

/// A fork id beside ours, and whether they fit.
#[derive(Debug, Serialize)]
pub(crate) struct ForkCheck {
    theirs: Option<String>,
    ours: String,
    fits: bool,
    why_not: Option<String>,
}

impl ForkCheck {
    /// The fork id in a record.
    pub(crate) fn of_record(record: &Enr, ours: &ChainStatus) -> Self {
        match record.entry(ENR_KEY).map(ForkId::from_enr_value) {
            Some(Ok(theirs)) => Self::new(&theirs, ours),
            Some(Err(error)) => Self::none(ours, format!("the record's entry eth cannot be read: {error}")),
            None => Self::none(ours, "the record has no entry eth".to_owned()),
        }
    }

    /// `theirs` against our chain.
    pub(crate) fn new(theirs: &ForkId, ours: &ChainStatus) -> Self {
        let verdict = ours.filter().validate(theirs);
        Self {
            theirs: Some(theirs.to_string()),
            ours: ours.fork_id().to_string(),
            fits: verdict.is_ok(),
            why_not: verdict.err().map(|error| format!("{error}; is --genesis the node's chain?")),
        }
    }

    fn none(ours: &ChainStatus, why_not: String) -> Self {
        Self { theirs: None, ours: ours.fork_id().to_string(), fits: false, why_not: Some(why_not) }
    }
}

impl fmt::Display for ForkCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let theirs = self.theirs.as_deref().unwrap_or("none");
        write!(f, "{theirs}, ours is {}: ", self.ours)?;
        match &self.why_not {
            None => f.write_str("they fit"),
            Some(why) => write!(f, "they do not fit: {why}"),
        }
    }
}

/// The client that a record tells of: its name and version.
pub(crate) fn client_of(record: &Enr) -> Option<String> {
    let entry = rlp::Rlp::new(record.entry(CLIENT_KEY)?);
    let (name, version): (String, String) = (entry.val_at(0).ok()?, entry.val_at(1).ok()?);
    Some(printable(&format!("{name}/{version}")))
}
