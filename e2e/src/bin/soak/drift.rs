//! What a row of measurements says: quantiles, and by how much it rises.

use std::time::Duration;

/// Of values in any order; none of none.
pub(crate) fn quantile(values: &[Duration], percent: usize) -> Option<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort();
    sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied()
}

pub(crate) fn median(values: &[Duration]) -> Option<Duration> {
    quantile(values, 50)
}

/// Of the line through the points that lies nearest (least squares), in units of y for one of x. None: of fewer than two.
pub(crate) fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = f64::from(u32::try_from(points.len()).ok()?);
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    (spread > 0.0).then(|| points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope() {
        let near = |slope: Option<f64>, wanted: f64| (slope.unwrap() - wanted).abs() < 1e-9;
        assert!(near(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), 2.0));
        assert!(near(slope(&[(0.0, 1.0), (1.0, 1.0)]), 0.0));
        assert!(slope(&[(1.0, 1.0)]).is_none() && slope(&[]).is_none());
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let all: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(quantile(&all, 99), Some(Duration::from_millis(99)));
        assert_eq!((median(&all), quantile(&[], 99)), (Some(Duration::from_millis(50)), None));
    }
}
