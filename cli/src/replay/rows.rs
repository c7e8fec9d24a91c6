//! Masked rows as they were kept: tab-separated text with a line of column names, shown as a small table.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use recording::entry::{Content, Data, Direction};

use crate::screen::{block, count, line};

/// Rows that are shown; all of them are in `-o json`.
const SHOWN_ROWS: usize = 20;
/// Characters of a cell that are shown.
const SHOWN_CHARS: usize = 60;

/// Several lines, without a margin. `named` says that the first line holds names of columns.
pub(super) fn shown(data: &Data, named: bool) -> String {
    let text = match &data.content {
        Content::Text(text) => text,
        Content::Base64(_) => return format!("({} bytes that are not text; see -o json)", data.length),
    };
    let lines: Vec<&str> = text.lines().collect();
    let (shown, rows) = match named && data.direction == Direction::Downstream && data.offset == 0 {
        true => (table(&lines), lines.len().saturating_sub(1)),
        false => (plain(&lines), lines.len()),
    };
    let mut notes = Vec::new();
    if let Some(more) = rows.checked_sub(SHOWN_ROWS).filter(|more| *more > 0) {
        notes.push(format!("… {} more, see -o json", count(u64::try_from(more).unwrap_or(u64::MAX), "row", "rows")));
    }
    if data.truncated {
        notes.push(format!("… cut: the recording keeps the first 64 KiB of {} bytes", data.length));
    }
    notes.into_iter().fold(shown, |text, note| if text.is_empty() { note } else { format!("{text}\n{note}") })
}

fn table(lines: &[&str]) -> String {
    let Some((names, rows)) = lines.split_first() else { return String::new() };
    if names.is_empty() {
        return plain(rows);
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(names.split('\t').map(cell).collect::<Vec<_>>());
    for row in rows.iter().take(SHOWN_ROWS) {
        table.add_row(row.split('\t').map(cell).collect::<Vec<_>>());
    }
    table.trim_fmt()
}

fn plain(lines: &[&str]) -> String {
    let shown: Vec<String> = lines.iter().take(SHOWN_ROWS).map(|l| cut(&block(l), SHOWN_CHARS * 3)).collect();
    shown.join("\n")
}

/// `\N` is how COPY writes NULL.
fn cell(text: &str) -> String {
    if text == "\\N" { "∅".to_owned() } else { cut(&line(text), SHOWN_CHARS) }
}

fn cut(text: &str, chars: usize) -> String {
    if text.chars().nth(chars).is_none() {
        return text.to_owned();
    }
    text.chars().take(chars).chain(['…']).collect()
}
