//! What the corpora begin with: packets of public test vectors, and what our own encoders write, in the form each target
//! reads. All of it is made from code and vectors alone, so that the committed files can be compared with it
//! (`tests/corpus.rs`) and written again (`examples/write_corpus.rs`).

mod discv4;
mod eth;
mod frame;
mod handshake;
mod records;

use std::path::PathBuf;

use serde_json::Value;

/// An input, and the name of its file: what is inside.
pub(crate) struct Seed {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Something in it was drawn: another draw is as good, and a packet that was once right stays so. Written only once.
    pub(crate) is_drawn: bool,
}

/// The seeds of every target, by the target's name.
pub(crate) fn all() -> [(&'static str, Vec<Seed>); 5] {
    [
        ("discv4", discv4::seeds()),
        ("eth", eth::seeds()),
        ("frame", frame::seeds()),
        ("handshake", handshake::seeds()),
        ("records", records::seeds()),
    ]
}

/// Where the corpus of a target is.
pub(crate) fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

fn seed(name: impl Into<String>, parts: &[&[u8]]) -> Seed {
    Seed { name: name.into(), bytes: parts.concat(), is_drawn: false }
}

/// A length of two bytes, the lower first, and the bytes.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("seeds are small");
    [&len.to_le_bytes(), bytes].concat()
}

/// Words of a title, as a file is named.
fn file_name(words: &str) -> String {
    let words = words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("_")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("the vectors are JSON")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(text(value)).expect("hex digits")
}
