//! The file of `--svg`: refused before the run when it cannot be written, and changed only by the finished plot, which
//! is written beside it and renamed. What is drawn stands in `chart`.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// A file that can be written, and has not been yet.
#[derive(Debug)]
pub(super) struct PlotFile {
    /// As the user wrote it.
    shown: PathBuf,
    /// Where it is, links followed: a link stays one.
    path: PathBuf,
    /// The name beside it.
    temporary: PathBuf,
}

impl PlotFile {
    /// The file at `path`, which may exist and stays as it is for now.
    pub(super) fn at(path: &Path) -> Result<Self, Failure> {
        Self::find(path).map_err(|error| Failure::input(format!("--svg {}: {error}", path.display())))
    }

    /// Puts the plot in the file's place.
    pub(super) fn write(&self, svg: &str) -> Result<(), Failure> {
        self.replace(svg).map_err(|error| {
            let _ = fs::remove_file(&self.temporary);
            Failure::failed(format!("--svg {}: {error}", self.shown.display()))
        })
    }

    fn find(shown: &Path) -> io::Result<Self> {
        let path = match fs::metadata(shown) {
            Ok(metadata) if !metadata.is_file() => return Err(io::Error::other("this is not a file")),
            Ok(_) => {
                // A file that may not be written is not to be replaced either.
                OpenOptions::new().write(true).open(shown)?;
                shown.canonicalize()?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => shown.to_owned(),
            Err(error) => return Err(error),
        };
        let Some(name) = path.file_name() else { return Err(io::Error::other("this is not a file name")) };
        let mut temporary = name.to_owned();
        temporary.push(format!(".{}.tmp", std::process::id()));
        let temporary = path.with_file_name(temporary);
        create(&temporary)?;
        fs::remove_file(&temporary)?;
        Ok(Self { shown: shown.to_owned(), path, temporary })
    }

    fn replace(&self, svg: &str) -> io::Result<()> {
        let mut file = create(&self.temporary)?;
        file.write_all(svg.as_bytes())?;
        if let Ok(metadata) = fs::metadata(&self.path) {
            file.set_permissions(metadata.permissions())?;
        }
        file.sync_all()?;
        fs::rename(&self.temporary, &self.path)
    }
}

fn create(path: &Path) -> io::Result<fs::File> {
    // A name that an earlier, killed process of the same id left behind.
    let _ = fs::remove_file(path);
    OpenOptions::new().write(true).create_new(true).open(path)
}
