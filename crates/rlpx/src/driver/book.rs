//! The address book's file: a redb database that one process has open at a time, written in transactions, so that it
//! is whole after a crash at any moment. One that is damaged all the same is set aside (`remains.rs`) and begins anew: the
//! nodes in it are found again. Who is in it is `address_book`'s; when it is written, `keeper.rs`'s.

mod remains;

use std::{
    error::Error,
    fs::{self, File, OpenOptions},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
    TableHandle, backends::FileBackend,
};

use super::keeper::BookStore;
use crate::{BookChanges, BookEntry, MAX_BOOK_ENTRIES};

const META: TableDefinition<'_, &str, u32> = TableDefinition::new("meta");
const NODES: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("nodes");

/// The entry of `meta` that says what the other table holds.
const FORMAT_KEY: &str = "format";

/// The format of this version. Higher ones are refused, for what they mean is not known here.
const FORMAT: u32 = 1;

/// What redb keeps in memory, in bytes: the whole book is read once and then only written.
const CACHE_LEN: usize = 1 << 20;

/// Why the file of an address book cannot be used. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// The system refuses.
    #[error("address book {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another process has it open, or another node of this one.
    #[error("address book {} is in use by another node: give each its own", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Something else is in the file.
    #[error("{} is no address book: name another file or remove it", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A later version has written it.
    #[error(
        "address book {} has format {found}, this version reads up to {known}: use the later version or remove the file",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format, or that of the database it is in.
        found: u32,
        /// The highest that this version reads.
        known: u32,
    },
    /// It is damaged, and so is the one that was to take its place.
    #[error("address book {} is damaged, and a new one cannot be made there: name another file ({detail})", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}

/// What went wrong, before the path is known to it.
enum Trouble {
    Io(io::Error),
    InUse,
    /// The database does not know it for one of its own.
    NoDatabase,
    Foreign,
    Newer {
        found: u32,
        known: u32,
    },
    Damaged(String),
}

impl Trouble {
    fn at(self, path: &Path) -> BookError {
        let path = path.to_owned();
        match self {
            Self::Io(error) => BookError::Io { path, error },
            Self::InUse => BookError::InUse { path },
            Self::NoDatabase | Self::Foreign => BookError::Foreign { path },
            Self::Newer { found, known } => BookError::Newer { path, found, known },
            Self::Damaged(detail) => BookError::Damaged { path, detail },
        }
    }
}

/// An open file.
///
/// ```text
/// table "meta":  "format" -> u32, 1
/// table "nodes": node id (32 bytes) -> BookEntry
/// ```
pub(super) struct BookFile(Option<Database>);

impl BookFile {
    /// Opens the file, or makes it, readable for its owner alone, and its directory. What is in it. One that is damaged is
    /// kept under another name, and another made.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<BookEntry>), BookError> {
        let opened = match Self::open_guarded(path) {
            Err(Trouble::Damaged(detail)) => remains::set_aside(path).and_then(|kept| {
                let kept = kept.display();
                tracing::warn!(%kept, %detail, "the address book is damaged: it is kept, and a new one begins");
                Self::open_guarded(path)
            }),
            opened => opened,
        };
        opened.map_err(|trouble| trouble.at(path))
    }

    /// Opens a file that may hold anything: what the database says of it is weighed by what is left in it, and a panic of
    /// the database is damage.
    fn open_guarded(path: &Path) -> Result<(Self, Vec<BookEntry>), Trouble> {
        let opened = catch_unwind(AssertUnwindSafe(|| Self::try_open(path)));
        let opened = opened.unwrap_or_else(|_| Err(Trouble::Damaged("the database gave it up".to_owned())));
        opened.map_err(|trouble| remains::weigh(path, trouble))
    }

    fn try_open(path: &Path) -> Result<(Self, Vec<BookEntry>), Trouble> {
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            fs::create_dir_all(directory).map_err(Trouble::Io)?;
        }
        let file = open_file(path).map_err(Trouble::Io)?;
        let backend = FileBackend::new(file)?;
        let database = Builder::new().set_cache_size(CACHE_LEN).create_with_backend(backend)?;
        let mut book = Self(Some(database));
        // Its own checks are made after a crash alone: what has changed in a file that lay there shows by this.
        book.0.iter_mut().try_for_each(|database| database.check_integrity().map(|_| ()))?;
        book.check_format()?;
        let entries = book.read()?;
        Ok((book, entries))
    }

    fn database(&self) -> &Database {
        self.0.as_ref().expect("it is there until it is dropped")
    }

    /// Takes a new database for its own; whatever else is not of this format is refused.
    fn check_format(&self) -> Result<(), Trouble> {
        let reading = self.database().begin_read().map_err(damaged)?;
        let mut tables = reading.list_tables().map_err(damaged)?.peekable();
        if tables.peek().is_none() {
            let writing = self.database().begin_write().map_err(damaged)?;
            writing.open_table(META).map_err(damaged)?.insert(FORMAT_KEY, FORMAT).map_err(damaged)?;
            writing.open_table(NODES).map_err(damaged)?;
            return writing.commit().map_err(damaged);
        }
        if !tables.any(|table| table.name() == META.name()) {
            return Err(Trouble::Foreign);
        }
        let meta = reading.open_table(META).map_err(|_| Trouble::Foreign)?;
        match meta.get(FORMAT_KEY).map_err(damaged)?.map(|format| format.value()) {
            Some(FORMAT) => Ok(()),
            Some(found) if found > FORMAT => Err(Trouble::Newer { found, known: FORMAT }),
            Some(_) | None => Err(Trouble::Foreign),
        }
    }

    fn read(&self) -> Result<Vec<BookEntry>, Trouble> {
        let reading = self.database().begin_read().map_err(damaged)?;
        let nodes = reading.open_table(NODES).map_err(damaged)?;
        let mut entries = Vec::new();
        // No more were ever written; who writes more by hand has them left out.
        for node in nodes.iter().map_err(damaged)?.take(MAX_BOOK_ENTRIES) {
            let (key, value) = node.map_err(damaged)?;
            let entry = BookEntry::decode(value.value()).map_err(damaged)?;
            if entry.public_key.node_id().as_bytes() != key.value() {
                return Err(damaged("a node is filed under another's id"));
            }
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// Closing writes what is behind the tables. Where that is damaged, which no table shows, it can panic: that ends nothing
/// but the closing.
impl Drop for BookFile {
    fn drop(&mut self) {
        let database = self.0.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
    }
}

impl BookStore for BookFile {
    fn write(&self, changes: &BookChanges) -> Result<(), Box<dyn Error + Send + Sync>> {
        let writing = self.database().begin_write()?;
        {
            let mut nodes = writing.open_table(NODES)?;
            if changes.whole {
                nodes.retain(|_, _| false)?;
            }
            for node_id in &changes.dropped {
                nodes.remove(node_id.as_bytes())?;
            }
            for entry in &changes.kept {
                let node_id = entry.public_key.node_id();
                nodes.insert(node_id.as_bytes(), entry.encode().as_slice())?;
            }
        }
        Ok(writing.commit()?)
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn damaged(error: impl ToString) -> Trouble {
    Trouble::Damaged(error.to_string())
}

impl From<DatabaseError> for Trouble {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is redb's and open")]
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Self::InUse,
            DatabaseError::Storage(StorageError::Io(error)) => match error.kind() {
                // What redb says of a file without its first bytes.
                io::ErrorKind::InvalidData => Self::NoDatabase,
                io::ErrorKind::UnexpectedEof => damaged(error),
                _ => Self::Io(error),
            },
            other => damaged(other),
        }
    }
}

#[cfg(test)]
mod tests;
