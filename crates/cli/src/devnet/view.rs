//! What a run shows while it goes: a table that redraws itself on a terminal, one line a second elsewhere.
//! With `--json` it shows nothing: then the summary is all there is.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write},
    time::Duration,
};

/// Lines of a terminal that does not tell its height.
const DEFAULT_HEIGHT: usize = 24;
/// Lines of the drawing that are no node's: the summary, the heading, the rest, and the cursor's.
const OTHER_LINES: usize = 4;

/// One node's numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) running: bool,
    pub(super) table_len: usize,
    pub(super) peers: usize,
    pub(super) transactions: usize,
    pub(super) blocks: usize,
    pub(super) bytes: u64,
}

/// The whole network's numbers.
#[derive(Clone, Debug)]
pub(super) struct Progress<'a> {
    /// What the run is doing, in a word or two.
    pub(super) phase: &'a str,
    pub(super) elapsed: Duration,
    /// Transactions and blocks that have entered.
    pub(super) entered: (usize, usize),
    pub(super) rows: &'a [Row],
}

/// Draws progress on standard output.
pub(super) struct View {
    style: Style,
}

enum Style {
    /// Redraw in place; the number of lines drawn last.
    Live(usize),
    /// One line a second.
    Lines,
    /// Nothing: the summary is for a program.
    Silent,
}

impl View {
    /// A view for standard output; none for `--json`.
    pub(super) fn new(json: bool) -> Self {
        let style = match (json, io::stdout().is_terminal()) {
            (true, _) => Style::Silent,
            (false, true) => Style::Live(0),
            (false, false) => Style::Lines,
        };
        Self { style }
    }

    /// Shows where the run stands. A closed output is no reason to end the run.
    pub(super) fn show(&mut self, progress: &Progress<'_>) {
        let mut out = io::stdout().lock();
        let _ = match &mut self.style {
            Style::Silent => Ok(()),
            Style::Lines => writeln!(out, "{}", line(progress)),
            Style::Live(drawn) => {
                let table = table(progress, height().saturating_sub(OTHER_LINES));
                let up = if *drawn == 0 { String::new() } else { format!("\x1b[{drawn}A\x1b[J") };
                *drawn = table.lines().count();
                out.write_all((up + &table).as_bytes()).and_then(|()| out.flush())
            }
        };
    }
}

fn line(progress: &Progress<'_>) -> String {
    let running: Vec<&Row> = progress.rows.iter().filter(|row| row.running).collect();
    let least = |number: fn(&Row) -> usize| running.iter().map(|row| number(row)).min().unwrap_or(0);
    format!(
        "{:>4.0} s {}: {} nodes, table {}+, peers {}+, transactions {} ({}+ at each), blocks {} ({}+), {}",
        progress.elapsed.as_secs_f64(),
        progress.phase,
        running.len(),
        least(|row| row.table_len),
        least(|row| row.peers),
        progress.entered.0,
        least(|row| row.transactions),
        progress.entered.1,
        least(|row| row.blocks),
        bytes(progress.rows.iter().map(|row| row.bytes).sum()),
    )
}

/// The terminal's height in lines, read each time because a window may change.
fn height() -> usize {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout());
    size.ok().map(|size| usize::from(size.ws_row)).filter(|rows| *rows > 0).unwrap_or(DEFAULT_HEIGHT)
}

/// The table with `max_rows` nodes at most; what is drawn must fit the terminal to be drawn over.
fn table(progress: &Progress<'_>, max_rows: usize) -> String {
    let mut text = format!("{}\nnode  table  peers     txs  blocks       bytes\n", line(progress));
    for (index, row) in progress.rows.iter().take(max_rows).enumerate() {
        let state = if row.running { "" } else { "  stopped" };
        let Row { table_len, peers, transactions, blocks, .. } = row;
        let size = bytes(row.bytes);
        let _ = writeln!(
            text,
            "{index:>4}  {table_len:>5}  {peers:>5}  {transactions:>6}  {blocks:>6}  {size:>10}{state}"
        );
    }
    let hidden = progress.rows.len().saturating_sub(max_rows);
    if hidden > 0 {
        let _ = writeln!(text, " ...  and {hidden} more");
    }
    text
}

fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_the_least_of_the_running_nodes() {
        let row = |running, peers| Row { running, peers, ..Row::default() };
        let rows = [row(true, 5), row(true, 3), row(false, 0)];
        let progress =
            Progress { phase: "gossip", elapsed: Duration::from_secs(2), entered: (7, 1), rows: &rows };
        let line = line(&progress);
        assert!(
            line.contains("2 nodes") && line.contains("peers 3+") && line.contains("transactions 7"),
            "{line}"
        );
        assert!(table(&progress, 3).contains("stopped"));
        let cut = table(&progress, 1);
        assert!(!cut.contains("stopped") && cut.contains("and 2 more") && cut.lines().count() == 4, "{cut}");
    }
}
