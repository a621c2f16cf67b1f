//! Row `handshake.accept`: handshakes that a server with its driver accepts over loopback TCP, on one core: from `accept`
//! until the first bytes of its Hello are read at the other end. Who dials has a process and a core of its own, and has
//! made its auths beforehand. Processor time of the accepting process is measured, so that waiting for a dialler on a busy
//! machine is not. The floor is what a recipient must ask of the curve: no system call, task, envelope, secret or Hello.

use tokio::runtime::Runtime;

use super::{
    libsecp::{CurveWork, PlainContext},
    measure::Turns,
    orders::Order,
    pin::Cores,
    process::Process,
    serve::Serving,
    usage::processor_time_each,
};

/// Handshakes in a turn: some milliseconds, all under way at once.
const TURN: usize = 32;
/// The recipient's ephemeral key; static keys, the two envelopes and ephemeral keys agreed on; and who signed the auth.
const WORK: CurveWork = CurveWork { generations: 1, agreements: 4, signatures: 0, recoveries: 1 };

pub(super) struct Accepting {
    runtime: Runtime,
    load: Process,
    curve: PlainContext,
    _serving: Serving,
}

impl Accepting {
    pub(super) fn start(cores: &Cores) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let serving = runtime.block_on(async { Serving::start() })?;
        let load = Process::start(cores.load.or(cores.bench), &["load", &serving.enode().to_string()])?;
        Ok(Self { runtime, load, curve: PlainContext::new(), _serving: serving })
    }
}

impl Turns for Accepting {
    fn measured(&mut self) -> Result<f64, String> {
        self.runtime.block_on(self.load.ask(Order::Prepare(TURN)))?;
        let mut greeted = Ok(0);
        let time = processor_time_each(TURN, || greeted = self.runtime.block_on(self.load.ask(Order::Shake)));
        match greeted? {
            greeted if greeted == TURN as u64 => Ok(time),
            greeted => Err(format!("{greeted} of {TURN} were greeted")),
        }
    }

    fn floor(&mut self) -> f64 {
        self.curve.time_each(TURN, &WORK)
    }
}
