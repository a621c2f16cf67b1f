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

/// The first page of a file, in bytes.
const HEAD: usize = 4_096;

/// Every so many bits of a file's head one is changed.
const HEAD_BITS: usize = if cfg!(feature = "thorough") { 1 } else { 37 };

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
    assert!(matches!(newer, BookError::Newer { found: 2, known: 1, .. }), "{newer}");
    change(&|writing| {
        writing.delete_table(META).unwrap();
    });
    let foreign = BookFile::open(&path).err().unwrap();
    assert!(matches!(foreign, BookError::Foreign { .. }), "{foreign}");
    assert_eq!(kept_beside(&path), Vec::<PathBuf>::new());
    let other = Database::open(&path).unwrap();
    assert!(other.begin_read().unwrap().open_table(NODES).is_ok(), "what is in it is there");
}

#[test]
fn d02_what_is_no_address_book_is_refused_and_left_as_it_is() {
    let (dir, path) = place();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    // Another program's database that has tables of these names, and a disk image that begins with nothing.
    let other = b"SQLite format 3\0 CREATE TABLE meta CREATE TABLE nodes \0\0".repeat(100);
    let image = [&[0; 32_768], &b"CD001"[..], &[0; 4_096]].concat();
    let json = br#"{"nodes": [], "meta": {"format": 1}}"#;
    let texts: [&[u8]; 6] = [b"x", json, &[0xff; 70_000], b"REDB database", &other, &image];
    for text in texts {
        fs::write(&path, text).unwrap();
        let error = BookFile::open(&path).err().unwrap();
        assert!(matches!(error, BookError::Foreign { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), text);
        assert_eq!(kept_beside(&path), Vec::<PathBuf>::new());
    }
    let directory = BookFile::open(dir.path()).err().unwrap();
    assert!(matches!(directory, BookError::Io { .. }), "{directory}");
}

/// The files that were set aside.
fn kept_beside(path: &Path) -> Vec<PathBuf> {
    let name = format!("{}.corrupt-", path.file_name().unwrap().to_str().unwrap());
    let beside = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let is_kept = |other: &PathBuf| other.file_name().unwrap().to_str().unwrap().starts_with(&name);
    let mut kept: Vec<PathBuf> = beside.filter(is_kept).collect();
    kept.sort();
    kept
}

/// The bytes of a book with these nodes.
fn book_of(path: &Path, numbers: std::ops::Range<u16>) -> Vec<u8> {
    let (file, _) = BookFile::open(path).unwrap();
    file.write(&kept(numbers)).unwrap();
    drop(file);
    fs::read(path).unwrap()
}

/// Opens what is left of a book: whether it was set aside. Either it is a book still, with nobody in it who was not, or it
/// is kept to the byte, and a new one works in its place.
fn opens(path: &Path, bytes: &[u8], what: &str) -> bool {
    fs::write(path, bytes).unwrap();
    let (file, entries) = BookFile::open(path).unwrap_or_else(|error| panic!("{what}: {error}"));
    let kept_files = kept_beside(path);
    match &kept_files[..] {
        [] => {
            let known: Vec<BookEntry> = (0..40).map(entry).collect();
            assert!(entries.iter().all(|it| known.contains(it)), "{what}: {entries:?}");
        }
        [one] => {
            assert_eq!((one.extension().unwrap().to_str(), entries), (Some("corrupt-1"), vec![]), "{what}");
            // Trying to open it may have marked its head.
            let same = fs::read(one).unwrap();
            assert!(same.get(HEAD..) == bytes.get(HEAD..), "{what}: kept as it was");
            fs::remove_file(one).unwrap();
        }
        many => panic!("{what}: {many:?}"),
    }
    file.write(&kept([70])).unwrap_or_else(|error| panic!("{what}: {error}"));
    !kept_files.is_empty()
}

#[test]
fn d02_a_damaged_file_is_a_book_still_or_kept_beside_a_new_one() {
    let (_dir, path) = place();
    let whole = book_of(&path, 0..40);
    let (mut set_aside, mut read) = (0, 0);
    let mut judge = |bytes: &[u8], what: &str| match opens(&path, bytes, what) {
        true => set_aside += 1,
        false => read += 1,
    };
    let used = |start: &usize| whole[*start..].iter().take(512).any(|it| *it != 0);
    for start in (0..whole.len()).step_by(512).filter(used) {
        let end = (start + 512).min(whole.len());
        // The second of each is in tables of the database's own, which nobody reads before it is closed.
        for range in [start..end, start + 128..start + 192] {
            let mut bad = whole.clone();
            bad[range.clone()].fill(0);
            judge(&bad, &format!("zeros at {range:?}"));
        }
        for offset in [7, 200] {
            let mut bad = whole.clone();
            bad[start + offset] ^= 0x10;
            judge(&bad, &format!("a bit at {start} + {offset}"));
        }
        judge(&whole[..start], &format!("cut at {start}"));
    }
    for len in [0, 1, 4, 9, 10, 100, 4_096] {
        judge(&whole[..len], &format!("{len} bytes"));
        judge(&vec![0; len], &format!("{len} zeros"));
    }
    // The head, bit by bit.
    for bit in (0..320 * 8).step_by(HEAD_BITS) {
        let mut bad = whole.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        judge(&bad, &format!("bit {bit}"));
    }
    println!("{set_aside} set aside, {read} read; every {HEAD_BITS}th bit of the head (thorough: every one)");
    assert!(set_aside > 20 && read > 20, "{set_aside} set aside, {read} read");
}

#[test]
fn d02_a_file_whose_making_was_cut_short_begins_anew() {
    let (_dir, path) = place();
    let mut begun = book_of(&path, 0..0);
    begun[..9].fill(0);
    assert!(opens(&path, &begun, "without the magic number"));
    begun.fill(0);
    assert!(opens(&path, &begun, "nothing but its length"));
    assert_eq!(BookFile::open(&path).unwrap().1, [entry(70)], "and is a book from then on");
}

#[test]
fn d02_damaged_files_are_numbered_and_no_more_than_nine() {
    let (_dir, path) = place();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    for number in 1..=12u8 {
        fs::write(&path, [&b"redb\x1a\x0a\xa9\x0d\x0a"[..], &[number]].concat()).unwrap();
        drop(BookFile::open(&path).unwrap());
    }
    let last = |file: &PathBuf| *fs::read(file).unwrap().last().unwrap();
    let numbers: Vec<u8> = kept_beside(&path).iter().map(last).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 12]);
}

#[test]
fn d04_a_later_version_of_the_database_is_refused_and_left_as_it_is() {
    let (_dir, path) = place();
    let mut later = book_of(&path, 0..4);
    (later[64], later[192]) = (4, 4);
    fs::write(&path, &later).unwrap();
    let newer = BookFile::open(&path).err().unwrap();
    assert!(matches!(newer, BookError::Newer { found: 4, known: 3, .. }), "{newer}");
    assert!(fs::read(&path).unwrap() == later && kept_beside(&path).is_empty());
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
