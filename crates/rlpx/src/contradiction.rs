//! What a server's configuration may not say at once: each contradiction tells what to change. Looked for before a server
//! starts; a machine that is made with one regardless keeps every limit as it stands.

mod bounds;

use std::time::Duration;

use crate::{
    config::{BUDGET_RESERVE, Timeouts},
    server_config::{MIN_RATE, RateLimits, ServerConfig, Slots},
};

/// Settings that contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// More peers may come in, or be dialed, than there may be.
    #[error("{setting} is {count}, but max_peers is {max_peers}: lower {setting}, or raise max_peers")]
    OverMax {
        /// `max_inbound` or `max_outbound`.
        setting: &'static str,
        /// What it is.
        count: usize,
        /// Peers in all.
        max_peers: usize,
    },
    /// Peers that come in could take slots that are kept for dials.
    #[error(
        "max_inbound {max_inbound} and max_outbound {max_outbound} are together over max_peers {max_peers}: lower one, \
         or raise max_peers"
    )]
    SumOverMax {
        /// Peers that may come in.
        max_inbound: usize,
        /// Peers that may be dialed.
        max_outbound: usize,
        /// Peers in all.
        max_peers: usize,
    },
    /// Static peers that are not trusted, and no place for them.
    #[error(
        "max_peers is 0, but there are static peers: raise max_peers, make them trusted, or leave them out"
    )]
    StaticWithoutPeers,
    /// Static peers, and no dials.
    #[error("max_dials is 0, but there are static peers: raise max_dials, or leave them out")]
    StaticWithoutDials,
    /// Nodes are found that can never be dialed.
    #[error("{setting} is 0, but nodes are found to be dialed: raise {setting}, or set no_discovered_dials")]
    CandidatesWithoutSlots {
        /// `max_peers`, `max_outbound` or `max_dials`.
        setting: &'static str,
    },
    /// A listener, and nobody may begin a handshake.
    #[error("max_pending is 0, so that nobody can come in: raise max_pending, or give no listener")]
    ListenerWithoutPlaces,
    /// A limit on bytes per second under which no session lasts.
    #[error("rates.{setting} is {rate} B/s: give it at least {MIN_RATE} B/s, or leave it out for no limit")]
    RateTooLow {
        /// Which limit.
        setting: &'static str,
        /// What it is, in bytes per second.
        rate: u64,
    },
    /// One peer may have more than all together.
    #[error(
        "rates.{setting} is {rate} B/s for each peer, but rates.{over} is {all} B/s for all: lower the one, or raise \
         the other"
    )]
    RateOverAll {
        /// `peer_upload` or `peer_download`.
        setting: &'static str,
        /// What it is, in bytes per second.
        rate: u64,
        /// `upload` or `download`.
        over: &'static str,
        /// What it is, in bytes per second.
        all: u64,
    },
    /// No time for what takes some.
    #[error("{setting} is 0, in which nothing can be done: give it some time")]
    NoTime {
        /// Which wait.
        setting: &'static str,
    },
    /// A time that no clock could tell the end of.
    #[error("{setting} is {found:?}: give it at most ten years")]
    TooLong {
        /// Which wait.
        setting: &'static str,
        /// What it is.
        found: Duration,
    },
    /// A budget that one long message does not fit.
    #[error(
        "limits.memory_budget is {found} bytes: give it at least {BUDGET_RESERVE}, for one long message and its payload"
    )]
    MemoryTooLow {
        /// What it is, in bytes.
        found: usize,
    },
    /// A limit under which nothing works, or over what the machine could keep.
    #[error("limits.{setting} is {found}: give it at least {least} and at most {most}")]
    Limit {
        /// Which one.
        setting: &'static str,
        /// What it is.
        found: usize,
        /// The least that it may be.
        least: usize,
        /// The most that it may be.
        most: usize,
    },
    /// An interval whose shortest is over its longest.
    #[error("{shorter} is {from:?} and {longer} is {to:?}: lower the one, or raise the other")]
    Interval {
        /// What should be shorter.
        shorter: &'static str,
        /// What it is.
        from: Duration,
        /// What should be longer.
        longer: &'static str,
        /// What it is.
        to: Duration,
    },
}

