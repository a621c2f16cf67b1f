//! A connection's account with the budget of memory (`pool.rs`): it counts what the session holds, asks for what the
//! session wants, waits for the answer, and tells the session when memory is short. What is decided there and then is the
//! session's (`session/flow.rs`) and the arbiter's (`budget`).

use std::{future::pending, sync::Arc, time::Instant};

use tokio::sync::{oneshot, watch};

use super::{
    now,
    pool::{Gauge, Purse, Waiting},
};
use crate::{Session, budget::Want};

/// A connection's side: what its session holds and waits for.
#[derive(Debug)]
pub(super) struct Account {
    purse: Arc<Purse>,
    gauge: Gauge,
    asked: Option<Asked>,
    shortage: watch::Receiver<Option<Instant>>,
    /// What the session was told of it last.
    told: Option<Instant>,
    /// Whether the session holds a grant, or waits for one.
    holding: bool,
    /// Whether the peer's protocols have more than is its own: it is to hear of a shortage as well.
    behind: bool,
}

#[derive(Debug)]
struct Asked {
    more: usize,
    answer: oneshot::Receiver<bool>,
}

impl Account {
    pub(super) fn new(purse: Arc<Purse>) -> Self {
        let shortage = purse.pool.shortage();
        Self {
            purse,
            gauge: Gauge::default(),
            asked: None,
            shortage,
            told: None,
            holding: false,
            behind: false,
        }
    }

    pub(super) const fn purse(&self) -> &Arc<Purse> {
        &self.purse
    }

    /// Since when memory is short, if it is.
    pub(super) fn short_since(&self) -> Option<Instant> {
        *self.shortage.borrow()
    }

    /// Counts what the session holds, and asks for what it wants; its protocols are `behind` or not. To be called when its
    /// outputs have been polled; true when it may have new ones.
    pub(super) fn settle(&mut self, session: &mut Session, behind: bool) -> bool {
        self.behind = behind;
        if !session.holds_grant() {
            if std::mem::take(&mut self.holding) {
                self.leave();
            }
            self.gauge.tell(&self.purse, session.memory());
            return false;
        }
        self.holding = true;
        self.gauge.tell(&self.purse, session.memory());
        let told = self.tell(session);
        match session.want_memory().filter(|_| self.asked.is_none()) {
            Some(want) => self.ask(session, want),
            None => told,
        }
    }

    /// Tells the session of a shortage; true when it did not know.
    fn tell(&mut self, session: &mut Session) -> bool {
        let since = *self.shortage.borrow_and_update();
        let news = since != self.told;
        if news {
            self.told = since;
            session.handle_shortage(now(), since);
        }
        news
    }

    fn ask(&mut self, session: &mut Session, want: Want) -> bool {
        let more = want.len.saturating_sub(self.gauge.0);
        // In a shortage its turn is the arbiter's to give, also where it costs nothing more.
        if self.purse.try_hold(more) {
            self.gauge.0 = self.gauge.0.saturating_add(more);
            session.handle_grant(now(), false);
            return true;
        }
        // In a shortage it wants less at once.
        self.told = self.shortage.borrow().or_else(|| Some(now().instant));
        session.handle_shortage(now(), self.told);
        if let Some(Want { len, rest }) = session.want_memory() {
            let more = len.saturating_sub(self.gauge.0);
            let (sender, answer) = oneshot::channel();
            self.asked = Some(Asked { more, answer });
            self.purse.pool.wait(Waiting { purse: Arc::clone(&self.purse), answer: sender, more }, rest);
        }
        self.tell(session);
        true
    }

    /// Waits until the session is granted what it asked for (and whether it has to hurry), or there is something to
    /// settle. Nothing is lost when this is dropped half-way.
    pub(super) async fn turn(&mut self) -> Option<bool> {
        if !self.holding && !self.behind {
            return pending().await;
        }
        let answered = async {
            match &mut self.asked {
                Some(asked) => (&mut asked.answer).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            // The pool lives as long as this does.
            hurried = answered => hurried.ok(),
            _ = self.shortage.changed() => None,
        }
    }

    /// What [`Account::turn`] brought.
    pub(super) fn handle_turn(&mut self, session: &mut Session, hurried: Option<bool>) {
        if let Some((hurried, asked)) = hurried.zip(self.asked.take_if(|_| hurried.is_some())) {
            self.gauge.0 = self.gauge.0.saturating_add(asked.more);
            session.handle_grant(now(), hurried);
        } else {
            // To be settled: the mark of the news was taken by the wait.
            self.tell(session);
        }
    }

    /// The session wants nothing more, and is not the one that is read.
    fn leave(&mut self) {
        let waits = self.purse.pool.leave(self.purse.holder, self.asked.is_some());
        if let Some(asked) = self.asked.take_if(|_| !waits) {
            // Granted a moment ago.
            self.gauge.0 = self.gauge.0.saturating_add(asked.more);
        }
        self.asked = None;
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.holding {
            self.leave();
        }
        self.gauge.tell(&self.purse, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::pool::Pool, *};
    use crate::SessionLimits;

    const FREE_LEN: usize = SessionLimits::DEFAULT.free_len;

    const MIB: usize = 1 << 20;

    #[test]
    fn f03_whoever_waits_and_goes_leaves_nothing_behind() {
        let pool = Pool::of(0);
        let (one, other) = (Purse::new(&pool, 1), Purse::new(&pool, 2));
        let mut accounts = [&one, &other].map(|purse| Account::new(Arc::clone(purse)));
        for account in &mut accounts {
            let (sender, answer) = oneshot::channel();
            account.holding = true;
            account.asked = Some(Asked { more: MIB, answer });
            let purse = Arc::clone(&account.purse);
            pool.wait(Waiting { purse, answer: sender, more: MIB }, MIB);
        }
        assert_eq!(pool.standing(), (MIB - FREE_LEN, 1));
        assert!(pool.shortage().borrow().is_some());
        // The first was granted what it wanted, and goes without having heard of it.
        drop(accounts);
        assert_eq!(pool.standing(), (0, 0));
        assert!(pool.shortage().borrow().is_none());
    }
}
