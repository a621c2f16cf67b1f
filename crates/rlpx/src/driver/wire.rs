//! A session with its socket: reads into the session's buffer, writes from it, runs its curve jobs, keeps its time.
//! What the session says is for the owner of the wire: [`Connection`](super::Connection) or a server's peer task.

mod linger;
#[cfg(test)]
mod tests;

use std::{future::poll_fn, io, pin::Pin, sync::Arc, time::Instant};

#[cfg(any(target_os = "linux", target_os = "android"))]
use socket2::SockRef;

use identity::{
    CurveHandle, PublicKey,
    curve::{CurveJob, CurveResult, Lane, Ticket},
};
use rand::rngs::ThreadRng;
use tokio::{
    io::Interest,
    net::TcpStream,
    sync::oneshot,
    time::{Sleep, sleep_until},
};

use super::{now, sealer::Sealing, traffic::Traffic};
#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::config::MAX_UNSENT_LEN;
use crate::{SealJob, Session, SessionConfig, SessionOutput, status::Live};

pub(super) struct Wire {
    stream: TcpStream,
    session: Session,
    curve: CurveHandle,
    /// What comes of the job that is out.
    answer: Option<oneshot::Receiver<(Ticket, CurveResult)>>,
    /// The message that is being sealed.
    sealing: Option<Sealing>,
    alarm: Pin<Box<Sleep>>,
    traffic: Arc<Traffic>,
    live: Arc<Live>,
    /// Bytes that may be read until more are allowed; None: without a limit.
    allowance: Option<usize>,
    broken: bool,
    /// Whether the session has had work for the curve.
    worked: bool,
}

/// What draws nonces, counter blocks and padding.
#[expect(clippy::disallowed_methods, reason = "drivers draw what sessions need")]
fn generator() -> ThreadRng {
    rand::rng()
}

impl Wire {
    /// The side that dialed `remote`.
    pub(super) fn dialed(
        stream: TcpStream,
        curve: CurveHandle,
        config: Arc<SessionConfig>,
        (remote, lane): (PublicKey, Lane),
        traffic: Arc<Traffic>,
    ) -> Self {
        let session = Session::initiator(now(), config, remote, lane, &mut generator());
        Self::new(stream, session, curve, traffic)
    }

    /// The side that accepted.
    pub(super) fn accepted(
        stream: TcpStream,
        curve: CurveHandle,
        config: Arc<SessionConfig>,
        lane: Lane,
        traffic: Arc<Traffic>,
    ) -> Self {
        let session = Session::recipient(now(), config, lane, &mut generator());
        Self::new(stream, session, curve, traffic)
    }

    fn new(stream: TcpStream, session: Session, curve: CurveHandle, traffic: Arc<Traffic>) -> Self {
        // Frames are written whole, so there is nothing to collect.
        let _ = stream.set_nodelay(true);
        limit_unsent(&stream);
        let alarm = Box::pin(sleep_until(now().instant.into()));
        let (live, allowance) = (Arc::default(), None);
        Self {
            stream,
            session,
            curve,
            answer: None,
            sealing: None,
            alarm,
            traffic,
            live,
            allowance,
            broken: false,
            worked: false,
        }
    }

    pub(super) const fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Whether the session has had work for the curve: one that accepted has received auth.
    pub(super) const fn worked(&self) -> bool {
        self.worked
    }

    /// Lets so many more bytes be read.
    pub(super) fn allow(&mut self, len: usize) {
        self.allowance = Some(self.allowance.unwrap_or(0).saturating_add(len));
    }

    /// Whether nothing may be read until more is allowed.
    pub(super) fn is_spent(&self) -> bool {
        self.allowance == Some(0)
    }

    /// Whether the stream has broken: what the session still has to say is little.
    pub(super) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// How the session stands, for others to see.
    pub(super) const fn live(&self) -> &Arc<Live> {
        &self.live
    }

    pub(super) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The session's next output that is not the wire's own business.
    pub(super) fn output(&mut self) -> Option<SessionOutput> {
        loop {
            match self.session.poll_output()? {
                SessionOutput::Curve(job) => {
                    self.worked = true;
                    self.submit(job);
                }
                output @ (SessionOutput::Authenticated { .. }
                | SessionOutput::Hello { .. }
                | SessionOutput::Message { .. }
                | SessionOutput::Closed(_)) => return Some(output),
            }
        }
    }

    /// A message of the session's is sealed with those of other connections.
    pub(super) fn seal(&mut self, sealing: Sealing) {
        self.sealing = Some(sealing);
    }