impl ServerConfig {
    /// Looks for contradictions. `listens`: there is a listener; `finds`: there is a source of candidates.
    ///
    /// # Errors
    /// The first [`Contradiction`].
    pub fn check(&self, listens: bool, finds: bool) -> Result<(), Contradiction> {
        self.check_peers()?;
        self.timeouts.check()?;
        self.rates.check()?;
        self.limits.check()?;
        let trusted = |node_id| self.trusted.contains(&node_id);
        if self.max_peers == 0 && !self.static_peers.iter().all(|enode| trusted(enode.node_id())) {
            return Err(Contradiction::StaticWithoutPeers);
        }
        if self.max_dials == 0 && !self.static_peers.is_empty() {
            return Err(Contradiction::StaticWithoutDials);
        }
        if listens && self.max_pending == 0 {
            return Err(Contradiction::ListenerWithoutPlaces);
        }
        let slots = [
            ("max_peers", self.max_peers),
            ("max_outbound", self.max_dialed()),
            ("max_dials", self.max_dials),
        ];
        match slots.iter().find(|(_, count)| *count == 0) {
            Some((setting, _)) if finds && !self.slots.no_discovered_dials => {
                Err(Contradiction::CandidatesWithoutSlots { setting })
            }
            Some(_) | None => self.check_times(),
        }
    }

    fn check_peers(&self) -> Result<(), Contradiction> {
        let Self { max_peers, slots: Slots { max_inbound, max_outbound, .. }, .. } = *self;
        for (setting, count) in [("max_inbound", max_inbound), ("max_outbound", max_outbound)] {
            if let Some(count) = count.filter(|count| *count > max_peers) {
                return Err(Contradiction::OverMax { setting, count, max_peers });
            }
        }
        match (max_inbound, max_outbound) {
            (Some(max_inbound), Some(max_outbound))
                if max_inbound.saturating_add(max_outbound) > max_peers =>
            {
                Err(Contradiction::SumOverMax { max_inbound, max_outbound, max_peers })
            }
            _ => Ok(()),
        }
    }

    fn check_times(&self) -> Result<(), Contradiction> {
        let (times, rotation) = (&self.times, &self.times.rotation);
        let held = times.hold.greeting.saturating_add(times.hold.entry);
        in_order(&[
            ("times.redial.first", times.redial.first, "times.redial.max", times.redial.max),
            (
                "times.static_redial.first",
                times.static_redial.first,
                "times.static_redial.max",
                times.static_redial.max,
            ),
            ("times.shortage.first", times.shortage.first, "times.shortage.max", times.shortage.max),
            (
                "times.rotation.min_interval",
                rotation.min_interval,
                "times.rotation.max_interval",
                rotation.max_interval,
            ),
            ("times.hold in all", held, "timeouts.handshake", self.timeouts.handshake),
        ])?;
        some_time(&[
            ("times.connect", times.connect),
            ("times.protocol_stall", times.protocol_stall),
            ("times.shutdown", times.shutdown),
            ("times.redial.first", times.redial.first),
            ("times.redial.max", times.redial.max),
            ("times.static_redial.first", times.static_redial.first),
            ("times.static_redial.max", times.static_redial.max),
            ("times.shortage.first", times.shortage.first),
            ("times.shortage.max", times.shortage.max),
            ("times.unsuitable", times.unsuitable),
            ("times.ban", times.ban),
            ("times.rotation.min_interval", rotation.min_interval),
            ("times.rotation.max_interval", rotation.max_interval),
        ])?;
        // These may be none at all.
        not_too_long(&[
            ("times.inbound_throttle", times.inbound_throttle),
            ("times.rotation.min_age", rotation.min_age),
            ("times.rotation.praise", rotation.praise),
            ("times.book.stable", times.book.stable),
            ("times.book.store", times.book.store),
        ])
    }
}

/// The longest time, ten years: moments much further off are none that a clock can name.
const MAX_TIME: Duration = Duration::from_secs(10 * 366 * 24 * 3_600);

impl Timeouts {
    /// Looks for waits in which nothing can happen.
    ///
    /// # Errors
    /// The first [`Contradiction`].
    pub fn check(&self) -> Result<(), Contradiction> {
        let Self { handshake, read, write, ping, disconnect } = *self;
        some_time(&[
            ("timeouts.handshake", handshake),
            ("timeouts.read", read),
            ("timeouts.write", write),
            ("timeouts.ping", ping),
            ("timeouts.disconnect", disconnect),
        ])
    }
}

/// A name and a time, and another that is to be no shorter.
type Pair = (&'static str, Duration, &'static str, Duration);

