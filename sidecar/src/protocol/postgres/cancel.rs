//! Cancel keys that we minted, and the sessions they belong to.
//!
//! An agent never sees the target's key. A request with a key that is not here is dropped without an answer, as
//! PostgreSQL does; comparing takes the same time wherever keys differ.

use std::collections::HashMap;
use std::sync::Arc;

use pgcodec::backend::KeyData;
use pgcodec::cancel::CancelKey;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub struct CancelKeys {
    sessions: parking_lot::Mutex<HashMap<u32, (CancelKey, Arc<Notify>)>>,
}

/// Keeps a key valid for as long as its session lives.
#[derive(Debug)]
pub struct Registered {
    pid: u32,
    core: Arc<crate::core::Core>,
}

impl CancelKeys {
    /// Whether `pid` is free.
    pub fn is_free(&self, pid: u32) -> bool {
        !self.sessions.lock().contains_key(&pid)
    }

    /// Makes the key valid; `signal` is notified by each request that shows it. `None` if the process id is taken.
    pub fn register(core: &Arc<crate::core::Core>, key: CancelKey, signal: Arc<Notify>) -> Option<Registered> {
        let pid = key.pid();
        let mut sessions = core.cancel_keys.sessions.lock();
        if sessions.contains_key(&pid) {
            return None;
        }
        sessions.insert(pid, (key, signal));
        drop(sessions);
        Some(Registered { pid, core: Arc::clone(core) })
    }

    /// Tells the session that this key belongs to; `false` if there is none.
    pub fn request(&self, shown: &KeyData) -> bool {
        let sessions = self.sessions.lock();
        match sessions.get(&shown.pid) {
            Some((key, signal)) if key.matches(shown) => {
                signal.notify_one();
                true
            }
            _ => false,
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.core.cancel_keys.sessions.lock().remove(&self.pid);
    }
}
