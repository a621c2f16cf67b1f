//! The file on a real disk: what comes back, what is refused and left as it is, and what a killed process leaves.
//! A server with such a file is in `tests/driver/book.rs`.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
};

use identity::NodeKey;
use tempfile::TempDir;

use super::*;

/// How often the writer is killed; the row wants 1,000.
const KILLS: usize = if cfg!(feature = "thorough") { 1_000 } else { 20 };

/// Nodes that one batch of the writer has.
const BATCH: u16 = 8;

/// Names the writer's file, in the environment of the process that it is.
const WRITER: &str = "ADDRESS_BOOK_WRITER";

fn entry(number: u16) -> BookEntry {
    let mut secret = [9; 32];
    secret[..2].copy_from_slice(&number.to_be_bytes());
    let public_key = NodeKey::from_bytes(&secret).unwrap().public_key();
    let addresses = [format!("77.{}.{}.1:30303", number >> 8, number & 0xff), "[2600::1]:30303".to_owned()];
    BookEntry::tried(public_key, addresses.map(|it| it.parse().unwrap()).to_vec(), 1_700_000_000)
}

fn kept(numbers: impl IntoIterator<Item = u16>) -> BookChanges {
    BookChanges { kept: numbers.into_iter().map(entry).collect(), ..BookChanges::default() }
}

fn place() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data").join("addressbook.redb");
    (dir, path)
}

fn sorted(mut entries: Vec<BookEntry>) -> Vec<BookEntry> {
    entries.sort_by_key(|entry| entry.public_key.node_id());
    entries
}

#[test]
fn what_is_written_comes_back_and_what_is_dropped_does_not() {
    let (_dir, path) = place();
    let (file, entries) = BookFile::open(&path).unwrap();
    assert_eq!(entries, []);
    file.write(&kept(0..10)).unwrap();
    let dropped = vec![entry(3).public_key.node_id()];
    file.write(&BookChanges { dropped, ..kept([10]) }).unwrap();
    drop(file);
    let (file, entries) = BookFile::open(&path).unwrap();
    assert_eq!(sorted(entries), sorted((0..11).filter(|it| *it != 3).map(entry).collect()));
    file.write(&BookChanges { whole: true, ..kept([20, 21]) }).unwrap();
    drop(file);
    assert_eq!(sorted(BookFile::open(&path).unwrap().1), sorted(vec![entry(20), entry(21)]));
}

#[test]
fn no_more_than_the_limit_is_read() {
    let (_dir, path) = place();
    let (file, _) = BookFile::open(&path).unwrap();
    file.write(&kept(0..1_100)).unwrap();
    drop(file);
    assert_eq!(BookFile::open(&path).unwrap().1.len(), MAX_BOOK_ENTRIES);
}

