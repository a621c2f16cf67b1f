//! Who gets in, who has to make room, how scores move, and what is stored of it. When known nodes are dialed is told in
//! `tests/server/known.rs`, the file in `driver/book/tests.rs`.

use identity::NodeKey;

use super::*;

const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);
const MINUTE: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "virtual time begins somewhere")]
fn start() -> Now {
    Now { instant: Instant::now(), unix: Duration::from_secs(1_700_000_000) }
}

fn key(number: u16) -> PublicKey {
    let mut secret = [5; 32];
    secret[..2].copy_from_slice(&number.to_be_bytes());
    NodeKey::from_bytes(&secret).unwrap().public_key()
}

fn id(number: u16) -> NodeId {
    key(number).node_id()
}

/// An address of its own site.
fn at(number: u16) -> Vec<SocketAddr> {
    vec![SocketAddr::from(([77, (number >> 8) as u8, number as u8, 1], 30_303))]
}

fn limits() -> BookLimits {
    BookLimits::default()
}

fn empty(now: Now) -> AddressBook {
    AddressBook::new(now, vec![], (BookTimes::default(), limits()), AddressPolicy::default())
}

/// Dials a node that stays for `lasting`; the moment after.
fn serve_at(
    book: &mut AddressBook,
    now: Now,
    number: u16,
    addresses: Vec<SocketAddr>,
    lasting: Duration,
) -> Now {
    book.handle_reached(now);
    book.handle_peer(now, key(number), addresses);
    let end = now.later(lasting);
    let due = |book: &AddressBook| book.serving[&id(number)].credit_at;
    while due(book) <= end.instant {
        book.handle_timeout(now.later(due(book).saturating_duration_since(now.instant)));
    }
    book.handle_parting(end, id(number), Service::Fair);
    end
}

fn serve(book: &mut AddressBook, now: Now, number: u16, lasting: Duration) -> Now {
    serve_at(book, now, number, at(number), lasting)
}

fn score(book: &AddressBook, now: Now, number: u16) -> Option<u32> {
    book.entries.get(&id(number)).map(|entry| entry.score(now.unix))
}

#[test]
fn only_a_dialed_session_that_lasts_gets_a_node_in() {
    let now = start();
    let mut book = empty(now);
    serve(&mut book, now, 1, Duration::from_millis(29_900));
    serve_at(&mut book, now, 2, vec![], 10 * MINUTE);
    // A dial in vain, and the owner's praise of somebody unknown.
    book.handle_parting(now, id(3), Service::Failed);
    book.handle_verdict(now, id(4), Verdict::Good);
    assert_eq!((book.len(), book.last_changes()), (0, None));
    let end = serve(&mut book, now, 5, Duration::from_secs(30));
    assert_eq!(score(&book, end, 5), Some(1_000));
    // Who is in earns by coming in, too, and stays where it was reached.
    let end = serve_at(&mut book, end, 5, vec![], MINUTE);
    assert!(score(&book, end, 5) > Some(1_900));
    assert_eq!(book.entries[&id(5)].addresses, at(5));
}

#[test]
fn a_node_is_in_while_its_session_goes_on_so_that_a_crash_does_not_lose_it() {
    let now = start();
    let mut book = empty(now);
    book.handle_peer(now, key(1), at(1));
    let due = book.next_timeout().unwrap();
    assert_eq!(due, now.instant + Duration::from_secs(30));
    let later = now.later(Duration::from_secs(30));
    book.handle_timeout(later);
    let changes = book.changes_due(later).unwrap();
    assert_eq!((changes.kept.len(), changes.kept[0].public_key), (1, key(1)));
    assert_eq!(book.next_timeout(), Some(later.instant + CREDIT_INTERVAL));
}

#[test]
fn scores_rise_with_time_served_and_verdicts_and_fall_with_failures_and_weeks() {
    let now = start();
    let mut book = empty(now);
    let now = serve(&mut book, now, 1, 60 * MINUTE);
    let hour = score(&book, now, 1).unwrap();
    assert!((5_900..=6_000).contains(&hour), "{hour}");
    book.handle_verdict(now, id(1), Verdict::Good);
    assert_eq!(score(&book, now, 1), Some(hour + 1_000));
    book.handle_verdict(now, id(1), Verdict::Useless);
    assert_eq!(score(&book, now, 1), Some(hour));
    book.handle_reached(now);
    book.handle_parting(now, id(1), Service::Failed);
    assert_eq!(score(&book, now, 1), Some(hour / 2));
    assert_eq!(score(&book, now.later(WEEK), 1), Some(hour / 4));
    assert_eq!(score(&book, now.later(100 * WEEK), 1), Some(0));
    // It falls all the time, and not by steps of a week.
    let mut last = score(&book, now, 1).unwrap();
    for hours in 1..400 {
        let next = score(&book, now.later(Duration::from_secs(hours * 3_600)), 1).unwrap();
        assert!(next <= last && next + 40 >= last, "{hours} h: {last} to {next}");
        last = next;
    }
    book.handle_verdict(now, id(1), Verdict::Malicious);
    assert_eq!((score(&book, now, 1), book.len()), (None, 0));
}

