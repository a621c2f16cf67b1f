//! How the flags of `sim` are read: counts, shares in per cent, spans of virtual time.
//! What the numbers mean to a scenario, and their defaults, stands in the crate world.

use std::{
    fmt,
    ops::{Range, RangeInclusive},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use clap::Args;

use crate::args::parse_duration;

/// The shortest run: below a minute nodes have not found each other.
const MIN_HOURS: f64 = 0.0166;
/// The longest run: a week.
const MAX_HOURS: f64 = 168.0;
/// The same for runs that are told in smaller units.
const SPANS: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(168);
/// The most churn, in per cent an hour: every node 60 times an hour. A node that lives shorter never takes part.
const MAX_CHURN: f64 = 6_000.0;
/// Seconds of an hour.
const HOUR: f64 = 3_600.0;
/// Parts of one in a share's text: per cent with six digits behind the point.
const SHARE_PARTS: f64 = 1e8;

/// What a run leaves, apart from its table.
#[derive(Args, Clone, Debug)]
pub(super) struct OutputArgs {
    /// Draw the run along virtual time into this file; it is replaced when the run has ended.
    #[arg(long, value_name = "FILE")]
    pub(super) svg: Option<PathBuf>,
    /// Print the report as one JSON object and nothing else; equal seeds and settings give equal objects.
    #[arg(long)]
    pub(super) json: bool,
}

/// A share, written in per cent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Percent(pub(super) f64);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_suffix('%').unwrap_or(text).trim_end();
        let percent: f64 =
            digits.parse().map_err(|_| "write a number of per cent, such as 5 or 5%".to_owned())?;
        // The sum makes the 0 of -0 positive.
        Ok(Self(percent / 100.0 + 0.0))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", (self.0 * SHARE_PARTS).round() / (SHARE_PARTS / 100.0))
    }
}

/// A span of virtual time, written in hours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Hours(pub(super) Duration);

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Four digits tell seconds apart.
        write!(f, "{}", (self.0.as_secs_f64() / HOUR * 1e4).round() / 1e4)
    }
}

/// A span of virtual time, written with its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span(pub(super) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            seconds if seconds % 60 == 0 => write!(f, "{}m", seconds / 60),
            seconds => write!(f, "{seconds}s"),
        }
    }
}

/// Reads a count, such as that of `--nodes`.
pub(super) fn parse_count<const LEAST: usize, const MOST: usize>(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (LEAST..=MOST).contains(&count) => Ok(count),
        _ => Err(format!("write a number from {LEAST} to {MOST}")),
    }
}

/// Reads `--loss`.
pub(super) fn parse_loss(text: &str) -> Result<Percent, String> {
    let loss: Percent = text.parse()?;
    if (0.0..=1.0).contains(&loss.0) { Ok(loss) } else { Err("write 0 to 100 per cent".to_owned()) }
}

/// Reads `--churn`.
pub(super) fn parse_churn(text: &str) -> Result<Percent, String> {
    let churn: Percent = text.parse()?;
    let most = MAX_CHURN / 100.0;
    if (0.0..=most).contains(&churn.0) {
        Ok(churn)
    } else {
        Err(format!("write 0 to {MAX_CHURN} per cent an hour"))
    }
}

/// Reads `--hours`, to the second.
pub(super) fn parse_hours(text: &str) -> Result<Hours, String> {
    match text.parse::<f64>() {
        Ok(hours) if (MIN_HOURS..=MAX_HOURS).contains(&hours) => {
            Ok(Hours(Duration::from_secs((hours * HOUR).round() as u64)))
        }
        _ => Err(format!("write a number of hours from {MIN_HOURS} to {MAX_HOURS}")),
    }
}

/// Reads `--duration`, to the second.
pub(super) fn parse_span(text: &str) -> Result<Span, String> {
    let span = Duration::from_secs(parse_duration(text)?.as_secs_f64().round() as u64);
    if SPANS.contains(&span) { Ok(Span(span)) } else { Err("write a time from 1m to 168h".to_owned()) }
}

/// Reads two moments in minutes, such as `10..20`.
pub(super) fn parse_minutes(text: &str) -> Result<Range<Duration>, String> {
    let moment = |text: &str| {
        let minutes = text.parse::<u32>().ok().filter(|minutes| f64::from(*minutes) <= MAX_HOURS * 60.0)?;
        Some(Duration::from_secs(u64::from(minutes) * 60))
    };
    match text.split_once("..").map(|(from, to)| (moment(from), moment(to))) {
        Some((Some(from), Some(to))) if from < to => Ok(from..to),
        _ => Err("write two numbers of minutes, such as 10..20".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_per_cent_and_read_back_as_written() {
        for (text, share) in
            [("5", 0.05), ("5%", 0.05), ("0.1 %", 0.001), ("0", 0.0), ("100", 1.0), ("7", 0.07)]
        {
            assert_eq!(parse_loss(text), Ok(Percent(share)), "{text}");
            assert_eq!(parse_loss(&Percent(share).to_string()), Ok(Percent(share)), "{text}");
        }
        assert_eq!(Percent(0.07).to_string(), "7%");
        assert!(parse_loss("-0").is_ok_and(|zero| zero.0.is_sign_positive()));
        assert_eq!(parse_churn("250"), Ok(Percent(2.5)));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["101", "100.1%", "-1", "NaN", "inf", "", "%", "5%%", "x"] {
            assert!(parse_loss(bad).is_err(), "{bad}");
        }
        for bad in ["-0.1", "NaN", "-inf", "inf", "6001", "often"] {
            assert!(parse_churn(bad).is_err(), "{bad}");
        }
        for bad in ["0", "-1", "NaN", "inf", "168.1", "1e300", "0.001", "1h"] {
            assert!(parse_hours(bad).is_err(), "{bad}");
        }
        for bad in ["10", "10..", "20..10", "10..10", "-1..5", "a..b", "1..99999999"] {
            assert!(parse_minutes(bad).is_err(), "{bad}");
        }
        for bad in ["0", "59", "59s", "-5m", "169h", "NaN", "", "5 minutes"] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
        for bad in ["0", "1", "-5", "10001", "18446744073709551616", "many", "1.5"] {
            assert!(parse_count::<2, 10_000>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_read_back_as_written() {
        for seconds in [60, 61, 600, 720, 1_234, 3_600, 86_399, 604_800] {
            let (hours, span) = (Hours(Duration::from_secs(seconds)), Span(Duration::from_secs(seconds)));
            assert_eq!(parse_hours(&hours.to_string()), Ok(hours));
            assert_eq!(parse_span(&span.to_string()), Ok(span));
        }
    }

    #[test]
    fn a_parting_is_told_in_minutes() {
        assert_eq!(parse_minutes("10..20"), Ok(Duration::from_secs(600)..Duration::from_secs(1_200)));
    }
}