#[cfg(unix)]
#[test]
fn the_file_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, path) = place();
    let _file = BookFile::open(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn d04_a_second_node_on_the_same_file_is_told_so() {
    let (_dir, path) = place();
    let _first = BookFile::open(&path).unwrap();
    let second = BookFile::open(&path).err().unwrap();
    assert!(matches!(second, BookError::InUse { .. }), "{second}");
    assert!(second.to_string().contains("addressbook.redb") && !second.to_string().contains('\n'));
}

#[test]
fn d04_a_newer_format_and_another_database_are_refused_and_left_as_they_are() {
    let (_dir, path) = place();
    drop(BookFile::open(&path).unwrap());
    let change = |change: &dyn Fn(&redb::WriteTransaction)| {
        let database = Database::open(&path).unwrap();
        let writing = database.begin_write().unwrap();
        change(&writing);
        writing.commit().unwrap();
    };
    change(&|writing| {
        writing.open_table(META).unwrap().insert(FORMAT_KEY, 2).unwrap();
    });
    let newer = BookFile::open(&path).err().unwrap();
    assert!(matches!(newer, BookError::Newer { found: 2, .. }), "{newer}");
    change(&|writing| {
        writing.delete_table(META).unwrap();
    });
    let foreign = BookFile::open(&path).err().unwrap();
    assert!(matches!(foreign, BookError::Foreign { .. }), "{foreign}");
}

#[test]
fn d02_what_is_no_address_book_is_refused_and_left_as_it_is() {
    let (dir, path) = place();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let texts: [&[u8]; 4] = [b"x", br#"{"static-nodes": []}"#, &[0; 4_096], &[0xff; 70_000]];
    for text in texts {
        fs::write(&path, text).unwrap();
        let error = BookFile::open(&path).err().unwrap();
        assert!(matches!(error, BookError::Foreign { .. } | BookError::Damaged { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), text);
    }
    let directory = BookFile::open(dir.path()).err().unwrap();
    assert!(matches!(directory, BookError::Io { .. }), "{directory}");
}

#[test]
fn d02_a_damaged_file_is_an_error_or_a_book_and_never_a_panic() {
    const BLOCK: usize = 512;
    let (_dir, path) = place();
    let (file, _) = BookFile::open(&path).unwrap();
    file.write(&kept(0..40)).unwrap();
    drop(file);
    let whole = fs::read(&path).unwrap();
    let (mut refused, mut read) = (0, 0);
    let mut judge = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        match std::panic::catch_unwind(|| BookFile::open(&path)) {
            Ok(Ok((_, entries))) => {
                assert!(entries.len() <= MAX_BOOK_ENTRIES, "{what}");
                read += 1;
            }
            Ok(Err(error)) => {
                assert!(error.to_string().contains("addressbook.redb"), "{what}: {error}");
                refused += 1;
            }
            Err(_) => panic!("{what}: a panic"),
        }
    };
    let blocks = (0..whole.len()).step_by(BLOCK);
    for start in blocks.filter(|start| whole[*start..].iter().take(BLOCK).any(|it| *it != 0)) {
        // The second of each is in tables of the database's own, which nobody reads before it is closed.
        for (start, len) in [(start, BLOCK), (start + 128, 64)] {
            let mut bad = whole.clone();
            bad[start..start + len].fill(0);
            judge(&bad, &format!("{len} zeros at {start}"));
            bad.copy_from_slice(&whole);
            bad[start + 7] ^= 0x10;
            judge(&bad, &format!("a bit at {start}"));
        }
        judge(&whole[..start], &format!("cut at {start}"));
    }
    assert!(refused > 10, "{refused} refused, {read} read");
}

/// Not a claim but the process that the next test kills: writes batch after batch and says each one that is written.
#[test]
fn d01_writer() {
    let Some(path) = env::var_os(WRITER) else { return };
    let (file, entries) = BookFile::open(Path::new(&path)).unwrap();
    let first = u16::try_from(entries.len()).unwrap() / BATCH;
    let mut out = std::io::stdout().lock();
    for batch in first..120 {
        file.write(&kept(batch * BATCH..(batch + 1) * BATCH)).unwrap();
        writeln!(out, "written {batch}").unwrap();
        out.flush().unwrap();
    }
}

fn writer(path: &Path) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "driver::book::tests::d01_writer", "--nocapture"]).env(WRITER, path);
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn d01_after_kill_9_at_any_batch_every_batch_that_was_written_is_there() {
    println!("{KILLS} kills of 1000");
    let (_dir, path) = place();
    for kill in 0..KILLS {
        if kill % 10 == 0 {
            let _ = fs::remove_file(&path);
        }
        let mut child = writer(&path);
        let mut last = None;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            // The harness puts its own words before the first.
            let Some((_, number)) = line.split_once("written ") else { continue };
            last = Some(number.parse::<u16>().unwrap());
            // While it writes the next: somewhere in it.
            if last.is_some_and(|last| last % 7 == (kill % 7) as u16) {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let written = last.map_or(0, |last| usize::from((last + 1) * BATCH));
        let (_, entries) = BookFile::open(&path).unwrap();
        assert!(entries.len() >= written, "{} of {written}", entries.len());
        assert_eq!(entries.len() % usize::from(BATCH), 0, "a batch is there whole or not at all");
    }
}
