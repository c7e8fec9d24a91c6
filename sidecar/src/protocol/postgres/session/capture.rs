//! Masked rows as they are kept at level Payload: tab-separated text with a line of column names, up to a cap.

use pgcodec::Format;
use pgcodec::backend::{DataRow, RowDescription};
use recording::entry::{Data, Direction};

use super::super::parameter::{Parameter, cell};

#[derive(Debug)]
pub(super) struct Capture {
    cap: usize,
    text: String,
    columns: Vec<(u32, bool)>,
    /// Bytes that were not kept.
    left_out: u64,
}

impl Capture {
    pub(super) fn new(cap: usize) -> Self {
        Self { cap, text: String::new(), columns: Vec::new(), left_out: 0 }
    }

    pub(super) fn columns(&mut self, row: &RowDescription) {
        self.columns = row.fields.iter().map(|f| (f.type_oid, f.format == Format::Binary)).collect();
        let names: Vec<&str> = row.fields.iter().map(|f| f.name.as_str()).collect();
        self.line(&names.join("\t"));
    }

    pub(super) fn row(&mut self, row: &DataRow) {
        if self.text.len() >= self.cap {
            self.left_out = self.left_out.saturating_add(u64::try_from(row.frame().len()).unwrap_or(u64::MAX));
            return;
        }
        let mut cells = Vec::with_capacity(row.len());
        for (index, value) in row.columns().enumerate() {
            let (type_oid, binary) = self.columns.get(index).copied().unwrap_or((0, false));
            cells.push(cell(&Parameter { type_oid, binary, value: value.as_deref() }));
        }
        self.line(&cells.join("\t"));
    }

    /// Data of a COPY TO STDOUT.
    pub(super) fn copy(&mut self, data: &[u8]) {
        if self.text.len() >= self.cap {
            self.left_out = self.left_out.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
            return;
        }
        self.line(String::from_utf8_lossy(data).trim_end_matches('\n'));
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(policy::redact::Redacted::danger_caller_redacted(line).as_str());
        self.text.push('\n');
    }

    /// `None` when there was nothing.
    pub(super) fn into_data(self) -> Option<Data> {
        if self.text.is_empty() {
            return None;
        }
        let mut data = Data::new(Direction::Downstream, 0, self.text.as_bytes());
        if self.left_out > 0 {
            data.truncated = true;
            data.length = data.length.saturating_add(self.left_out);
        }
        Some(data)
    }
}
