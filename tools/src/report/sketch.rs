// SPDX-License-Identifier: GPL-2.0

//! The plot of a run for a terminal.

use super::labels::{self, Label, Rule};
use super::rates::bins;
use super::timeline::{Mark, Timeline};

/// How wide a column may be, in milliseconds.
const WIDTHS: [u32; 14] = [10, 20, 50, 100, 150, 200, 250, 300, 400, 500, 750, 1000, 2000, 5000];

/// How many seconds may be between two numbers below the axis.
const STEPS: [u32; 7] = [1, 2, 5, 10, 20, 50, 100];

/// How many columns there are at least between two numbers.
const APART: f64 = 6.0;

/// How many columns marks are from each other that have labels of their own.
const MARKS_APART: i32 = 2;

/// How many columns a label keeps free.
const FREE: i32 = 2;

/// How few columns are drawn in, even if there are less.
const FEWEST: usize = 60;

/// How high the bars are, in lines.
const HEIGHT: u32 = 5;

/// Bars of so many eighths of a line.
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// How many columns are left of the axis, which has one itself.
const LEFT: usize = 6;

/// A terminal's line, which grows as it is written to.
#[derive(Clone, Default)]
struct Row(Vec<char>);

impl Row {
    fn put(&mut self, at: usize, text: &str) {
        let end = at + text.chars().count();
        if self.0.len() < end {
            self.0.resize(end, ' ');
        }
        for (place, letter) in self.0[at..].iter_mut().zip(text.chars()) {
            *place = letter;
        }
    }

    fn line(&self) -> String {
        self.0.iter().collect::<String>().trim_end().to_owned()
    }
}

/// How many columns a label takes: its corner, its text, and some that are free.
fn width(text: &str) -> i32 {
    text.chars().count() as i32 + 2 + FREE
}

/// The lines of the plot, in so many columns, if there was ever a frame.
pub fn lines(timeline: &Timeline, columns: usize) -> Vec<String> {
    let Some(span) = timeline.span() else {
        return Vec::new();
    };
    let marks: Vec<Mark> =
        timeline.updates.iter().flat_map(|update| update.marks.clone()).collect();
    let room = columns.max(FEWEST) - LEFT - 1;
    let at_width = |millis: u32| {
        let bin = f64::from(millis) / 1e3;
        let count = (span.length() / bin) as usize + 1;
        let place = |at: f64| ((at - span.from) / bin) as i32;
        // The columns that a label keeps free may be beyond the edge.
        let end = room as i32 + FREE;
        let rule = Rule { place: &place, apart: MARKS_APART, width: &width, end };
        (bin, count, labels::place(&marks, &rule))
    };
    let fits = |(_, count, labels): &(f64, usize, Vec<Label>)| {
        *count <= room && labels::reach(labels, &width) <= room as i32 + FREE
    };
    let drawn = WIDTHS.into_iter().map(at_width).find(fits);
    let (bin, count, labels) = drawn.unwrap_or_else(|| at_width(WIDTHS[WIDTHS.len() - 1]));
    let frames = bins(&timeline.frames.written, span.from, bin, count);

    let mut text =
        vec![format!("frames that the device wrote per {:.0} ms, over seconds", bin * 1e3)];
    let levels = labels::levels(&labels);
    text.extend((0..levels).rev().map(|level| label_row(&labels, level).line()));
    text.extend(bars(&frames).iter().map(Row::line));
    text.extend(axis(bin, count).iter().map(Row::line));
    text
}

/// The labels of a level, and the lines of those above it.
fn label_row(labels: &[Label], level: i32) -> Row {
    let mut row = Row::default();
    // From the left, as the line of a label may go on where another one begins.
    for label in labels.iter().filter(|label| label.level >= level) {
        let at = LEFT + 1 + label.at.max(0) as usize;
        let goes_on = labels.iter().any(|other| other.at == label.at && other.level > level);
        match (label.level == level, goes_on) {
            (false, _) => row.put(at, "│"),
            (true, false) => row.put(at, &format!("┌ {}", label.text)),
            (true, true) => row.put(at, &format!("├ {}", label.text)),
        }
    }
    row
}

