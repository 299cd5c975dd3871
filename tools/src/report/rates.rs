// SPDX-License-Identifier: GPL-2.0

//! How many frames come when, and when none does.

use super::timeline::Span;

/// How many of these moments are in each of `count` bins, which are `width` seconds wide and begin at
/// `from`.
pub fn bins(times: &[f64], from: f64, width: f64, count: usize) -> Vec<u32> {
    let mut bins = vec![0; count];
    for at in times.iter().filter(|at| **at >= from) {
        if let Some(bin) = bins.get_mut(((at - from) / width) as usize) {
            *bin += 1;
        }
    }
    bins
}

/// The longest time without any of these moments, which are in order, that lies within some time at least in
/// part. Where there is none before that time or after it, its own ends count.
pub fn longest_gap(times: &[f64], within: Span) -> Span {
    let first = times.partition_point(|at| *at <= within.from);
    let last = times.partition_point(|at| *at < within.to);
    let before = first.checked_sub(1).map_or(within.from, |index| times[index]);
    let after = times.get(last).copied().unwrap_or(within.to);
    let inside = times.get(first..last).unwrap_or_default().iter().copied();
    let mut longest = Span { from: before, to: before };
    let mut previous = before;
    for at in inside.chain([after]) {
        let gap = Span { from: previous, to: at };
        if gap.length() > longest.length() {
            longest = gap;
        }
        previous = at;
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_moment_is_in_one_bin() {
        let times = [0.9, 1.0, 1.004, 1.0099, 1.01, 1.025, 1.03, 1.2];
        assert_eq!(bins(&times, 1.0, 0.01, 3), [3, 1, 1]);
        assert_eq!(bins(&times, 5.0, 0.01, 2), [0, 0]);
        assert_eq!(bins(&times, 0.0, 1.0, 2), [1, 7]);
    }

    #[test]
    fn gap_is_the_longest_that_reaches_into_the_time() {
        let times = [1.0, 1.1, 1.5, 1.6, 2.6, 2.7];
        let gap = |from, to| {
            let gap = longest_gap(&times, Span { from, to });
            (gap.from, gap.to)
        };
        assert_eq!(gap(1.0, 1.6), (1.1, 1.5));
        assert_eq!(gap(1.2, 1.3), (1.1, 1.5));
        assert_eq!(gap(1.55, 2.65), (1.6, 2.6));
        assert_eq!(gap(1.5, 1.6), (1.5, 1.6));
    }

    #[test]
    fn device_that_stops_for_good_has_a_gap_until_the_end() {
        let gap = |times: &[f64]| longest_gap(times, Span { from: 1.0, to: 9.0 });
        assert_eq!(gap(&[0.5, 1.5, 2.0]), Span { from: 2.0, to: 9.0 });
        assert_eq!(gap(&[8.0, 9.5]), Span { from: 1.0, to: 8.0 });
        assert_eq!(gap(&[]), Span { from: 1.0, to: 9.0 });
    }
}
