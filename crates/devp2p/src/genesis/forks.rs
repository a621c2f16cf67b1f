//! The forks of a genesis file: which there are, whether their order holds, and the two lists a fork id is made of.
//! EIP-2124 and EIP-6122; names, order and optional ones as in go-ethereum `params/config.go` (`CheckConfigForkOrder`).

use super::{GenesisError, fields::Object};

/// A fork that `config` can schedule; by block when its name ends in `Block`, by time when in `Time`.
struct Rule {
    name: &'static str,
    /// Whether later forks may be set without it.
    optional: bool,
}

const fn rule(name: &'static str) -> Rule {
    Rule { name, optional: false }
}

const fn optional(name: &'static str) -> Rule {
    Rule { name, optional: true }
}

const RULES: [Rule; 27] = [
    rule("homesteadBlock"),
    optional("daoForkBlock"),
    rule("eip150Block"),
    rule("eip155Block"),
    rule("eip158Block"),
    rule("byzantiumBlock"),
    rule("constantinopleBlock"),
    rule("petersburgBlock"),
    rule("istanbulBlock"),
    optional("muirGlacierBlock"),
    rule("berlinBlock"),
    rule("londonBlock"),
    optional("arrowGlacierBlock"),
    optional("grayGlacierBlock"),
    optional("mergeNetsplitBlock"),
    rule("shanghaiTime"),
    optional("cancunTime"),
    optional("pragueTime"),
    optional("osakaTime"),
    optional("ubtTime"),
    optional("bpo1Time"),
    optional("bpo2Time"),
    optional("bpo3Time"),
    optional("bpo4Time"),
    optional("bpo5Time"),
    optional("amsterdamTime"),
    optional("bogotaTime"),
];

/// A fork as scheduled: a block number, or Unix seconds.
#[derive(Clone, Copy)]
struct Fork {
    name: &'static str,
    at: u64,
}

impl Fork {
    fn by_time(&self) -> bool {
        self.name.ends_with("Time")
    }
}

/// The forks a chain schedules, and its first block's time in Unix seconds.
pub(super) struct Forks {
    scheduled: Vec<Fork>,
    genesis_time: u64,
}

impl Forks {
    /// Reads the forks of the object `config`.
    pub(super) fn read(config: &Object<'_>, genesis_time: u64) -> Result<Self, GenesisError> {
        let mut scheduled: Vec<Fork> = Vec::new();
        let mut skipped = None;
        for rule in &RULES {
            let Some(field) = config.optional(rule.name) else {
                skipped = skipped.or((!rule.optional).then_some(rule.name));
                continue;
            };
            let fork = Fork { name: rule.name, at: field.u64()? };
            if let Some(earlier) = skipped {
                return Err(GenesisError::ForkGap { earlier, later: fork.name });
            }
            if let Some(last) =
                scheduled.last().filter(|last| last.by_time() == fork.by_time() && last.at > fork.at)
            {
                return Err(GenesisError::ForkOrder { earlier: last.name, later: fork.name });
            }
            scheduled.push(fork);
        }
        Ok(Self { scheduled, genesis_time })
    }

    /// Whether the fork `name` holds in the first block; one by time does not before London.
    pub(super) fn active(&self, name: &str) -> bool {
        let at_genesis =
            |fork: &Fork| if fork.by_time() { fork.at <= self.genesis_time } else { fork.at == 0 };
        let holds = |name: &str| self.scheduled.iter().any(|fork| fork.name == name && at_genesis(fork));
        holds(name) && holds("londonBlock")
    }

    /// Block numbers of forks, ascending, each once.
    pub(super) fn blocks(&self) -> Vec<u64> {
        self.gather(false)
    }

    /// Times of forks in Unix seconds, ascending, each once.
    pub(super) fn times(&self) -> Vec<u64> {
        self.gather(true)
    }

    fn gather(&self, by_time: bool) -> Vec<u64> {
        let mut points: Vec<u64> =
            self.scheduled.iter().filter(|fork| fork.by_time() == by_time).map(|fork| fork.at).collect();
        points.sort_unstable();
        points.dedup();
        points
    }
}
