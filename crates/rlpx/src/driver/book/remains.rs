//! What is left of a damaged file: whether it was an address book, or another's or a later one's, which is not touched; and
//! the name under which it is kept, for whoever wants to look, when a new one takes its place. How the book is read is
//! `book.rs`'s. The layout is redb's (`docs/design.md` there): magic number, a page size, and two commit slots, each with a
//! version of its own.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read},
    path::{Path, PathBuf},
};

use redb::TableHandle;

use super::{FORMAT_KEY, META, NODES, Trouble};

/// Set aside files are numbered up to this; the last one then makes room for the next.
const MAX_KEPT: usize = 9;

/// How a redb database begins.
const MAGIC: [u8; 9] = [b'r', b'e', b'd', b'b', 0x1a, 0x0a, 0xa9, 0x0d, 0x0a];

/// Bits of the magic number that damage may have changed: one byte, whatever is in it.
const MAX_CHANGED_BITS: u32 = 8;

/// Where the page size stands, and what it is.
const PAGE_SIZE: (std::ops::Range<usize>, [u8; 4]) = (12..16, 4_096u32.to_le_bytes());

/// Where the versions of the two commit slots stand.
const VERSIONS: [usize; 2] = [64, 192];

/// The version of the database's own format that is read.
const KNOWN_VERSION: u8 = 3;

/// The first bytes of a file that are looked at one by one.
const HEAD_LEN: usize = 512;

/// How much of a file is searched for names: far more than 1,024 nodes take.
const MAX_SEARCHED: u64 = 16 << 20;

/// What the trouble with the file is, in view of what is in it.
pub(super) fn weigh(path: &Path, trouble: Trouble) -> Trouble {
    let read = || contents(path).unwrap_or_default();
    match trouble {
        Trouble::NoDatabase if is_of_a_book(&read()) => {
            Trouble::Damaged("its first bytes are lost".to_owned())
        }
        Trouble::Damaged(detail) => match later_version(&read()) {
            Some(found) => Trouble::Newer { found: found.into(), known: KNOWN_VERSION.into() },
            None => Trouble::Damaged(detail),
        },
        Trouble::NoDatabase | Trouble::Foreign | Trouble::Io(_) | Trouble::InUse | Trouble::Newer { .. } => {
            trouble
        }
    }
}

/// As much of the file as is looked at.
fn contents(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_SEARCHED).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether a file that the database does not know was an address book, and damage has changed its first bytes.
fn is_of_a_book(bytes: &[u8]) -> bool {
    let head = bytes.get(..HEAD_LEN).unwrap_or(bytes);
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let Some(magic) = head.first_chunk::<9>() else {
        return !bytes.is_empty() && (is_zero(bytes) || MAGIC.starts_with(bytes));
    };
    let changed: u32 = magic.iter().zip(MAGIC).map(|(byte, right)| (byte ^ right).count_ones()).sum();
    if changed <= MAX_CHANGED_BITS {
        return true;
    }
    // The magic number is the last that is written of a new file.
    let is_begun = is_zero(magic) && head.get(PAGE_SIZE.0) == Some(&PAGE_SIZE.1);
    is_begun || (is_zero(head) && (is_zero(bytes) || has_our_names(bytes)))
}

fn has_our_names(bytes: &[u8]) -> bool {
    let has = |name: &str| bytes.windows(name.len()).any(|window| window == name.as_bytes());
    [META.name(), NODES.name(), FORMAT_KEY].into_iter().all(has)
}

/// The version of a later database format. Damage changes that of one slot.
fn later_version(bytes: &[u8]) -> Option<u8> {
    let [first, second] = VERSIONS.map(|place| bytes.get(place).copied());
    first.filter(|version| first == second && *version > KNOWN_VERSION && bytes.starts_with(&MAGIC))
}

/// Gives a damaged file another name, `<name>.corrupt-<number>`, and says which.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, Trouble> {
    let file = File::open(path).map_err(Trouble::Io)?;
    // Another process may have found the same: one of them sets the file aside, and the new one is not taken for it.
    match file.try_lock() {
        Ok(()) if is_at(&file, path).map_err(Trouble::Io)? => {}
        Ok(()) | Err(TryLockError::WouldBlock) => return Err(Trouble::InUse),
        Err(TryLockError::Error(error)) => return Err(Trouble::Io(error)),
    }
    let kept = free_name(path);
    fs::rename(path, &kept).map_err(Trouble::Io)?;
    Ok(kept)
}

/// Whether the file is still the one with this name.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (file, named) = (file.metadata()?, fs::metadata(path)?);
    Ok((file.dev(), file.ino()) == (named.dev(), named.ino()))
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

fn free_name(path: &Path) -> PathBuf {
    let numbered = |number: usize| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".corrupt-{number}"));
        PathBuf::from(name)
    };
    let free = (1..MAX_KEPT).map(numbered).find(|name| !name.exists());
    free.unwrap_or_else(|| numbered(MAX_KEPT))
}
