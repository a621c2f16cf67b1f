//! How virtual time is written in a report: as a number of seconds, by fields whose names end in `_s`.
//! Reading it back is nobody's need yet.

use std::{ops::Range, time::Duration};

use serde::{Serialize, Serializer};

/// A moment or a span.
pub(crate) fn one<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// From when until when, as a pair.
pub(crate) fn range<S: Serializer>(
    times: &Option<Range<Duration>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    times.as_ref().map(|times| (times.start.as_secs_f64(), times.end.as_secs_f64())).serialize(serializer)
}

/// A moment or a span that may not have come.
pub(crate) fn maybe<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}
