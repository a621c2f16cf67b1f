//! Base messages with lists within lists in every place, as deep as the longest message of any kind is long.
//! What is written and read by chance is `properties.rs`.

use std::thread;

use rlp::RlpStream;

use super::*;
use crate::config::MAX_MESSAGE_LEN;

/// A stack on which no decoder that goes down into lists gets far, in bytes.
pub(crate) const SMALL_STACK: usize = 256 * 1024;

/// `depth` lists, each in the other. Made backwards from the inside, in a time that follows its length.
pub(crate) fn bomb(depth: usize) -> Vec<u8> {
    let mut backwards: Vec<u8> = Vec::with_capacity(4 * depth);
    for _ in 0..depth {
        let (len, digits) = (backwards.len(), backwards.len().to_le_bytes());
        match len {
            0..=55 => backwards.push(0xc0 + len as u8),
            _ => {
                let count = digits.iter().rposition(|digit| *digit != 0).map_or(0, |last| last + 1);
                backwards.extend_from_slice(&digits[..count]);
                backwards.push(0xf7 + count as u8);
            }
        }
    }
    backwards.reverse();
    backwards
}

/// Of every depth, the last of 16 MiB.
pub(crate) fn bombs() -> impl Iterator<Item = Vec<u8>> {
    [1, 2, 10, 33, 1_000, 20_000, MAX_MESSAGE_LEN / 4 - 1_000].into_iter().map(bomb)
}

fn list(items: &[&[u8]]) -> Vec<u8> {
    let mut list = RlpStream::new_list(items.len());
    items.iter().for_each(|item| _ = list.append_raw(item, 1));
    list.out().to_vec()
}

#[test]
fn a_string_in_one_piece_is_what_the_stream_makes_of_it() {
    fn same<const N: usize>(string: [u8; N]) {
        let (mut whole, mut bytewise) = (RlpStream::new_list(2), RlpStream::new_list(2));
        append_string(whole.append(&7u8), &string);
        bytewise.append(&7u8).append(&string.as_slice());
        assert!(whole.is_finished());
        assert_eq!(whole.out(), bytewise.out());
    }
    same([0; 2]);
    same([0x7f; 32]);
    same([1; 55]);
    same([1; 56]);
    same([0xff; 65]);
    same([0x80; 255]);
}

/// A Hello of these items, but for the one at `place`.
fn hello_with(place: usize, item: &[u8]) -> Vec<u8> {
    let key = rlp::encode(&[1u8; 64].as_slice());
    let mut items: Vec<&[u8]> = vec![&[5], &[0x80], &[0xc0], &[0x80], &key, &[0x80]];
    items[place] = item;
    list(&items)
}

#[test]
fn f14_lists_within_lists_in_any_place_of_a_base_message_need_no_stack() {
    let read_all = || {
        for bomb in bombs() {
            // Odd capabilities, an odd port and what a later version may add are no error.
            for (place, is_read) in [false, false, true, true, false, true].into_iter().enumerate() {
                assert_eq!(Hello::decode(&hello_with(place, &bomb)).is_ok(), is_read, "in place {place}");
            }
            for offer in [list(&[&bomb, &[1]]), list(&[b"a", &bomb]), list(&[&bomb])] {
                let hello = Hello::decode(&hello_with(2, &list(&[&offer, &list(&[b"b", &[7]])]))).unwrap();
                let names: Vec<&str> = hello.capabilities.iter().map(|offer| offer.name.as_str()).collect();
                assert_eq!(names, ["b"]);
            }
            assert!(Hello::decode(&bomb).is_err());
            assert_eq!(DisconnectReason::decode(&list(&[&bomb])), DisconnectReason::INVALID);
            let told = DisconnectReason::decode(&bomb);
            assert!(told == DisconnectReason::INVALID || bomb == [0xc0], "{told:?}");
        }
    };
    thread::Builder::new().stack_size(SMALL_STACK).spawn(read_all).unwrap().join().unwrap();
}
