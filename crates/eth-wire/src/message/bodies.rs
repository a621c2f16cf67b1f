//! BlockBodies (0x06): what stands in a body, its form checked. The roots over it are `block`'s.
//! devp2p specification, `caps/eth.md`, "Block Encoding and Validity".

use super::{item::Items, transactions::envelope_of};
use crate::{
    error::{DecodeError, RlpFault},
    transaction::open_envelope,
};

/// The parts of a body, each a list.
///
/// ```text
/// [transactions, uncles, withdrawals?]
/// ```
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyParts<'a> {
    pub(crate) transactions: &'a [u8],
    pub(crate) uncles: &'a [u8],
    pub(crate) withdrawals: Option<&'a [u8]>,
}

impl<'a> BodyParts<'a> {
    /// Takes the next two or three items, each with everything inside it in order, and nothing behind them.
    pub(crate) fn read(items: &mut Items<'a>) -> Result<Self, DecodeError> {
        let transactions = next_list(items, "transactions")?.ok_or(RlpFault::Missing.of("transactions"))?;
        let uncles = next_list(items, "uncles")?.ok_or(RlpFault::Missing.of("uncles"))?;
        let withdrawals = next_list(items, "withdrawals")?;
        let mut envelopes = Items::only(transactions, "transactions")?;
        while let Some(item) = envelopes.try_next("transaction")? {
            // Typed transactions are strings, into which the check of their list does not look.
            open_envelope(envelope_of(item)?)?;
        }
        items.end("body")?;
        Ok(Self { transactions, uncles, withdrawals })
    }
}

/// The raw bytes of the next item, which must be a list.
fn next_list<'a>(items: &mut Items<'a>, what: &'static str) -> Result<Option<&'a [u8]>, DecodeError> {
    let Some(item) = items.try_next(what)? else { return Ok(None) };
    item.list(what)?;
    item.check_inside(what)?;
    Ok(Some(item.raw))
}
