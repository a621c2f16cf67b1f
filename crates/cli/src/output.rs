//! What the program prints: lines that do not end it when nobody reads them, and text that came from the network made fit
//! for a terminal and a log.

use std::{
    fmt::{Display, Write as _},
    io::{self, Write as _},
};

/// Prints a line. A closed output is no reason to end a node.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// The most characters shown of a text from a peer.
const MAX_SHOWN_CHARS: usize = 128;

/// The text with control, formatting and non-ASCII characters escaped, at most [`MAX_SHOWN_CHARS`] characters of it.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().take(MAX_SHOWN_CHARS) {
        let _ = write!(shown, "{}", character.escape_default());
    }
    shown.chars().take(MAX_SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c03_names_cannot_write_to_the_terminal() {
        let shown = printable("Geth\n\x1b[31m\0\u{202e}evil");
        assert_eq!(shown, r"Geth\n\u{1b}[31m\u{0}\u{202e}evil");
        assert_eq!(printable(&"\u{7}".repeat(4_096)).chars().count(), MAX_SHOWN_CHARS);
    }
}
