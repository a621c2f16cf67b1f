//! Receipts (0x10): the receipts of blocks, carried as they are. In eth/68 a receipt is as the block's root has it, with
//! a bloom filter; in eth/69 it is `[kind, status, gas used, logs]` (EIP-7642).

use bytes::Bytes;

use super::item::{Items, share};
use crate::error::DecodeError;

/// One block's receipts as a slice of `message`, with everything inside in order.
pub(crate) fn decode_next(message: &Bytes, items: &mut Items<'_>) -> Result<Option<Bytes>, DecodeError> {
    let what = "receipts of a block";
    let Some(item) = items.try_next(what)? else { return Ok(None) };
    item.list(what)?;
    item.check_inside(what)?;
    Ok(Some(share(message, item.raw)))
}