fn in_order(pairs: &[Pair]) -> Result<(), Contradiction> {
    match pairs.iter().find(|(_, from, _, to)| from > to) {
        Some((shorter, from, longer, to)) => {
            Err(Contradiction::Interval { shorter, from: *from, longer, to: *to })
        }
        None => Ok(()),
    }
}

fn some_time(waits: &[(&'static str, Duration)]) -> Result<(), Contradiction> {
    match waits.iter().find(|(_, wait)| wait.is_zero()) {
        Some((setting, _)) => Err(Contradiction::NoTime { setting }),
        None => not_too_long(waits),
    }
}

fn not_too_long(waits: &[(&'static str, Duration)]) -> Result<(), Contradiction> {
    match waits.iter().find(|(_, wait)| *wait > MAX_TIME) {
        Some((setting, found)) => Err(Contradiction::TooLong { setting, found: *found }),
        None => Ok(()),
    }
}

impl RateLimits {
    fn check(&self) -> Result<(), Contradiction> {
        let Self { upload, download, peer_upload, peer_download } = *self;
        let directions = [
            ("upload", upload, "peer_upload", peer_upload),
            ("download", download, "peer_download", peer_download),
        ];
        for (over, all, setting, each) in directions {
            for (setting, rate) in [(over, all), (setting, each)] {
                if let Some(rate) = rate.filter(|rate| *rate < MIN_RATE) {
                    return Err(Contradiction::RateTooLow { setting, rate });
                }
            }
            if let Some((all, rate)) = all.zip(each).filter(|(all, rate)| rate > all) {
                return Err(Contradiction::RateOverAll { setting, rate, over, all });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use identity::{Endpoint, Enode, NodeKey};

    use super::*;
    use crate::{Limits, RotationTimes, ServerTimes};

    fn slots(max_inbound: Option<usize>, max_outbound: Option<usize>) -> Slots {
        Slots { max_inbound, max_outbound, ..Default::default() }
    }

    /// Nobody is dialed that is found.
    fn passive(slots: Slots) -> Slots {
        Slots { no_discovered_dials: true, ..slots }
    }

    #[test]
    fn every_contradiction_says_what_to_change() {
        let config = ServerConfig::default;
        let key = NodeKey::from_bytes(&[1; 32]).unwrap().public_key();
        let enode = Enode::new(key, Endpoint { ip: [127, 0, 0, 1].into(), udp: 0, tcp: 1 });
        let static_peers = vec![enode];
        let rotation = RotationTimes { min_interval: Duration::from_secs(1_000), ..RotationTimes::default() };
        let times = ServerTimes { rotation, ..ServerTimes::default() };
        let rows = [
            (config(), ""),
            (
                ServerConfig { slots: slots(Some(51), None), ..config() },
                "max_inbound is 51, but max_peers is 50: lower max_inbound, or raise max_peers",
            ),
            (
                ServerConfig { slots: slots(None, Some(51)), ..config() },
                "max_outbound is 51, but max_peers is 50: lower max_outbound, or raise max_peers",
            ),
            (
                ServerConfig { slots: slots(Some(30), Some(21)), ..config() },
                "max_inbound 30 and max_outbound 21 are together over max_peers 50: lower one, or raise max_peers",
            ),
            (ServerConfig { slots: slots(Some(30), Some(20)), ..config() }, ""),
            (
                ServerConfig { max_peers: 0, static_peers: static_peers.clone(), ..config() },
                "max_peers is 0, but there are static peers: raise max_peers, make them trusted, or leave them out",
            ),
            (
                ServerConfig {
                    max_peers: 0,
                    static_peers: static_peers.clone(),
                    trusted: vec![key.node_id()],
                    slots: passive(Slots::default()),
                    ..config()
                },
                "",
            ),
            (
                ServerConfig { max_dials: 0, static_peers, ..config() },
                "max_dials is 0, but there are static peers: raise max_dials, or leave them out",
            ),
            (
                ServerConfig { max_peers: 0, ..config() },
                "max_peers is 0, but nodes are found to be dialed: raise max_peers, or set no_discovered_dials",
            ),
            (
                ServerConfig { slots: slots(Some(50), None), ..config() },
                "max_outbound is 0, but nodes are found to be dialed: raise max_outbound, or set no_discovered_dials",
            ),
            (ServerConfig { slots: passive(slots(Some(50), None)), ..config() }, ""),
            (
                ServerConfig { max_pending: 0, ..config() },
                "max_pending is 0, so that nobody can come in: raise max_pending, or give no listener",
            ),
            (
                ServerConfig { times, ..config() },
                "times.rotation.min_interval is 1000s and times.rotation.max_interval is 420s: lower the one, or raise \
                 the other",
            ),
        ];
        for (config, expected) in rows {
            let found = config.check(true, true).err().map(|contradiction| contradiction.to_string());
            assert_eq!(found.unwrap_or_default(), expected);
        }
        assert_eq!(ServerConfig { max_peers: 0, max_pending: 0, ..config() }.check(false, false), Ok(()));
    }

    #[test]
    fn what_takes_time_and_memory_has_some() {
        let config = ServerConfig::default;
        let times = ServerTimes { connect: Duration::ZERO, ..ServerTimes::default() };
        let no_time = Err(Contradiction::NoTime { setting: "times.connect" });
        assert_eq!(ServerConfig { times, ..config() }.check(true, true), no_time);
        let too_low = Err(Contradiction::MemoryTooLow { found: BUDGET_RESERVE - 1 });
        let budget = |memory_budget| Limits { memory_budget, ..Limits::default() };
        let limits = budget(BUDGET_RESERVE - 1);
        assert_eq!(ServerConfig { limits, ..config() }.check(true, true), too_low);
        assert_eq!(budget(BUDGET_RESERVE).check(), Ok(()));
        let mut restless = config();
        restless.times.rotation = RotationTimes {
            min_interval: Duration::ZERO,
            max_interval: Duration::ZERO,
            ..RotationTimes::default()
        };
        let no_time = Err(Contradiction::NoTime { setting: "times.rotation.min_interval" });
        assert_eq!(restless.check(true, true), no_time);
        let mut held = config();
        held.timeouts.handshake = Duration::from_secs(3);
        assert_eq!(
            held.check(true, true).unwrap_err().to_string(),
            "times.hold in all is 4s and timeouts.handshake is 3s: lower the one, or raise the other"
        );
        let timeouts = Timeouts { read: Duration::ZERO, ..Timeouts::default() };
        assert_eq!(timeouts.check(), Err(Contradiction::NoTime { setting: "timeouts.read" }));
        assert_eq!(Timeouts::default().check(), Ok(()));
    }

    #[test]
    fn every_limit_leaves_something_to_do_and_is_one_that_can_be_kept() {
        let said = |change: fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            limits.check().err().map(|contradiction| contradiction.to_string()).unwrap_or_default()
        };
        assert_eq!(said(|_| {}), "");
        assert_eq!(
            said(|limits| limits.queues.events = 0),
            "limits.queues.events is 0: give it at least 1 and at most 65536"
        );
        assert_eq!(
            said(|limits| limits.sessions.free_len = 1_000),
            "limits.sessions.free_len is 1000: give it at least 65536 and at most 1073741824"
        );
        assert_eq!(
            said(|limits| limits.book.entries = 2_000),
            "limits.book.entries is 2000: give it at least 1 and at most 1024"
        );
        assert_eq!(
            said(|limits| limits.dials.site_window = Duration::ZERO),
            "limits.dials.site_window is 0, in which nothing can be done: give it some time"
        );
        assert_eq!(
            said(|limits| limits.dials.addresses = 17),
            "limits.dials.addresses is 17: give it at least 1 and at most 16"
        );
        assert_eq!(
            said(|limits| limits.lists.longest_ban = Duration::MAX),
            format!("limits.lists.longest_ban is {:?}: give it at most ten years", Duration::MAX)
        );
    }

    #[test]
    fn rates_are_neither_too_low_nor_higher_for_one_than_for_all() {
        let config = ServerConfig::default;
        let rates = RateLimits { download: Some(100_000), ..RateLimits::default() };
        let rows = [
            (
                ServerConfig { rates: RateLimits { peer_upload: Some(0), ..rates }, ..config() },
                "rates.peer_upload is 0 B/s: give it at least 16384 B/s, or leave it out for no limit",
            ),
            (
                ServerConfig { rates: RateLimits { peer_download: Some(100_001), ..rates }, ..config() },
                "rates.peer_download is 100001 B/s for each peer, but rates.download is 100000 B/s for all: lower the \
                 one, or raise the other",
            ),
            (ServerConfig { rates: RateLimits { peer_download: Some(100_000), ..rates }, ..config() }, ""),
        ];
        for (config, expected) in rows {
            let found = config.check(true, true).err().map(|contradiction| contradiction.to_string());
            assert_eq!(found.unwrap_or_default(), expected);
        }
    }
}