#[test]
fn a_score_has_a_ceiling() {
    let now = start();
    let mut book = empty(now);
    let mut now = serve(&mut book, now, 1, MINUTE);
    for _ in 0..1_000 {
        book.handle_verdict(now, id(1), Verdict::Good);
    }
    assert_eq!(score(&book, now, 1), Some(MAX_SCORE));
    // A clock that goes back neither adds nor takes.
    now.unix -= WEEK;
    assert_eq!(score(&book, now, 1), Some(MAX_SCORE));
}

#[test]
fn failures_count_only_while_somebody_can_be_reached() {
    let now = start();
    let stored = vec![BookEntry::tried(key(1), at(1), 1_700_000_000)];
    let mut book = AddressBook::new(now, stored, (BookTimes::default(), limits()), AddressPolicy::default());
    // Nobody has been reached since the start: it is our line that is down.
    for _ in 0..100 {
        book.handle_parting(now, id(1), Service::Failed);
    }
    assert_eq!(score(&book, now, 1), Some(1_000));
    book.handle_reached(now);
    book.handle_parting(now.later(11 * MINUTE), id(1), Service::Failed);
    assert_eq!(book.entries[&id(1)].failures, 0);
    for failures in 1..limits().failures {
        book.handle_parting(now, id(1), Service::Failed);
        assert_eq!(book.entries[&id(1)].failures, failures);
    }
    book.handle_parting(now, id(1), Service::Failed);
    assert_eq!(book.len(), 0);
    assert_eq!(book.last_changes().unwrap().dropped, [id(1)]);
}

#[test]
fn a_success_forgives_failures_and_another_node_at_the_address_ends_it() {
    let now = start();
    let mut book = empty(now);
    let now = serve(&mut book, now, 1, MINUTE);
    for _ in 1..limits().failures {
        book.handle_parting(now, id(1), Service::Failed);
    }
    let now = serve(&mut book, now, 1, MINUTE);
    assert_eq!(book.entries[&id(1)].failures, 0);
    book.handle_parting(now, id(1), Service::Unfit);
    assert_eq!(book.len(), 0);
}

#[test]
fn t06_junk_does_not_put_proven_nodes_out() {
    let now = start();
    let mut book = empty(now);
    // A book full of nodes that served for half an hour each.
    for number in 0..MAX_BOOK_ENTRIES as u16 {
        serve(&mut book, now, number, 30 * MINUTE);
    }
    assert_eq!(book.len(), MAX_BOOK_ENTRIES);
    let honest: BTreeSet<NodeId> = book.entries.keys().copied().collect();
    // Ten times as many, of as many sites, each with the shortest session that counts.
    let later = now.later(30 * MINUTE);
    for number in 2_000..12_240 {
        serve(&mut book, later, number, Duration::from_secs(31));
    }
    assert_eq!(book.entries.keys().copied().collect::<BTreeSet<_>>(), honest);
    // Who serves longer than the worst takes its place, and nobody else's.
    serve(&mut book, later, 20_000, 120 * MINUTE);
    assert!(score(&book, later, 20_000).is_some());
    // Weeks later the rest has less than a point, and who comes new gets in at once.
    let aged = later.later(3 * WEEK);
    serve(&mut book, aged, 20_001, MINUTE);
    assert!(score(&book, aged, 20_001).is_some());
    assert_eq!((book.len(), book.entries.keys().filter(|it| honest.contains(*it)).count()), (1_024, 1_022));
}

#[test]
fn one_site_has_four_places_and_the_local_network_as_many_as_there_are() {
    let now = start();
    let mut book = empty(now);
    let of = |site: [u8; 3], host| vec![SocketAddr::from(([site[0], site[1], site[2], host], 30_303))];
    for number in 0..40 {
        serve_at(&mut book, now, number, of([77, 1, 1], number as u8), MINUTE);
        serve_at(&mut book, now, 100 + number, of([192, 168, 1], number as u8), MINUTE);
    }
    let is_of_site = |entry: &&BookEntry| entry.addresses[0].ip().to_string().starts_with("77.");
    assert_eq!(book.entries.values().filter(is_of_site).count(), limits().entries_per_site);
    assert_eq!(book.len(), limits().entries_per_site + 40);
}

#[test]
fn a_book_is_as_long_and_as_patient_as_the_owner_says() {
    let now = start();
    let limits = BookLimits { entries: 2, entries_per_site: 1, failures: 1 };
    let mut book = AddressBook::new(now, vec![], (BookTimes::default(), limits), AddressPolicy::default());
    let of_site = |host| vec![SocketAddr::from(([77, 1, 1, host], 30_303))];
    serve_at(&mut book, now, 1, of_site(1), MINUTE);
    serve_at(&mut book, now, 2, of_site(2), MINUTE);
    assert_eq!(book.len(), 1);
    for number in 3..9 {
        serve(&mut book, now, number, MINUTE);
    }
    assert_eq!(book.len(), 2);
    book.handle_reached(now);
    book.handle_parting(now, id(1), Service::Failed);
    assert_eq!(book.len(), 1);
}

