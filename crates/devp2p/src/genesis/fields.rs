//! The fields of a `genesis.json`, each with its path for errors: objects, integers, bytes.
//! Forms are geth's: integers are decimal, or hex in quotes; bytes are hex with `0x`; names ignore case; null is absent.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use alloy_primitives::U256;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::GenesisError;

/// How much of a wrong value, or of a parser's message, an error repeats: characters.
const MAX_QUOTED: usize = 100;

const INTEGER_64: &str = "an integer from 0 to 2^64-1, decimal, or hex in quotes (\"0x1\")";
const INTEGER_256: &str = "an integer from 0 to 2^256-1, decimal, or hex in quotes (\"0x1\")";
const BYTES: &str = "hex in quotes with 0x and an even number of digits (\"0x00ff\")";
const WORD: &str = "hex in quotes with an even number of digits, at most 64 (\"0x00ff\")";
const ADDRESS: &str = "40 hex digits: an address";

/// Members of a JSON object in their order, doubles kept.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

/// What a JSON parser said, in one short line.
pub(super) fn json_error(error: &serde_json::Error) -> GenesisError {
    GenesisError::Json { message: quoted(&error.to_string()) }
}

/// The start of `text`, printable on one line.
fn quoted(text: &str) -> String {
    let printable = |character: char| if matches!(character, ' '..='~') { character } else { '?' };
    let short: String = text.chars().take(MAX_QUOTED).map(printable).collect();
    if short.len() < text.len() { short + ".." } else { short }
}

/// A JSON object whose members are fields.
pub(super) struct Object<'a> {
    path: String,
    fields: BTreeMap<String, Field<'a>>,
}

impl<'a> Object<'a> {
    /// The object that `json`, the value at `path`, is.
    pub(super) fn read(path: String, json: &'a str) -> Result<Self, GenesisError> {
        let mut fields = BTreeMap::new();
        for field in members(&path, json)? {
            let double = fields.insert(field.name.to_ascii_lowercase(), field);
            if let Some(double) = double {
                return Err(GenesisError::Duplicate { field: double.path });
            }
        }
        Ok(Self { path, fields })
    }

    /// The field `name`, unless it is absent or null.
    pub(super) fn optional(&self, name: &str) -> Option<&Field<'a>> {
        self.fields.get(&name.to_ascii_lowercase()).filter(|field| field.json != "null")
    }

    /// The field `name`.
    pub(super) fn required(&self, name: &str) -> Result<&Field<'a>, GenesisError> {
        self.optional(name).ok_or_else(|| GenesisError::Missing { field: join(&self.path, name) })
    }

    /// The object that the field `name` is.
    pub(super) fn object(&self, name: &str) -> Result<Object<'a>, GenesisError> {
        self.required(name)?.object()
    }

    /// The error for a field whose value is understood and not supported.
    pub(super) fn refused(&self, name: &str, expected: &'static str, found: &str) -> GenesisError {
        GenesisError::Value { field: join(&self.path, name), expected, found: quoted(found) }
    }
}

/// The members of the object `json` at `path`, in their order.
fn members<'a>(path: &str, json: &'a str) -> Result<Vec<Field<'a>>, GenesisError> {
    if !json.starts_with('{') {
        let field = if path.is_empty() { "the file".to_owned() } else { path.to_owned() };
        return Err(GenesisError::Value { field, expected: "a JSON object", found: quoted(json) });
    }
    let Members(members) = serde_json::from_str(json).map_err(|error| json_error(&error))?;
    let field =
        |(name, value): (String, &'a RawValue)| Field { path: join(path, &name), name, json: value.get() };
    Ok(members.into_iter().map(field).collect())
}

fn join(path: &str, name: &str) -> String {
    let name = quoted(name);
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// A named JSON value.
pub(super) struct Field<'a> {
    path: String,
    name: String,
    json: &'a str,
}

