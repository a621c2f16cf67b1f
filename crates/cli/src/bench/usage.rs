//! What the system says that this process takes: resident memory and time of cores. Linux tells both; a row that needs
//! them says elsewhere that it is not measured.

use std::fs;

use super::measure::time_each;

/// Whether this system tells.
pub(super) const KNOWN: bool = cfg!(target_os = "linux");

/// Where Linux tells the resident memory to the page; `statm` keeps a count per core that lags by some hundred KiB.
const MEMORY_FILE: &str = "/proc/self/smaps_rollup";

/// Resident bytes.
pub(super) fn resident() -> Result<u64, String> {
    let text = fs::read_to_string(MEMORY_FILE).map_err(|error| format!("{MEMORY_FILE}: {error}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib: Option<u64> = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.and_then(|kib| kib.checked_mul(1_024)).ok_or_else(|| format!("{MEMORY_FILE} names no Rss"))
}

/// Nanoseconds that all threads have run.
#[cfg(target_os = "linux")]
pub(super) fn processor_time() -> u64 {
    use rustix::time::{ClockId, clock_gettime};

    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (time.tv_sec.cast_unsigned(), time.tv_nsec.cast_unsigned());
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn processor_time() -> u64 {
    0
}

/// Nanoseconds of processor time that `work`, which is `units` units, takes for each; where the system does not tell,
/// nanoseconds that pass.
pub(super) fn processor_time_each(units: usize, work: impl FnOnce()) -> f64 {
    if !KNOWN {
        return time_each(units, work);
    }
    let before = processor_time();
    work();
    processor_time().saturating_sub(before) as f64 / units as f64
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_written_to_is_resident() {
        const LEN: usize = 64 << 20;
        let before = resident().unwrap();
        let block = std::hint::black_box(vec![1u8; LEN]);
        let after = resident().unwrap();
        drop(block);
        assert!(after >= before + LEN as u64 / 2, "{before} {after}");
    }

    #[test]
    fn work_takes_processor_time() {
        let before = processor_time();
        while processor_time() < before + 5_000_000 {
            std::hint::black_box(devp2p::identity::keccak256(&[0; 1_000]));
        }
    }
}
