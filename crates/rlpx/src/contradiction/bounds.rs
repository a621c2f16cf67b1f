//! What each limit may be at least and at most: below, nothing works or a defence is off; above, more is kept than can be.
//! Every group names all of its fields, so that a new one is not forgotten.

use super::{Contradiction, some_time};
use crate::{
    address_book::MAX_BOOK_ENTRIES,
    config::{BUDGET_RESERVE, BufferLimits, MAX_RESOLVED, SessionLimits},
    limits::{AdmissionLimits, BookLimits, DialLimits, Limits, ListLimits, ProtocolLimits, QueueLimits},
};

/// The most of anything that is counted one by one.
const MAX_COUNT: usize = 1 << 20;

/// The least bytes of what is to keep a connection going.
const MIN_LEN: usize = 64 * 1024;

/// The most bytes, but of the budget for all.
const MAX_LEN: usize = 1 << 30;

/// The most bytes that one who was told to go may have thrown away.
const MAX_LINGER_LEN: usize = 16 << 20;

/// The most events that may wait: room for them is taken at the start.
const MAX_EVENTS: usize = 1 << 16;

/// The most strikes: each is remembered with its time.
const MAX_STRIKES: usize = 64;

/// The fewest addresses whose dials are remembered: more than [`DialLimits::per_site`](crate::DialLimits::per_site) can be.
const MIN_DIALED_ADDRESSES: usize = 256;

impl Limits {
    /// Looks for limits under which nothing works, or more is kept than can be.
    ///
    /// # Errors
    /// The first [`Contradiction`].
    pub fn check(&self) -> Result<(), Contradiction> {
        let Self { memory_budget, admission, dials, lists, book, protocols, queues, sessions, buffers } =
            self;
        if *memory_budget < BUDGET_RESERVE {
            return Err(Contradiction::MemoryTooLow { found: *memory_budget });
        }
        admission.check()?;
        dials.check()?;
        lists.check()?;
        let BookLimits { entries, entries_per_site, failures } = *book;
        within(1, MAX_BOOK_ENTRIES, &[("book.entries", entries)])?;
        counts(&[("book.entries_per_site", entries_per_site), ("book.failures", failures as usize)])?;
        protocols.check()?;
        let QueueLimits { events, commands, reports, accepted } = *queues;
        within(1, MAX_EVENTS, &[("queues.events", events)])?;
        counts(&[("queues.commands", commands), ("queues.reports", reports), ("queues.accepted", accepted)])?;
        sessions.check()?;
        let BufferLimits { chunks, long_buffers, long_len } = *buffers;
        lengths(&[("buffers.long_len", long_len)])?;
        counts(&[("buffers.chunks", chunks), ("buffers.long_buffers", long_buffers)])
    }
}

impl AdmissionLimits {
    fn check(&self) -> Result<(), Contradiction> {
        let Self {
            throttled_hosts,
            half_open_per_site,
            examined,
            newcomers,
            newcomers_per_site,
            newcomers_per_node,
            graceful_closers,
        } = *self;
        counts(&[
            ("admission.throttled_hosts", throttled_hosts),
            ("admission.half_open_per_site", half_open_per_site),
            ("admission.examined", examined),
            ("admission.newcomers", newcomers),
            ("admission.newcomers_per_site", newcomers_per_site),
            ("admission.newcomers_per_node", newcomers_per_node),
            ("admission.graceful_closers", graceful_closers),
        ])
    }
}

impl DialLimits {
    fn check(&self) -> Result<(), Contradiction> {
        let Self {
            addresses,
            per_site,
            site_window,
            candidates,
            candidate_window,
            redial_records,
            dialed_addresses,
            redial_memory,
            stable_session,
        } = *self;
        within(1, MAX_RESOLVED, &[("dials.addresses", addresses)])?;
        within(MIN_DIALED_ADDRESSES, MAX_COUNT, &[("dials.dialed_addresses", dialed_addresses)])?;
        counts(&[
            ("dials.per_site", per_site.into()),
            ("dials.candidates", candidates),
            ("dials.redial_records", redial_records),
        ])?;
        some_time(&[
            ("limits.dials.site_window", site_window),
            ("limits.dials.candidate_window", candidate_window),
            ("limits.dials.redial_memory", redial_memory),
            ("limits.dials.stable_session", stable_session),
        ])
    }
}

impl ListLimits {
    fn check(&self) -> Result<(), Contradiction> {
        let Self {
            static_peers,
            trusted,
            bans,
            longest_ban,
            reported,
            report_memory,
            strikes,
            peers_per_protected,
        } = *self;
        within(1, MAX_STRIKES, &[("lists.strikes", strikes)])?;
        counts(&[
            ("lists.static_peers", static_peers),
            ("lists.trusted", trusted),
            ("lists.bans", bans),
            ("lists.reported", reported),
            ("lists.peers_per_protected", peers_per_protected),
        ])?;
        some_time(&[("limits.lists.longest_ban", longest_ban), ("limits.lists.report_memory", report_memory)])
    }
}

impl ProtocolLimits {
    fn check(&self) -> Result<(), Contradiction> {
        let Self { queued_messages, queued_len, waiting_messages, waiting_len, turn_messages, grace } = *self;
        lengths(&[("protocols.queued_len", queued_len), ("protocols.waiting_len", waiting_len)])?;
        counts(&[
            ("protocols.queued_messages", queued_messages),
            ("protocols.waiting_messages", waiting_messages),
            ("protocols.turn_messages", turn_messages),
        ])?;
        some_time(&[("limits.protocols.grace", grace)])
    }
}

impl SessionLimits {
    fn check(&self) -> Result<(), Contradiction> {
        let Self {
            free_len,
            shortage_step,
            shortage_pace,
            late_wait,
            free_inflation,
            inflation_per_second,
            inflation_burst,
            frame_bytes_per_second,
            reserved_messages,
            ping_burst,
            ping_refill,
            linger_len,
        } = *self;
        lengths(&[
            ("sessions.free_len", free_len),
            ("sessions.shortage_step", shortage_step),
            ("sessions.inflation_per_second", inflation_per_second),
            ("sessions.inflation_burst", inflation_burst),
        ])?;
        within(1, MAX_LEN, &[("sessions.frame_bytes_per_second", frame_bytes_per_second)])?;
        within(1, MAX_LINGER_LEN, &[("sessions.linger_len", linger_len)])?;
        counts(&[
            ("sessions.free_inflation", free_inflation),
            ("sessions.reserved_messages", reserved_messages as usize),
            ("sessions.ping_burst", ping_burst as usize),
        ])?;
        some_time(&[
            ("limits.sessions.shortage_pace", shortage_pace),
            ("limits.sessions.late_wait", late_wait),
            ("limits.sessions.ping_refill", ping_refill),
        ])
    }
}

fn counts(limits: &[(&'static str, usize)]) -> Result<(), Contradiction> {
    within(1, MAX_COUNT, limits)
}

fn lengths(limits: &[(&'static str, usize)]) -> Result<(), Contradiction> {
    within(MIN_LEN, MAX_LEN, limits)
}

fn within(least: usize, most: usize, limits: &[(&'static str, usize)]) -> Result<(), Contradiction> {
    match limits.iter().find(|(_, found)| !(least..=most).contains(found)) {
        Some((setting, found)) => Err(Contradiction::Limit { setting, found: *found, least, most }),
        None => Ok(()),
    }
}
