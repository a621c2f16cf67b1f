//! One node of an address book: where it was reached and how it has served, and its form on disk. Scores halve in a week,
//! so that what a node did last month weighs less than what it did today. Limits on nodes are `address_book`'s.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use identity::PublicKey;
use rlp::{DecoderError, Rlp, RlpStream};

/// Addresses of one node: one of each family.
pub const MAX_BOOK_ADDRESSES: usize = 2;

/// The longest form of an entry, in bytes: a key (66), two addresses (2 x 23), five numbers (9 each), two heads.
pub const MAX_ENTRY_LEN: usize = 192;

/// What one stretch of a session is worth, in thousandths.
pub(super) const POINT: u32 = 1_000;

/// The highest score: sixteen hours of service. What an earlier hero can lose to somebody new is bounded by it.
pub(super) const MAX_SCORE: u32 = 100 * POINT;

/// The time in which a score halves, in seconds: a week.
const HALF_LIFE_S: u64 = 7 * 24 * 3_600;

/// A node that has served us.
///
/// ```text
/// [public-key: 64 bytes, [[ip: 4 or 16 bytes, port], ...], score, scored-at, last-success, last-failure, failures]
/// ```
/// Times are Unix seconds, the score is in thousandths of a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookEntry {
    /// Whom we have met there.
    pub public_key: PublicKey,
    /// Where: the address that answered last, then one of the other family that the node itself named. At most
    /// [`MAX_BOOK_ADDRESSES`].
    pub addresses: Vec<SocketAddr>,
    /// As of `scored_at`.
    score: u32,
    scored_at: u64,
    /// The end of the last stretch that counted, Unix seconds.
    pub last_success: u64,
    /// The last failure, Unix seconds; 0 for none.
    pub last_failure: u64,
    /// Failures since the last success.
    pub failures: u32,
}

impl BookEntry {
    /// A node that has just earned its first points; None without an address.
    pub(super) fn new(
        public_key: PublicKey,
        addresses: Vec<SocketAddr>,
        earned: u32,
        unix: Duration,
    ) -> Option<Self> {
        let now = unix.as_secs();
        let (score, addresses) = (earned.min(MAX_SCORE), one_of_each_family(addresses));
        let entry = Self {
            public_key,
            addresses,
            score,
            scored_at: now,
            last_success: now,
            last_failure: 0,
            failures: 0,
        };
        (!entry.addresses.is_empty()).then_some(entry)
    }

    /// The score as it stands, in thousandths of a point, at most 100,000. A clock that went back costs nothing.
    pub fn score(&self, unix: Duration) -> u32 {
        let age = unix.as_secs().saturating_sub(self.scored_at);
        let halved =
            u32::try_from(age / HALF_LIFE_S).ok().and_then(|halvings| self.score.checked_shr(halvings));
        let score = u64::from(halved.unwrap_or(0));
        // Between two halvings it falls in a straight line.
        let falling = score * (age % HALF_LIFE_S) / (2 * HALF_LIFE_S);
        u32::try_from(score - falling).unwrap_or(MAX_SCORE)
    }

    fn rescore(&mut self, unix: Duration, score: u32) {
        self.score = score.min(MAX_SCORE);
        self.scored_at = unix.as_secs();
    }

    pub(super) fn reward(&mut self, unix: Duration, points: u32) {
        self.rescore(unix, self.score(unix).saturating_add(points));
    }

    pub(super) fn punish(&mut self, unix: Duration, points: u32) {
        self.rescore(unix, self.score(unix).saturating_sub(points));
    }

    pub(super) fn note_success(&mut self, unix: Duration, addresses: &[SocketAddr]) {
        self.last_success = unix.as_secs();
        self.failures = 0;
        if !addresses.is_empty() {
            self.addresses = one_of_each_family(addresses.to_vec());
        }
    }

    /// Half its score goes, so that a node that has moved does not stand before others for long.
    pub(super) fn note_failure(&mut self, unix: Duration) {
        self.rescore(unix, self.score(unix) / 2);
        self.last_failure = unix.as_secs();
        self.failures = self.failures.saturating_add(1);
    }

    /// The form on disk.
    pub fn encode(&self) -> Vec<u8> {
        let mut entry = RlpStream::new_list(7);
        entry.append(&self.public_key.as_bytes().as_slice());
        entry.begin_list(self.addresses.len());
        for address in &self.addresses {
            let octets = match address.ip() {
                IpAddr::V4(ip) => ip.octets().to_vec(),
                IpAddr::V6(ip) => ip.octets().to_vec(),
            };
            entry.begin_list(2).append(&octets).append(&address.port());
        }
        entry.append(&self.score).append(&self.scored_at);
        entry.append(&self.last_success).append(&self.last_failure).append(&self.failures);
        entry.out().to_vec()
    }

    /// Reads the form on disk.
    ///
    /// # Errors
    /// What is wrong with it: the form, the key or an address.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecoderError> {
        let item = Rlp::new(bytes);
        if bytes.len() > MAX_ENTRY_LEN || !item.is_list() || item.payload_info()?.total() != bytes.len() {
            return Err(DecoderError::RlpInconsistentLengthAndData);
        }
        if item.item_count()? != 7 {
            return Err(DecoderError::RlpIncorrectListLen);
        }
        let key: [u8; 64] = item.at(0)?.data()?.try_into().map_err(|_| DecoderError::RlpInvalidLength)?;
        let public_key = PublicKey::from_bytes(key);
        if !public_key.is_on_curve() {
            return Err(DecoderError::Custom("the key is no point of the curve"));
        }
        let listed = item.at(1)?;
        if !(1..=MAX_BOOK_ADDRESSES).contains(&listed.item_count()?) {
            return Err(DecoderError::Custom("a node has one address or two"));
        }
        let addresses = listed.iter().map(|address| decode_address(&address)).collect::<Result<_, _>>()?;
        Ok(Self {
            public_key,
            addresses,
            score: item.val_at::<u32>(2)?.min(MAX_SCORE),
            scored_at: item.val_at(3)?,
            last_success: item.val_at(4)?,
            last_failure: item.val_at(5)?,
            failures: item.val_at(6)?,
        })
    }
}

fn decode_address(item: &Rlp<'_>) -> Result<SocketAddr, DecoderError> {
    let (octets, port) = (item.at(0)?, item.val_at(1)?);
    let octets = octets.data()?;
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(octets).map(IpAddr::from);
    let ip = v4.or(v6).map_err(|_| DecoderError::Custom("an address has 4 or 16 bytes"))?;
    Ok(SocketAddr::new(ip, port))
}

/// The first of `addresses` and the first of the other family.
fn one_of_each_family(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first = addresses.first().copied();
    let is_other = |address: &&SocketAddr| first.is_some_and(|first| first.is_ipv4() != address.is_ipv4());
    let other = addresses.iter().find(is_other).copied();
    first.into_iter().chain(other).collect()
}

#[cfg(test)]
impl BookEntry {
    /// A node that served at this moment, Unix seconds.
    pub(crate) fn tried(public_key: PublicKey, addresses: Vec<SocketAddr>, unix_s: u64) -> Self {
        Self::new(public_key, addresses, POINT, Duration::from_secs(unix_s)).expect("it has an address")
    }

    pub(crate) fn with_score(self, score: u32) -> Self {
        Self { score, ..self }
    }
}
