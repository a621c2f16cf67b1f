//! Names of nodes: enode URLs, and node records as text, as bytes, and with any content under a good signature.
//!
//! ```text
//! form: 1 byte  rest: the text, the record's bytes, or the items that follow a record's signature
//! ```
//! What is accepted is written again, and that is read as the same; reading takes [`PASSES`] steps a byte at most.

use std::sync::OnceLock;

use identity::{Enode, Enr, MAX_ENR_LEN, NodeKey, UnverifiedEnr, keccak256, steps};
use rlp::RlpStream;

use crate::{Verdict, input::Input};

/// An enode URL.
pub const ENODE: u8 = 0;
/// A record as text.
pub const TEXT: u8 = 1;
/// A record as bytes.
pub const BYTES: u8 = 2;
/// What a record says, to be signed by [`signer`].
pub const CONTENT: u8 = 3;
/// How many forms there are; an input's is its first byte modulo this.
const FORMS: u8 = 4;

/// Passes over a record: its items are counted, and then read.
pub const PASSES: usize = 2;

/// Runs one input.
///
/// # Panics
/// When something that was accepted does not survive being written and read, or reading goes nowhere.
pub fn run(data: &[u8]) -> Verdict {
    let mut input = Input::new(data);
    let form = input.byte() % FORMS;
    let rest = input.rest();
    match form {
        ENODE => str::from_utf8(rest).map_or(Verdict::Rejected("utf8"), enode),
        TEXT => str::from_utf8(rest).map_or(Verdict::Rejected("utf8"), text),
        BYTES => bytes(rest),
        _ => bytes(&sign(rest)),
    }
}

/// The key that signs records of the form [`CONTENT`]: that of EIP-778's example.
pub fn signer() -> &'static NodeKey {
    const EXAMPLE: &str = "b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291";
    static KEY: OnceLock<NodeKey> = OnceLock::new();
    KEY.get_or_init(|| NodeKey::from_hex(EXAMPLE).expect("a key"))
}

/// A record of these items under a good signature.
pub fn sign(items: &[u8]) -> Vec<u8> {
    let signature = signer().sign(&keccak256(&list(items)));
    let signed = [&rlp::encode(&&signature.0[..64]), items].concat();
    list(&signed)
}

fn list(items: &[u8]) -> Vec<u8> {
    let mut list = RlpStream::new_list(1);
    list.append_raw(items, 1);
    list.out().to_vec()
}

fn enode(url: &str) -> Verdict {
    let Ok(enode) = url.parse::<Enode>() else { return Verdict::Rejected("enode") };
    let written = enode.to_string();
    assert_eq!(written.parse(), Ok(enode), "{url}");
    Verdict::Accepted
}

fn text(text: &str) -> Verdict {
    let Ok(record) = text.parse::<Enr>() else { return Verdict::Rejected("text") };
    check(&record);
    Verdict::Accepted
}

fn bytes(bytes: &[u8]) -> Verdict {
    let (form, _) = steps::within(PASSES * bytes.len(), || UnverifiedEnr::decode(bytes));
    let Ok(form) = form else { return Verdict::Rejected("form") };
    assert_eq!(form.encoded(), bytes);
    let seq = form.seq();
    let Ok(record) = form.verify() else { return Verdict::Rejected("signature") };
    assert_eq!((record.encoded(), record.seq()), (&bytes.to_vec().into(), seq));
    check(&record);
    Verdict::Accepted
}

/// A record that was accepted is the same as text, and all that it says can be read.
fn check(record: &Enr) {
    assert!(record.encoded().len() <= MAX_ENR_LEN);
    assert_eq!(record.to_string().parse::<Enr>().as_ref(), Ok(record));
    assert_eq!(record.node_id(), record.public_key().node_id());
    assert!(record.public_key().is_on_curve());
    let key = record.entry("secp256k1").expect("every record names its key");
    assert_eq!(key, rlp::encode(&&record.public_key().to_compressed()[..]));
    let lengths: usize = record.entries().map(|(name, value)| name.len() + value.len()).sum();
    assert!(lengths < record.encoded().len());
    for endpoint in [record.endpoint_v4(), record.endpoint_v6(), record.endpoint()].into_iter().flatten() {
        let _ = (endpoint.udp_addr(), endpoint.tcp_addr(), endpoint.to_string());
    }
}
