//! Capabilities: what a node offers in Hello, and which of them two nodes share at which message codes.
//! What the messages mean is a protocol's (`driver/protocol.rs`); the list on the wire is `p2p/hello.rs`.
//! devp2p specification, `rlpx.md`, "Capability Messaging".

use std::fmt;

use crate::config::LocalCapability;

/// Codes 0 to 15 belong to the base protocol (`rlpx.md`, "p2p Capability"); shared capabilities follow.
pub const BASE_MESSAGE_COUNT: u64 = 16;

/// Longest name of a capability, in bytes (`rlpx.md`: at most 8 ASCII characters).
const MAX_NAME_LEN: usize = 8;

/// A text that cannot name a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a capability's name is 1 to {MAX_NAME_LEN} printable ASCII characters")]
pub struct CapabilityNameError;

/// A capability's name: 1 to 8 printable ASCII characters, case-sensitive.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CapabilityName {
    // The unused tail is zero, so the derived order is that of the text.
    bytes: [u8; MAX_NAME_LEN],
}

impl CapabilityName {
    /// The base protocol, under which its messages are counted. It is in no Hello.
    pub(crate) const P2P: Self = Self { bytes: *b"p2p\0\0\0\0\0" };

    /// Takes the bytes of a name.
    ///
    /// # Errors
    /// [`CapabilityNameError`] when they are none, too many, or not printable ASCII.
    pub fn new(name: impl AsRef<[u8]>) -> Result<Self, CapabilityNameError> {
        let name = name.as_ref();
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return Err(CapabilityNameError);
        }
        let mut bytes = [0; MAX_NAME_LEN];
        bytes.get_mut(..name.len()).ok_or(CapabilityNameError)?.copy_from_slice(name);
        Ok(Self { bytes })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        let len = self.bytes.iter().position(|byte| *byte == 0).unwrap_or(MAX_NAME_LEN);
        str::from_utf8(self.bytes.get(..len).unwrap_or_default()).unwrap_or_default()
    }
}

impl AsRef<str> for CapabilityName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for CapabilityName {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for CapabilityName {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for CapabilityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for CapabilityName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// One capability of a Hello; ordered by name, then version. Displays as `eth/68`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability {
    /// The name.
    pub name: CapabilityName,
    /// The version.
    pub version: u32,
}

impl Capability {
    /// A capability from its parts.
    ///
    /// # Errors
    /// [`CapabilityNameError`] when `name` cannot name a capability.
    pub fn new(name: &str, version: u32) -> Result<Self, CapabilityNameError> {
        Ok(Self { name: CapabilityName::new(name)?, version })
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.version)
    }
}

/// A capability that both ends of a session have, at the highest version that both have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedCapability {
    /// The name.
    pub name: CapabilityName,
    /// The version in use.
    pub version: u32,
    /// The first message code on the wire, 16 or more.
    pub offset: u64,
    /// How many codes follow from there.
    pub message_count: u64,
    /// Longest payload taken, in bytes after decompression.
    pub max_message_len: usize,
}

impl SharedCapability {
    /// The name and version alone.
    pub const fn capability(&self) -> Capability {
        Capability { name: self.name, version: self.version }
    }

    /// A wire code counted from the capability's first; None when the code is another's.
    pub fn relative(&self, code: u64) -> Option<u64> {
        code.checked_sub(self.offset).filter(|relative| *relative < self.message_count)
    }
}

/// What `local` and `remote` share, in order of name: of each name the highest common version, its codes following
/// those of the name before it.
pub fn shared_capabilities(local: &[LocalCapability], remote: &[Capability]) -> Vec<SharedCapability> {
    let mut common: Vec<&LocalCapability> =
        local.iter().filter(|own| remote.contains(&own.capability)).collect();
    common.sort_by_key(|own| own.capability);
    let mut shared: Vec<SharedCapability> = Vec::with_capacity(common.len());
    let mut offset = BASE_MESSAGE_COUNT;
    for (index, own) in common.iter().enumerate() {
        // Sorted by version within a name, so the last of a name is its highest.
        if common.get(index.saturating_add(1)).is_some_and(|next| next.capability.name == own.capability.name)
        {
            continue;
        }
        shared.push(SharedCapability {
            name: own.capability.name,
            version: own.capability.version,
            offset,
            message_count: own.message_count,
            max_message_len: own.max_message_len,
        });
        offset = offset.saturating_add(own.message_count);
    }
    shared
}

/// Which of the shared capabilities a wire code belongs to, and the code counted from that one's first.
pub(crate) fn route(shared: &[SharedCapability], code: u64) -> Option<(usize, u64)> {
    shared.iter().enumerate().find_map(|(index, capability)| Some((index, capability.relative(code)?)))
}
