//! A bench's end of another process (`orders`): starts it on a core, gives it orders, waits for its answers, ends it.
//! What it is told to do, and how it does it, stands there.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{interval, timeout},
};

use super::{
    amount::Halt,
    orders::{Order, VERB},
};

/// Answers that may wait: each order is answered before the next.
const MAX_ANSWERS: usize = 1;
/// How long an order may take in all.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a long wait looks whether the user has had enough.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A running process. Dropping it ends it.
pub(super) struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    answers: mpsc::Receiver<String>,
}

impl Process {
    /// Starts one with what follows its verb, on `core` if there is one.
    pub(super) fn start(core: Option<usize>, role: &[&str]) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("the bench cannot start its other process: {error}");
        let mut command = Command::new(env::current_exe().map_err(failed)?);
        command.arg(VERB).args(core.map(|core| format!("--core={core}"))).args(role);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let (orders, output) = (child.stdin.take(), child.stdout.take());
        let (sender, answers) = mpsc::channel(MAX_ANSWERS);
        let read = move || {
            let lines = output.into_iter().flat_map(|output| BufReader::new(output).lines());
            for line in lines.map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        };
        let process = Self { child, orders, answers };
        thread::Builder::new().name("answers".to_owned()).spawn(read).map_err(failed)?;
        Ok(process)
    }

    /// The next line that it prints.
    pub(super) async fn line(&mut self) -> Result<String, String> {
        let line = timeout(PATIENCE, self.answers.recv()).await;
        let line = line.map_err(|_| format!("the bench's other process said nothing for {PATIENCE:?}"))?;
        line.ok_or_else(|| "the bench's other process has ended".to_owned())
    }

    /// Has an order carried out; the number that answers it.
    pub(super) async fn ask(&mut self, order: Order) -> Result<u64, String> {
        let orders = self.orders.as_mut().ok_or("the bench's other process takes no orders")?;
        writeln!(orders, "{order}").map_err(|error| format!("the bench's other process: {error}"))?;
        let line = self.line().await?;
        let number = line.strip_prefix("ok ").and_then(|number| number.parse().ok());
        number.ok_or_else(|| format!("{order}: {line}"))
    }

    /// The same, as long as nobody wants to `stop`.
    pub(super) async fn ask_unless(&mut self, order: Order, stop: &AtomicBool) -> Result<u64, Halt> {
        tokio::select! {
            answer = self.ask(order) => Ok(answer?),
            () = stopped(stop) => Err(Halt::Interrupted),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It ends by itself when there are no more orders; one that is busy is not waited for.
        self.orders = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets `time` pass, unless somebody wants to `stop`.
pub(super) async fn pass(time: Duration, stop: &AtomicBool) -> Result<(), Halt> {
    match timeout(time, stopped(stop)).await {
        Ok(()) => Err(Halt::Interrupted),
        Err(_) => Ok(()),
    }
}

async fn stopped(stop: &AtomicBool) {
    let mut look = interval(LOOK_INTERVAL);
    while !stop.load(Ordering::Relaxed) {
        look.tick().await;
    }
}