#[test]
fn writes_are_batched_and_one_at_a_time_and_a_failed_one_is_made_good() {
    let now = start();
    let mut book = empty(now);
    for number in 0..5 {
        serve(&mut book, now, number, MINUTE);
    }
    let first = book.changes_due(now.later(MINUTE)).unwrap();
    assert_eq!((first.whole, first.kept.len(), first.dropped.len()), (false, 5, 0));
    book.handle_verdict(now, id(0), Verdict::Malicious);
    book.handle_verdict(now, id(1), Verdict::Good);
    let late = now.later(60 * MINUTE);
    assert_eq!(book.changes_due(late), None, "the first is under way");
    book.handle_stored(late, true);
    assert_eq!(book.changes_due(late.later(Duration::from_secs(9))), None);
    assert_eq!(book.next_timeout(), Some(late.instant + Duration::from_secs(10)));
    let second = book.changes_due(late.later(Duration::from_secs(10))).unwrap();
    assert_eq!((second.whole, second.kept.len(), second.dropped), (false, 1, vec![id(0)]));
    // The disk is full: a minute later all of it is written.
    book.handle_stored(late, false);
    assert_eq!(book.changes_due(late.later(Duration::from_secs(59))), None);
    let third = book.changes_due(late.later(MINUTE)).unwrap();
    assert_eq!((third.whole, third.kept.len(), third.dropped.len()), (true, 4, 0));
    book.handle_stored(late, true);
    assert_eq!((book.last_changes(), book.next_timeout()), (None, None));
}

#[test]
fn what_waits_to_be_written_is_bounded() {
    let now = start();
    let mut book = empty(now);
    assert_eq!(book.changes_due(now), None);
    for number in 0..3_000 {
        serve(&mut book, now, number, MINUTE);
        book.handle_verdict(now.later(MINUTE), id(number), Verdict::Malicious);
        assert!(book.changed.len() <= MAX_BOOK_ENTRIES);
    }
    assert!(book.last_changes().unwrap().whole);
}

#[test]
fn what_was_stored_is_taken_up_to_the_limits_and_what_has_decayed_is_left_out() {
    let now = start();
    let entry = |number, unix| BookEntry::tried(key(number), at(number), unix);
    let mut stored: Vec<BookEntry> = (0..1_100).map(|number| entry(number, 1_700_000_000)).collect();
    stored[1_099] = stored[1_099].clone().with_score(5_000);
    stored.push(entry(2_000, 1_500_000_000));
    let mut book = AddressBook::new(now, stored, (BookTimes::default(), limits()), AddressPolicy::default());
    assert_eq!((book.len(), score(&book, now, 1_099), score(&book, now, 2_000)), (1_024, Some(5_000), None));
    assert!(book.last_changes().unwrap().whole, "the file is made to hold no more");
    let fits = vec![entry(1, 1_700_000_000)];
    assert_eq!(
        AddressBook::new(now, fits, (BookTimes::default(), limits()), AddressPolicy::default())
            .last_changes(),
        None
    );
}

#[test]
fn a_node_keeps_one_address_of_each_family_the_one_that_answered_first() {
    let now = start();
    let mut book = empty(now);
    let parse = |texts: [&str; 4]| texts.map(|text| text.parse().unwrap()).to_vec();
    let now =
        serve_at(&mut book, now, 1, parse(["7.0.0.1:1", "7.0.0.2:1", "[2600::1]:1", "[2600::2]:1"]), MINUTE);
    assert_eq!(
        book.entries[&id(1)].addresses,
        parse(["7.0.0.1:1", "[2600::1]:1", "7.0.0.1:1", "7.0.0.1:1"])[..2]
    );
    serve_at(&mut book, now, 1, parse(["[2600::9]:1", "7.0.0.1:1", "7.0.0.1:1", "7.0.0.1:1"]), MINUTE);
    assert_eq!(book.entries[&id(1)].addresses[0], "[2600::9]:1".parse().unwrap());
}

#[test]
fn the_form_on_disk_round_trips_and_nothing_else_is_read() {
    let long = "[2600:aaaa:bbbb:cccc:dddd:eeee:ffff:1]:65535".parse().unwrap();
    let mut entry = BookEntry::tried(key(1), vec![long, at(1)[0]], u64::MAX);
    entry.note_failure(Duration::from_secs(u64::MAX));
    entry.last_success = u64::MAX;
    let bytes = entry.encode();
    assert!(bytes.len() <= MAX_ENTRY_LEN, "{}", bytes.len());
    assert_eq!(BookEntry::decode(&bytes), Ok(entry));
    for len in 0..bytes.len() {
        assert!(BookEntry::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        // Another node, or none: never more than an entry may be.
        if let Ok(read) = BookEntry::decode(&bad) {
            assert!(read.score(Duration::ZERO) <= MAX_SCORE && read.addresses.len() <= MAX_BOOK_ADDRESSES);
        }
    }
    assert!(BookEntry::decode(&[&bytes[..], &[0]].concat()).is_err());
}
