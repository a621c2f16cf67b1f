//! Reading and writing RLP without trusting it: one item after the other, never recursive, nothing allocated before
//! lengths and counts are checked. Stricter than the crate `rlp` alone, which ends a list silently at a malformed item.
//! Follows the RLP specification of ethereum.org and go-ethereum's canonical form.

use bytes::{BufMut, Bytes, BytesMut};
use identity::steps;

use crate::{
    Hash,
    config::MAX_RLP_DEPTH,
    error::{DecodeError, RlpFault},
};

/// The header byte of an empty string.
const EMPTY_STRING: u8 = 0x80;
/// Added to the length of a short list's payload.
const SHORT_LIST: u8 = 0xc0;
/// The longest payload whose length stands in the first byte.
const MAX_SHORT_LEN: usize = 55;
/// The first byte of a string whose length has a length of its own, one byte; seven more follow for longer ones.
const LONG_STRING: u8 = 0xb8;
/// The same for lists.
const LONG_LIST: u8 = 0xf8;

/// One item: its whole encoding and what is in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    /// Header and payload.
    pub(crate) raw: &'a [u8],
    /// What follows the header.
    pub(crate) payload: &'a [u8],
    /// A list, or else a string.
    pub(crate) is_list: bool,
}

impl<'a> Item<'a> {
    /// The item that `bytes` begins with, and the bytes behind it. None when there are no bytes.
    #[inline(always)]
    fn split(bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, RlpFault> {
        steps::step();
        let Some(&first) = bytes.first() else { return Ok(None) };
        let is_list = first >= SHORT_LIST;
        let (header_len, len) = match first {
            ..EMPTY_STRING => (0, 1),
            EMPTY_STRING..LONG_STRING => (1, usize::from(first - EMPTY_STRING)),
            SHORT_LIST..LONG_LIST => (1, usize::from(first - SHORT_LIST)),
            LONG_STRING.. => long_len(bytes, usize::from(first & 7) + 1).ok_or(RlpFault::Header)?,
        };
        let total = header_len.checked_add(len).ok_or(RlpFault::Header)?;
        let (raw, rest) = bytes.split_at_checked(total).ok_or(RlpFault::Header)?;
        let payload = raw.get(header_len..).ok_or(RlpFault::Header)?;
        if let (EMPTY_STRING..LONG_STRING, [(..EMPTY_STRING)]) = (first, payload) {
            return Err(RlpFault::NotCanonical);
        }
        Ok(Some((Self { raw, payload, is_list }, rest)))
    }

    /// Reads `bytes` as one item with nothing behind it.
    pub(crate) fn only(bytes: &'a [u8], what: &'static str) -> Result<Self, DecodeError> {
        match Self::split(bytes) {
            Ok(Some((item, []))) => Ok(item),
            Ok(Some((_, rest))) => Err(RlpFault::Trailing { found: rest.len() }.of(what)),
            Ok(None) => Err(RlpFault::Missing.of(what)),
            Err(fault) => Err(fault.of(what)),
        }
    }

    /// The items of a list.
    pub(crate) fn list(self, what: &'static str) -> Result<Items<'a>, DecodeError> {
        if self.is_list { Ok(Items { rest: self.payload }) } else { Err(RlpFault::NotList.of(what)) }
    }

    /// The bytes of a string.
    pub(crate) fn string(self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        if self.is_list { Err(RlpFault::NotString.of(what)) } else { Ok(self.payload) }
    }

    /// A string of exactly `N` bytes.
    pub(crate) fn array<const N: usize>(self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let bytes = self.string(what)?;
        bytes.try_into().map_err(|_| RlpFault::Length { expected: N, found: bytes.len() }.of(what))
    }

    /// An unsigned number of at most 8 bytes.
    pub(crate) fn u64(self, what: &'static str) -> Result<u64, DecodeError> {
        let bytes = self.number::<8>(what)?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// An unsigned number of at most 16 bytes.
    pub(crate) fn u128(self, what: &'static str) -> Result<u128, DecodeError> {
        let bytes = self.number::<16>(what)?;
        Ok(u128::from_be_bytes(bytes))
    }

    /// An unsigned number of at most `N` bytes, big-endian, filled up with zeros.
    pub(crate) fn number<const N: usize>(self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let bytes = self.string(what)?;
        if bytes.first() == Some(&0) {
            return Err(RlpFault::NotCanonical.of(what));
        }
        let mut number = [0; N];
        let start = N.checked_sub(bytes.len());
        let Some(place) = start.and_then(|start| number.get_mut(start..)) else {
            return Err(RlpFault::Length { expected: N, found: bytes.len() }.of(what));
        };
        place.copy_from_slice(bytes);
        Ok(number)
    }

    /// Checks everything inside the item, in steps that each go forward and with a stack of fixed size.
    pub(crate) fn check_inside(self, what: &'static str) -> Result<(), DecodeError> {
        // What is left of each open list behind the items being read, the innermost last.
        let mut open: [&[u8]; MAX_RLP_DEPTH] = [&[]; MAX_RLP_DEPTH];
        let mut depth = usize::from(self.is_list);
        let mut rest = if self.is_list { self.payload } else { &[] };
        loop {
            rest = skip_short_strings(rest).map_err(|fault| fault.of(what))?;
            match Self::split(rest).map_err(|fault| fault.of(what))? {
                Some((item, behind)) if item.is_list => {
                    *open.get_mut(depth).ok_or(RlpFault::TooDeep.of(what))? = behind;
                    depth += 1;
                    rest = item.payload;
                }
                Some((_, behind)) => rest = behind,
                None if depth <= 1 => return Ok(()),
                None => {
                    depth -= 1;
                    rest = open.get(depth).copied().unwrap_or_default();
                }
            }
        }
    }
}

/// What is behind the short strings that `bytes` begins with. Most items are such, and this is all there is to check.
#[inline]
fn skip_short_strings(mut bytes: &[u8]) -> Result<&[u8], RlpFault> {
    while let Some((&first, behind)) = bytes.split_first()
        && first < LONG_STRING
    {
        steps::step();
        let len = usize::from(first.saturating_sub(EMPTY_STRING));
        if len == 1 && behind.first().is_some_and(|byte| *byte < EMPTY_STRING) {
            return Err(RlpFault::NotCanonical);
        }
        bytes = behind.get(len..).ok_or(RlpFault::Header)?;
    }
    Ok(bytes)
}

/// Lengths of header and payload of an item whose length has `len_len` bytes, in the one form that is canonical.
fn long_len(bytes: &[u8], len_len: usize) -> Option<(usize, usize)> {
    let digits = bytes.get(1..1 + len_len).filter(|digits| digits.first() != Some(&0))?;
    // At most eight digits, so none is shifted out.
    let len = digits.iter().fold(0u64, |len, digit| (len << 8) | u64::from(*digit));
    let len = usize::try_from(len).ok()?;
    (len > MAX_SHORT_LEN).then_some((1 + len_len, len))
}

/// What is left of a list's items.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Items<'a> {
    /// Reads `bytes` as one list with nothing behind it.
    pub(crate) fn only(bytes: &'a [u8], what: &'static str) -> Result<Self, DecodeError> {
        Item::only(bytes, what)?.list(what)
    }

    /// The bytes not yet read.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next item, if there is one.
    pub(crate) fn try_next(&mut self, what: &'static str) -> Result<Option<Item<'a>>, DecodeError> {
        Ok(Item::split(self.rest).map_err(|fault| fault.of(what))?.map(|(item, rest)| {
            self.rest = rest;
            item
        }))
    }

    /// The next item.
    pub(crate) fn next(&mut self, what: &'static str) -> Result<Item<'a>, DecodeError> {
        self.try_next(what)?.ok_or(RlpFault::Missing.of(what))
    }

    /// The next item, a list.
    pub(crate) fn list(&mut self, what: &'static str) -> Result<Items<'a>, DecodeError> {
        self.next(what)?.list(what)
    }

    /// The next item, a number of at most 8 bytes.
    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        self.next(what)?.u64(what)
    }

    /// The next item, a hash.
    pub(crate) fn hash(&mut self, what: &'static str) -> Result<Hash, DecodeError> {
        self.next(what)?.array(what).map(Hash)
    }

    /// That nothing is left.
    pub(crate) fn end(self, what: &'static str) -> Result<(), DecodeError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(RlpFault::Trailing { found: self.rest.len() }.of(what))
        }
    }

    /// How many items are left, or None once there are more than `limit`. Looks at headers only.
    pub(crate) fn count(mut self, limit: usize, what: &'static str) -> Result<Option<usize>, DecodeError> {
        let mut count = 0usize;
        while self.try_next(what)?.is_some() {
            count += 1;
            if count > limit {
                return Ok(None);
            }
        }
        Ok(Some(count))
    }
}

/// The part `slice` of `message`, by reference.
pub(crate) fn share(message: &Bytes, slice: &[u8]) -> Bytes {
    message.slice_ref(slice)
}

/// How many bytes a header for `len` bytes of payload takes.
fn header_len(len: usize) -> usize {
    if len <= MAX_SHORT_LEN { 1 } else { 1 + len_of_len(len) }
}

/// How many bytes it takes to write `len`.
fn len_of_len(len: usize) -> usize {
    (usize::BITS - len.leading_zeros()).div_ceil(8) as usize
}

/// Writes the header of a list or string. `short` is 0xc0 for a list and 0x80 for a string.
fn put_header(out: &mut BytesMut, short: u8, len: usize) {
    if len <= MAX_SHORT_LEN {
        out.put_u8(short.saturating_add(len as u8));
        return;
    }
    let len_len = len_of_len(len);
    out.put_u8(short.saturating_add(MAX_SHORT_LEN as u8).saturating_add(len_len as u8));
    out.put_uint(len as u64, len_len);
}

/// A list of items that are RLP already: one allocation of the right size.
pub(crate) fn list_of<I>(items: I) -> Bytes
where
    I: IntoIterator<Item: AsRef<[u8]>> + Clone,
{
    let len = items.clone().into_iter().map(|item| item.as_ref().len()).sum();
    let mut out = BytesMut::with_capacity(header_len(len) + len);
    put_header(&mut out, SHORT_LIST, len);
    items.into_iter().for_each(|item| out.extend_from_slice(item.as_ref()));
    out.freeze()
}

/// A list of a number and of items that are RLP already: the shape of requests and answers with an id.
pub(crate) fn with_id(id: u64, content: &[u8]) -> Bytes {
    list_of([rlp::encode(&id).as_ref(), content])
}

/// A string.
pub(crate) fn string_of(bytes: &[u8]) -> Bytes {
    if let [byte] = bytes
        && *byte < EMPTY_STRING
    {
        return Bytes::copy_from_slice(bytes);
    }
    let mut out = BytesMut::with_capacity(header_len(bytes.len()) + bytes.len());
    put_header(&mut out, EMPTY_STRING, bytes.len());
    out.extend_from_slice(bytes);
    out.freeze()
}

/// A list of hashes.
pub(crate) fn hashes_of(hashes: &[Hash]) -> Bytes {
    let len = hashes.len() * HASH_ITEM_LEN;
    let mut out = BytesMut::with_capacity(header_len(len) + len);
    put_header(&mut out, SHORT_LIST, len);
    for hash in hashes {
        put_header(&mut out, EMPTY_STRING, hash.0.len());
        out.extend_from_slice(&hash.0);
    }
    out.freeze()
}

/// A hash with its header, bytes.
const HASH_ITEM_LEN: usize = 33;

/// The hashes that are left, at most `limit` of them; whatever follows need only be hashes too.
pub(crate) fn read_hashes(
    mut items: Items<'_>,
    limit: usize,
    what: &'static str,
) -> Result<Vec<Hash>, DecodeError> {
    let mut hashes = Vec::with_capacity((items.rest().len() / HASH_ITEM_LEN).min(limit));
    while let Some(item) = items.try_next(what)? {
        let hash = Hash(item.array(what)?);
        if hashes.len() < limit {
            hashes.push(hash);
        }
    }
    Ok(hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(bytes: &[u8]) -> Result<(), DecodeError> {
        Item::only(bytes, "item")?.check_inside("item")
    }

    #[test]
    fn malformed_items_are_refused() {
        let rows: [(&[u8], RlpFault); 9] = [
            (&[], RlpFault::Missing),
            (&[0x81, 0x05], RlpFault::NotCanonical),
            (&[0xb8, 0x05, 1, 2, 3, 4, 5], RlpFault::Header),
            (&[0xb9, 0x00, 0x40], RlpFault::Header),
            (&[0xc2, 0x81], RlpFault::Header),
            (&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], RlpFault::Header),
            (&[0xc0, 0xc0], RlpFault::Trailing { found: 1 }),
            (&[0xc3, 0xc2, 0x81, 0x05], RlpFault::NotCanonical),
            (&[0xc2, 0xc2, 0x01], RlpFault::Header),
        ];
        for (bytes, fault) in rows {
            assert_eq!(checked(bytes), Err(fault.of("item")), "{bytes:02x?}");
        }
        assert_eq!(checked(&[0xc5, 0x80, 0xc1, 0xc0, 0x81, 0x80]), Ok(()));
    }

    #[test]
    fn numbers_are_canonical_and_of_the_right_length() {
        let number = |bytes: &[u8]| Item::only(bytes, "n").and_then(|item| item.u64("n"));
        assert_eq!(number(&[0x80]), Ok(0));
        assert_eq!(number(&[0x88, 255, 255, 255, 255, 255, 255, 255, 255]), Ok(u64::MAX));
        assert_eq!(number(&[0x00]), Err(RlpFault::NotCanonical.of("n")));
        assert_eq!(number(&[0x82, 0x00, 0x80]), Err(RlpFault::NotCanonical.of("n")));
        assert_eq!(number(&[0xc0]), Err(RlpFault::NotString.of("n")));
        let nine = [0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(number(&nine), Err(RlpFault::Length { expected: 8, found: 9 }.of("n")));
    }

    #[test]
    fn headers_are_read_as_the_crate_rlp_reads_them() {
        let long = vec![0x11; 70_000];
        for first in 0..=255u8 {
            for next in [[0, 0], [0, 55], [0, 56], [1, 0], [55, 0], [56, 1], [57, 0xff], [0xff, 0xff]] {
                let bytes = [&[first], &next[..], &long].concat();
                let expected =
                    rlp::PayloadInfo::from(&bytes).ok().map(|info| (info.header_len, info.value_len));
                let fits = expected.filter(|(header, len)| header.saturating_add(*len) <= bytes.len());
                // The crate leaves it to its caller that one small byte is written as itself.
                let canonical = fits
                    .filter(|(header, len)| (*header, *len) != (1, 1) || first != 0x81 || next[0] >= 0x80);
                let read = Item::split(&bytes).ok().flatten();
                let lens = read.map(|(item, _)| (item.raw.len() - item.payload.len(), item.payload.len()));
                assert_eq!(lens, canonical, "{first:#x} {next:x?}");
            }
        }
    }

    /// `depth` lists, each in the other.
    fn nested(depth: usize) -> Vec<u8> {
        (1..depth).fold(vec![0xc0], |inner, _| list_of([inner]).to_vec())
    }

    #[test]
    fn nesting_ends_at_its_limit() {
        assert_eq!(checked(&nested(MAX_RLP_DEPTH)), Ok(()));
        assert_eq!(checked(&nested(MAX_RLP_DEPTH + 1)), Err(RlpFault::TooDeep.of("item")));
    }

    #[test]
    fn written_items_are_those_of_the_crate_rlp() {
        for len in [0, 1, 54, 55, 56, 255, 256, 65_535, 65_536] {
            for byte in [0, 0x7f, 0x80] {
                let bytes = vec![byte; len];
                let string = string_of(&bytes);
                assert_eq!(string, rlp::encode(&bytes).freeze());
                let mut list = rlp::RlpStream::new_list(2);
                list.append(&bytes).append(&7u8);
                assert_eq!(list_of([&string[..], &[7]]), list.out().freeze());
            }
        }
        assert_eq!(hashes_of(&[Hash([7; 32]); 3]), list_of(&vec![string_of(&[7; 32]); 3]));
    }
}
