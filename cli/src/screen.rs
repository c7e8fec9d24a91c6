//! What reaches the terminal: escaped text, colours where they are wanted, tables.
//!
//! Invariant: whatever came from elsewhere passes [`line()`] or [`block()`] before it is written.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Result;
use clap::{Args, ValueEnum};
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use owo_colors::OwoColorize as _;
use policy::redact::Redacted;
use serde::Serialize;

#[derive(Args)]
pub(crate) struct ScreenOptions {
    /// How to print results.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// Whether to use colours; `auto` does so on a terminal unless NO_COLOR is set.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    color: Color,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Color {
    Auto,
    Always,
    Never,
}

/// What a colour means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Paint {
    Good,
    Waiting,
    Bad,
    Dim,
    Strong,
}

/// Standard output.
#[derive(Debug)]
pub(crate) struct Screen {
    format: Format,
    color: bool,
    color_errors: bool,
    name: String,
    /// What was said, where it goes elsewhere than to the terminal.
    kept: Option<String>,
}

impl Screen {
    pub(crate) fn new(options: &ScreenOptions, name: String) -> Self {
        let wanted = |terminal: bool| match options.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !set("NO_COLOR") && std::env::var("TERM").is_ok_and(|t| t != "dumb"),
        };
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self { format: options.output, color: wanted(out), color_errors: wanted(err), name, kept: None }
    }

    /// One that nobody sees: what is said to it is for [`Screen::take`]. In colour, whatever the terminal is.
    pub(crate) fn unseen() -> Self {
        let kept = Some(String::new());
        Self { format: Format::Text, color: true, color_errors: false, name: String::new(), kept }
    }

    /// What was said since.
    pub(crate) fn take(&mut self) -> String {
        self.kept.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The name we were called by.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// As a plugin of kubectl.
    pub(crate) fn is_plugin(&self) -> bool {
        self.name.starts_with("kubectl ")
    }

    pub(crate) fn json(&self) -> bool {
        self.format == Format::Json
    }

    /// Somebody watches.
    pub(crate) fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// `text` has been escaped where it is not ours.
    pub(crate) fn say(&mut self, text: &str) -> Result<()> {
        if let Some(kept) = &mut self.kept {
            kept.push_str(text);
            kept.push('\n');
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.write_all(b"\n")?;
        Ok(out.flush()?)
    }

    /// One value on one line.
    pub(crate) fn say_json(&mut self, value: &impl Serialize) -> Result<()> {
        let text = escaped_json(serde_json::to_string(value)?);
        self.say(&text)
    }

    /// A remark that is not part of the result.
    pub(crate) fn remark(&self, text: &str) {
        eprintln!("{} {}", self.paint_error("note:", Paint::Waiting), following(text));
    }

    pub(crate) fn paint(&self, text: &str, paint: Paint) -> String {
        if self.color { painted(text, paint) } else { text.to_owned() }
    }

    pub(crate) fn paint_error(&self, text: &str, paint: Paint) -> String {
        if self.color_errors { painted(text, paint) } else { text.to_owned() }
    }

    /// Columns under their headings, as kubectl prints them. Cells are escaped here.
    pub(crate) fn table(&mut self, headings: &[&str], rows: &[Vec<String>]) -> Result<()> {
        let mut table = Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(headings.to_vec());
        for row in rows {
            table.add_row(row.iter().map(|cell| line(cell)).collect::<Vec<_>>());
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        self.say(&table.trim_fmt())
    }
}

fn set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|v| !v.is_empty())
}

fn painted(text: &str, paint: Paint) -> String {
    match paint {
        Paint::Good => text.green().to_string(),
        Paint::Waiting => text.yellow().to_string(),
        Paint::Bad => text.red().bold().to_string(),
        Paint::Dim => text.dimmed().to_string(),
        Paint::Strong => text.bold().to_string(),
    }
}

/// Text on one line: control and bidi characters escaped, line ends and tabs too.
pub(crate) fn line(text: &str) -> String {
    block(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// Text that may have several lines: everything else that could steer a terminal is escaped.
pub(crate) fn block(text: &str) -> String {
    Redacted::danger_caller_redacted(text).as_str().to_owned()
}

/// Text behind a word of ours: a further line of it does not look like one of ours.
pub(crate) fn following(text: &str) -> String {
    block(text).replace('\n', "\n  ")
}

/// Longest run of blanks that stays as it is.
const GAP: usize = 48;

/// What stands behind many blanks of a line would be out of sight: how many there are is said instead.
pub(crate) fn close_gaps(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find(' ') {
        let (before, from) = rest.split_at(start);
        let after = from.trim_start_matches(' ');
        let (blanks, _) = from.split_at(from.len().saturating_sub(after.len()));
        out.push_str(before);
        match blanks.len() {
            0..=GAP => out.push_str(blanks),
            wide => out.push_str(&format!(" ⟪{wide} blanks⟫ ")),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// JSON leaves U+0080 to U+009F and bidi characters as they are; they stand in strings only, so `\uXXXX` means the same.
fn escaped_json(text: String) -> String {
    if block(&text) == text {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if block(c.encode_utf8(&mut [0; 4])).chars().eq([c]) {
            out.push(c);
        } else {
            // Two of them beyond U+FFFF.
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
    }
    out
}

/// Each line of `text` behind `margin`.
pub(crate) fn indent(text: &str, margin: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(|l| format!("{margin}{l}").trim_end().to_owned()).collect();
    lines.join("\n")
}

/// `1 row`, `2 rows`.
pub(crate) fn count(n: u64, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {many}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(line("a\u{1b}[2Jb\nc\td\u{202e}e\u{9b}"), "a\\u{1b}[2Jb\\nc\\td\\u{202e}e\\u{9b}");
        assert_eq!(block("a\nb\r\u{7}"), "a\nb\\u{d}\\u{7}");
        let json = escaped_json(serde_json::to_string("a\u{9b}\u{202e}\u{1b}\n é").unwrap());
        assert_eq!(json, "\"a\\u009b\\u202e\\u001b\\n é\"");
        let tag = "a\u{e0041}1\u{1d173}😀";
        let json = escaped_json(serde_json::to_string(tag).unwrap());
        assert_eq!(json, "\"a\\udb40\\udc411\\ud834\\udd73😀\"");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), tag);
        assert_eq!(indent("a\n\nb", "  "), "  a\n\n  b");
        assert_eq!(following("a\nerror: b\u{7}"), "a\n  error: b\\u{7}");
    }

    #[test]
    fn nothing_is_pushed_out_of_sight() {
        for text in ["", "a", "SELECT 1    FROM t", &format!("a{}b", " ".repeat(GAP))] {
            assert_eq!(close_gaps(text), text);
        }
        let far = format!("UPDATE t SET a = 1 WHERE id = 1{}OR true", " ".repeat(4300));
        assert_eq!(close_gaps(&far), "UPDATE t SET a = 1 WHERE id = 1 ⟪4300 blanks⟫ OR true");
    }
}
