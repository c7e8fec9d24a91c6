//! Whose panics: `pgsql` turns those of the parser's accessors into refusals, and would hide its own with them.

use std::cell::RefCell;
use std::panic;

thread_local! {
    static OURS: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Takes the place of a hook that ends the process at any panic, as a fuzzer's does.
pub(crate) fn watch() {
    let print = panic::take_hook();
    drop(print);
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        if !place.contains("pg_raw_parse") {
            eprintln!("{info}");
            OURS.with(|ours| *ours.borrow_mut() = Some(place));
        }
    }));
}

/// Where something of ours panicked since this was asked last.
pub(super) fn ours() -> Option<String> {
    OURS.with(|ours| ours.borrow_mut().take())
}
