//! Locks, the wake-up and the thread of the writer: those of the system, or under `--cfg shuttle` those of a test that
//! chooses who goes on at each of them.
//!
//! Invariant: with the test's, no wait ends by its time. A wake-up that is lost is then a deadlock, which the test sees.

#[cfg(not(shuttle))]
mod system {
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
    pub(crate) use std::thread::{Builder, JoinHandle};
    use std::time::Instant;

    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};

    /// Waits to be woken; whether the time was over before.
    pub(crate) fn wait_until<T>(wake: &Condvar, guard: &mut MutexGuard<'_, T>, deadline: Instant) -> bool {
        wake.wait_until(guard, deadline).timed_out()
    }
}

#[cfg(shuttle)]
mod scheduled {
    use std::sync::TryLockError;
    use std::time::Instant;

    pub(crate) use shuttle::sync::Condvar;
    pub(crate) use shuttle::sync::atomic::{AtomicU64, Ordering};
    pub(crate) use shuttle::thread::{Builder, JoinHandle};

    /// With the face of `parking_lot`.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

    /// Empty only while it waits to be woken.
    pub(crate) struct MutexGuard<'a, T>(Option<shuttle::sync::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())))
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            match self.0.try_lock() {
                Ok(guard) => Some(MutexGuard(Some(guard))),
                Err(TryLockError::Poisoned(poisoned)) => Some(MutexGuard(Some(poisoned.into_inner()))),
                Err(TryLockError::WouldBlock) => None,
            }
        }
    }

    #[expect(clippy::expect_used, reason = "a test fails by panicking, and no other build has this")]
    impl<T> std::ops::Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().expect("it waits")
        }
    }

    #[expect(clippy::expect_used, reason = "a test fails by panicking, and no other build has this")]
    impl<T> std::ops::DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("it waits")
        }
    }

    pub(crate) fn wait_until<T>(wake: &Condvar, guard: &mut MutexGuard<'_, T>, _deadline: Instant) -> bool {
        guard.0 = guard.0.take().map(|held| wake.wait(held).unwrap_or_else(|poisoned| poisoned.into_inner()));
        false
    }
}

#[cfg(shuttle)]
pub(crate) use scheduled::{AtomicU64, Builder, Condvar, JoinHandle, Mutex, Ordering, wait_until};
#[cfg(not(shuttle))]
pub(crate) use system::{AtomicU64, Builder, Condvar, JoinHandle, Mutex, Ordering, wait_until};
