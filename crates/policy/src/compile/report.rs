//! Collects what is wrong, so that one run tells all of it.

use crate::compile::{CompileError, Warning};

#[derive(Debug, Default)]
pub(super) struct Report {
    object: String,
    errors: Vec<CompileError>,
    warnings: Vec<Warning>,
}

impl Report {
    /// What follows is about this object.
    pub(super) fn object(&mut self, kind: &str, namespace: &str, name: &str) {
        self.object = match (namespace, name) {
            ("", "") => kind.to_owned(),
            ("", name) => format!("{kind} {}", shown(name)),
            (namespace, name) => format!("{kind} {}/{}", shown(namespace), shown(name)),
        };
    }

    pub(super) fn error(&mut self, path: &str, text: &str) {
        self.errors.push(CompileError { object: self.object.clone(), path: path.to_owned(), text: text.to_owned() });
    }

    pub(super) fn warn(&mut self, path: &str, text: &str) {
        self.warning(path, text, false);
    }

    /// What another set of objects beside this one would not give cause to.
    pub(super) fn warn_of_others(&mut self, path: &str, text: &str) {
        self.warning(path, text, true);
    }

    fn warning(&mut self, path: &str, text: &str, of_others: bool) {
        let (path, text) = (path.to_owned(), text.to_owned());
        self.warnings.push(Warning { object: self.object.clone(), path, text, of_others });
    }

    /// Sorted, so that the order of the input shows nowhere.
    pub(super) fn finish(mut self) -> (Vec<CompileError>, Vec<Warning>) {
        self.errors.sort();
        self.warnings.sort();
        (self.errors, self.warnings)
    }
}

/// Something a user wrote, for a message: at most 64 characters, control characters escaped.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}