impl<'a> Field<'a> {
    /// The object that the value is.
    pub(super) fn object(&self) -> Result<Object<'a>, GenesisError> {
        Object::read(self.path.clone(), self.json)
    }

    /// The members of the object that the value is, whose names are data.
    pub(super) fn members(&self) -> Result<Vec<Field<'a>>, GenesisError> {
        members(&self.path, self.json)
    }

    /// The error for a member whose name, read as data, stood there before.
    pub(super) fn duplicate(&self) -> GenesisError {
        GenesisError::Duplicate { field: self.path.clone() }
    }

    /// The name as an address: 40 hex digits, `0x` optional.
    pub(super) fn name_as_address(&self) -> Result<[u8; 20], GenesisError> {
        let mut address = [0; 20];
        let decoded = hex::decode_to_slice(unprefixed(&self.name), &mut address);
        decoded.map(|()| address).map_err(|_| self.wrong_name(ADDRESS))
    }

    /// The name as a 32-byte word: hex, `0x` optional, filled up with zeros from the left.
    pub(super) fn name_as_word(&self) -> Result<[u8; 32], GenesisError> {
        word(&self.name).ok_or_else(|| self.wrong_name(WORD))
    }

    /// The value as a 32-byte word, like [`Field::name_as_word`].
    pub(super) fn word(&self) -> Result<[u8; 32], GenesisError> {
        word(&self.text(WORD)?).ok_or_else(|| self.wrong(WORD))
    }

    /// The value as an integer of 64 bits.
    pub(super) fn u64(&self) -> Result<u64, GenesisError> {
        let number = integer(&self.text(INTEGER_64)?).and_then(|number| u64::try_from(number).ok());
        number.ok_or_else(|| self.wrong(INTEGER_64))
    }

    /// The value as an integer of 256 bits, big-endian.
    pub(super) fn u256(&self) -> Result<[u8; 32], GenesisError> {
        let number = integer(&self.text(INTEGER_256)?).ok_or_else(|| self.wrong(INTEGER_256))?;
        Ok(number.to_be_bytes())
    }

    /// The value as bytes.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, GenesisError> {
        let text = self.text(BYTES)?;
        let digits = prefixed(&text).ok_or_else(|| self.wrong(BYTES))?;
        hex::decode(digits).map_err(|_| self.wrong(BYTES))
    }

    /// The value as exactly `N` bytes; `expected` says so in words.
    pub(super) fn fixed<const N: usize>(&self, expected: &'static str) -> Result<[u8; N], GenesisError> {
        let bytes = self.bytes().map_err(|_| self.wrong(expected))?;
        bytes.try_into().map_err(|_| self.wrong(expected))
    }

    /// The value as true or false.
    pub(super) fn bool(&self) -> Result<bool, GenesisError> {
        self.json.parse().map_err(|_| self.wrong("true or false"))
    }

    /// The text of a string or number.
    fn text(&self, expected: &'static str) -> Result<Cow<'a, str>, GenesisError> {
        match self.json.as_bytes().first() {
            Some(b'"') => serde_json::from_str(self.json).map(Cow::Owned).map_err(|_| self.wrong(expected)),
            Some(b'0'..=b'9' | b'-') => Ok(Cow::Borrowed(self.json)),
            _ => Err(self.wrong(expected)),
        }
    }

    fn wrong(&self, expected: &'static str) -> GenesisError {
        GenesisError::Value { field: self.path.clone(), expected, found: quoted(self.json) }
    }

    fn wrong_name(&self, expected: &'static str) -> GenesisError {
        let field = format!("the name of {}", self.path);
        GenesisError::Value { field, expected, found: quoted(&self.name) }
    }
}

/// The digits after `0x`.
fn prefixed(text: &str) -> Option<&str> {
    text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))
}

fn unprefixed(text: &str) -> &str {
    prefixed(text).unwrap_or(text)
}

/// geth's `math.HexOrDecimal256`: leading zeros may stand, the empty text is 0.
fn integer(text: &str) -> Option<U256> {
    let (digits, radix) = prefixed(text).map_or((text, 10), |digits| (digits, 16));
    if text.is_empty() {
        return Some(U256::ZERO);
    }
    // The parser behind U256 would also take signs and underscores.
    let clean = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix));
    clean.then(|| U256::from_str_radix(digits, u64::from(radix)).ok()).flatten()
}

fn word(text: &str) -> Option<[u8; 32]> {
    let bytes = hex::decode(unprefixed(text)).ok()?;
    let mut word = [0; 32];
    let start = word.len().checked_sub(bytes.len())?;
    word[start..].copy_from_slice(&bytes);
    Some(word)
}