    fn submit(&mut self, job: CurveJob) {
        let (sender, answer) = oneshot::channel();
        // The session waits for this answer before it asks again. When the wire is gone, nobody cares.
        self.curve.submit(job, move |ticket, result| drop(sender.send((ticket, result))));
        self.answer = Some(answer);
    }

    /// Waits until something happens to the session and hands it in. Nothing is lost when this is dropped half-way.
    /// The owner polls the outputs before every turn: until then nothing is read.
    pub(super) async fn turn(&mut self) {
        if self.flush() || self.session.is_closed() {
            // The owner may wait for just this to be out, or has to be told of the end.
            return;
        }
        let deadline = self.session.next_timeout();
        self.set_alarm(deadline);
        let interest = self.interest();
        tokio::select! {
            // What has come counts before the time that has passed: an owner may be slow to take its turn.
            biased;
            answer = answered(&mut self.answer) => {
                self.answer = None;
                if let Ok((ticket, result)) = answer {
                    self.session.handle_curve(now(), ticket, result);
                }
            }
            job = sealed(&mut self.sealing) => {
                self.sealing = None;
                self.session.handle_sealed(now(), job);
            }
            ready = self.stream.ready(interest), if !self.broken => match ready {
                Ok(ready) if self.session.want_read() && (ready.is_readable() || ready.is_read_closed()) => self.read(),
                Ok(ready) if ready.is_error() => self.fail_by_system(),
                // Flushed at the next turn.
                Ok(_) => {}
                Err(error) => self.fail(&error),
            },
            () = &mut self.alarm, if deadline.is_some() => self.session.handle_timeout(now()),
        }
    }

    /// What to hear of the socket: that it broke, also while nothing is read or written.
    fn interest(&self) -> Interest {
        let read = self.session.want_read().then_some(Interest::READABLE);
        let write = (!self.session.write_buf().is_empty()).then_some(Interest::WRITABLE);
        read.into_iter().chain(write).fold(Interest::ERROR, Interest::add)
    }

    fn set_alarm(&mut self, deadline: Option<Instant>) {
        if let Some(deadline) = deadline.map(tokio::time::Instant::from_std)
            && self.alarm.deadline() != deadline
        {
            self.alarm.as_mut().reset(deadline);
        }
    }

    /// Writes what the socket takes now. True when that was something: the session may have new outputs.
    pub(super) fn flush(&mut self) -> bool {
        let mut flushed = false;
        while !self.broken && !self.session.write_buf().is_empty() {
            match self.stream.try_write(self.session.write_buf()) {
                Ok(len) => {
                    self.traffic.wrote(len);
                    self.live.wrote(len);
                    self.session.handle_written(now(), len);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => self.fail(&error),
            }
            flushed = true;
        }
        flushed
    }

    fn read(&mut self) {
        if !self.session.want_read() {
            return;
        }
        let most = self.allowance.unwrap_or(usize::MAX);
        let room = self.session.read_buf();
        let len = room.len().min(most);
        let Some(room) = room.get_mut(..len).filter(|room| !room.is_empty()) else { return };
        match self.stream.try_read(room) {
            Ok(0) => self.session.handle_eof(now()),
            Ok(len) => {
                self.traffic.read(len);
                self.live.read(len);
                self.allowance = self.allowance.map(|left| left.saturating_sub(len));
                self.session.handle_read(now(), len);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.fail(&error),
        }
    }

    fn fail_by_system(&mut self) {
        let error = self.stream.take_error().ok().flatten();
        self.fail(&error.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into()));
    }

    fn fail(&mut self, error: &io::Error) {
        self.broken = true;
        self.session.handle_io_error(now(), error.kind());
    }
}

/// Has the system refuse what it cannot send yet, so that what waits for a peer that does not read waits where it is
/// counted.
fn limit_unsent(stream: &TcpStream) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // A system that cannot keeps its own limit.
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(MAX_UNSENT_LEN);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = stream;
}

/// The answer to the job that is out; never comes when there is none.
async fn answered<T>(answer: &mut Option<oneshot::Receiver<T>>) -> Result<T, oneshot::error::RecvError> {
    match answer {
        Some(answer) => answer.await,
        None => std::future::pending().await,
    }
}

/// The message that is being sealed, once it is; never comes when there is none.
async fn sealed(sealing: &mut Option<Sealing>) -> SealJob {
    match sealing {
        Some(sealing) => poll_fn(|cx| sealing.poll(cx)).await,
        None => std::future::pending().await,
    }
}
