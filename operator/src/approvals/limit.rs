//! How often one pod may ask: a bucket of tokens for each, and a bound on the buckets.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Pods that are remembered at once. Full buckets are forgotten first: they say nothing.
const PODS: usize = 16_384;

#[derive(Debug)]
pub(super) struct Limit {
    burst: u32,
    /// Between two tokens.
    every: Duration,
    pods: Mutex<HashMap<String, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    /// When the last token came.
    since: Instant,
}

// === impl Limit ===

impl Limit {
    pub(super) fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, pods: Mutex::default() }
    }

    /// Takes a token of this pod, if there is one.
    pub(super) fn take(&self, pod: &str, now: Instant) -> bool {
        let mut pods = self.pods.lock();
        if pods.len() >= PODS && !pods.contains_key(pod) {
            for bucket in pods.values_mut() {
                self.fill(bucket, now);
            }
            pods.retain(|_, bucket| bucket.tokens < self.burst);
            if pods.len() >= PODS {
                return false;
            }
        }
        let bucket = pods.entry(pod.to_owned()).or_insert(Bucket { tokens: self.burst, since: now });
        self.fill(bucket, now);
        match bucket.tokens.checked_sub(1) {
            Some(rest) => {
                bucket.tokens = rest;
                true
            }
            None => false,
        }
    }

    fn fill(&self, bucket: &mut Bucket, now: Instant) {
        let passed = now.saturating_duration_since(bucket.since);
        let came = passed.as_nanos().checked_div(self.every.as_nanos()).unwrap_or_default();
        let came = u32::try_from(came).unwrap_or(u32::MAX);
        if bucket.tokens.saturating_add(came) >= self.burst {
            *bucket = Bucket { tokens: self.burst, since: now };
        } else if came > 0 {
            bucket.tokens = bucket.tokens.saturating_add(came);
            bucket.since = bucket.since.checked_add(self.every.saturating_mul(came)).unwrap_or(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pod_has_its_own_and_gets_it_back() {
        let limit = Limit::new(2, Duration::from_secs(10));
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        assert!(limit.take("a", begin) && limit.take("a", begin) && !limit.take("a", begin));
        assert!(limit.take("b", begin));
        assert!(!limit.take("a", after(9)));
        assert!(limit.take("a", after(10)) && !limit.take("a", after(19)) && limit.take("a", after(20)));
        // Never more than the burst.
        assert!(limit.take("a", after(900)) && limit.take("a", after(900)) && !limit.take("a", after(900)));
    }

    #[test]
    fn there_is_a_bound_on_what_is_remembered() {
        let limit = Limit::new(1, Duration::from_secs(10));
        let begin = Instant::now();
        assert!((0..PODS).all(|pod| limit.take(&pod.to_string(), begin)));
        assert!(!limit.take("one more", begin));
        assert!(limit.take("one more", begin + Duration::from_secs(10)));
        assert_eq!(limit.pods.lock().len(), 1);
    }
}