/// The bars, with how many frames they stand for left of them.
fn bars(frames: &[u32]) -> Vec<Row> {
    let most = frames.iter().copied().max().unwrap_or(0).max(1);
    let lines = (0..HEIGHT).rev().map(|line| {
        let mut row = Row::default();
        let number = if line + 1 == HEIGHT { most.to_string() } else { String::new() };
        row.put(0, &format!("{number:>5} ┤"));
        for (column, count) in frames.iter().enumerate() {
            // Whatever is more than nothing is seen.
            let eighths = (count * 8 * HEIGHT).div_ceil(most);
            let here = eighths.saturating_sub(8 * line).min(8);
            row.put(LEFT + 1 + column, &EIGHTHS[here as usize].to_string());
        }
        row
    });
    lines.collect()
}

/// The axis of time, and the seconds below it.
fn axis(bin: f64, count: usize) -> [Row; 2] {
    let mut rows = [Row::default(), Row::default()];
    rows[0].put(0, &format!("{:>5} └{}", 0, "─".repeat(count)));
    let step = STEPS.into_iter().find(|step| f64::from(*step) / bin >= APART);
    let step = f64::from(step.unwrap_or(STEPS[STEPS.len() - 1]));
    let place = |number: i32| (f64::from(number) * step / bin) as usize;
    for number in (0..).take_while(|number| place(*number) < count) {
        let at = LEFT + 1 + place(number);
        rows[0].put(at, "┴");
        let unit = if number == 0 { " s" } else { "" };
        rows[1].put(at, &format!("{:.0}{unit}", f64::from(number) * step));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::super::made_up::twice;
    use super::*;

    fn drawn(columns: usize) -> Vec<String> {
        lines(&Timeline::of(&twice()), columns)
    }

    #[test]
    fn every_mark_has_its_label_at_any_width() {
        for columns in [60, 80, 100, 132, 250] {
            let text = drawn(columns);
            let longest = text.iter().map(|line| line.chars().count()).max();
            assert!(longest.is_some_and(|longest| longest <= columns), "{columns}: {longest:?}");
            let all = text.join("\n");
            for name in ["last line of kernel 1", "first line of kernel 3"] {
                assert_eq!(all.matches(name).count(), 1, "{name}:\n{all}");
            }
            for name in ["jump", "retrieve", "bind", "attach", "replace", "finish"] {
                assert_eq!(all.matches(name).count(), 2, "{name}:\n{all}");
            }
        }
    }

    #[test]
    fn wider_terminal_has_narrower_columns() {
        assert_eq!(drawn(80)[0], "frames that the device wrote per 300 ms, over seconds");
        assert_eq!(drawn(132)[0], "frames that the device wrote per 200 ms, over seconds");
        assert_eq!(drawn(20)[0], "frames that the device wrote per 500 ms, over seconds");
    }

    #[test]
    fn bars_have_room_even_if_there_is_no_mark() {
        let mut timeline = Timeline::of(&twice());
        timeline.updates.clear();
        let text = lines(&timeline, 80);
        assert_eq!(text[0], "frames that the device wrote per 300 ms, over seconds");
        assert!(text.iter().all(|line| line.chars().count() <= 80), "{text:#?}");
    }

    #[test]
    fn bars_are_as_high_as_there_are_frames() {
        let text: Vec<String> = bars(&[0, 1, 40, 80]).iter().map(Row::line).collect();
        assert_eq!(
            text,
            ["   80 ┤   █", "      ┤   █", "      ┤  ▄█", "      ┤  ██", "      ┤ ▁██"]
        );
    }

    #[test]
    fn seconds_are_where_they_are_in_the_bars() {
        let text: Vec<String> = axis(0.25, 12).iter().map(Row::line).collect();
        assert_eq!(text, ["    0 └┴───────┴───", "       0 s     2"]);
    }

    #[test]
    fn labels_stand_on_their_lines() {
        let label = |at, text: &str, level| Label { at, text: text.to_owned(), level };
        let labels = [label(0, "a", 1), label(3, "b", 1), label(3, "c", 0)];
        assert_eq!(label_row(&labels, 1).line(), "       ┌ a┌ b");
        assert_eq!(label_row(&labels, 0).line(), "       │  ├ c");
    }

    #[test]
    fn run_without_frames_has_no_plot() {
        assert_eq!(lines(&Timeline::default(), 80), [""; 0]);
    }
}
