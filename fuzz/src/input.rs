//! An input read from its front. What is missing at its end reads as zero or as nothing, so that every input is one.
//! There is no magic in it: a target says in its own documentation what stands where.

/// Steps of one input that are looked at: a fuzzer gains nothing from a longer story, and loses speed.
pub const MAX_STEPS: usize = 48;

/// The rest of an input.
pub(crate) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(crate) const fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// One byte.
    pub(crate) fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    /// Two bytes, the lower first.
    pub(crate) fn number(&mut self) -> usize {
        usize::from(u16::from_le_bytes(self.array()))
    }

    /// `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let there = self.bytes(N);
        array[..there.len()].copy_from_slice(there);
        array
    }

    /// A length of two bytes, and so many bytes.
    pub(crate) fn sized(&mut self) -> &'a [u8] {
        let len = self.number();
        self.bytes(len)
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        self.bytes(self.rest.len())
    }

    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        bytes
    }
}
