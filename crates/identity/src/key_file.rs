//! The key file: geth's format (64 hex digits), readable by its owner alone, created whole or not at all.
//! No passwords and no keystore: a node key guards an identity on the network, not funds. What a valid key is says
//! `key.rs`; where the file lies is the program's choice. Format: go-ethereum, `crypto.SaveECDSA`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use crate::{KeyError, NodeKey};

/// Read at most: 64 digits, and a line end that editors add.
const MAX_FILE_LEN: u64 = 128;

/// Why a key file cannot be used. The file is never changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read or written.
    #[error("key file {path}: {error}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Others than the owner may read or write the file.
    #[error("key file {path}: mode {mode:04o} lets others read the key; run: chmod 600 {path}", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds no key.
    #[error("key file {path}: {error}", path = path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong with its content.
        error: KeyError,
    },
}

impl NodeKey {
    /// Reads the key file at `path`.
    ///
    /// # Errors
    /// [`KeyFileError::Io`] when it cannot be read (`NotFound` when there is none), [`KeyFileError::Exposed`] when
    /// others can read it, [`KeyFileError::Bad`] when it holds no key.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let failed = |error| KeyFileError::Io { path: path.to_owned(), error };
        let file = File::open(path).map_err(failed)?;
        check_mode(path, &file)?;
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_FILE_LEN).read_to_string(&mut text).map_err(failed)?;
        Self::from_hex(text.trim_end()).map_err(|error| KeyFileError::Bad { path: path.to_owned(), error })
    }

    /// Writes this key to a new file at `path`: mode 0600, complete and synced before it has its name.
    ///
    /// # Errors
    /// [`KeyFileError::Io`] when it cannot be written, `AlreadyExists` when there is a file: it is left as it was.
    pub fn create(&self, path: &Path) -> Result<(), KeyFileError> {
        self.write_new(path).map_err(|error| KeyFileError::Io { path: path.to_owned(), error })
    }

    fn write_new(&self, path: &Path) -> io::Result<()> {
        let directory = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let temporary = directory.join(name);
        // A name that an earlier, killed process of the same id left behind.
        let _ = fs::remove_file(&temporary);
        let written = write_synced(&temporary, self.to_hex().as_bytes());
        // A link, unlike a rename, never replaces a file that is there.
        let linked = written.and_then(|()| fs::hard_link(&temporary, path));
        let _ = fs::remove_file(&temporary);
        linked?;
        File::open(directory)?.sync_all()
    }
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(unix)]
fn check_mode(path: &Path, file: &File) -> Result<(), KeyFileError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = file.metadata().map_err(|error| KeyFileError::Io { path: path.to_owned(), error })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(KeyFileError::Exposed { path: path.to_owned(), mode }) }
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: &File) -> Result<(), KeyFileError> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn key() -> NodeKey {
        NodeKey::from_bytes(&[9; 32]).expect("a small number is a key")
    }

    #[test]
    fn created_file_is_private_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodekey");
        key().create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap().len(), 64);
        assert_eq!(NodeKey::load(&path).unwrap().public_key(), key().public_key());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn d07_an_existing_file_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodekey");
        fs::write(&path, "precious").unwrap();
        assert!(key().create(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let dangling = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &dangling).unwrap();
        assert!(key().create(&dangling).is_err());
        assert!(!dir.path().join("nowhere").exists());
    }

    #[test]
    fn d07_exposed_empty_and_short_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodekey");
        for (content, mode) in
            [("", 0o600), ("abcd", 0o600), (&"1".repeat(64)[..], 0o640), (&"1".repeat(65)[..], 0o600)]
        {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = NodeKey::load(&path).unwrap_err().to_string();
            assert!(error.contains("nodekey") && !error.contains('\n'), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn a_line_end_is_no_part_of_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodekey");
        key().create(&path).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"\n").unwrap();
        assert_eq!(NodeKey::load(&path).unwrap().public_key(), key().public_key());
    }
}
