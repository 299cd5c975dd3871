// SPDX-License-Identifier: GPL-2.0

//! Where the labels of marks go, so that none covers another one or its line.
//!
//! A label stands to the right of a line that goes down to its mark. Where the line of a later mark would
//! cross it, it stands a level higher than the label of that one.

use super::timeline::Mark;

/// The label of a mark, or of several that are too near each other to be told apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// How far to the right its line is.
    pub at: i32,
    /// What it says.
    pub text: String,
    /// How many levels of labels are below it.
    pub level: i32,
}

/// How marks become labels; lengths are in whatever is drawn with.
pub struct Rule<'a> {
    /// Where a moment is.
    pub place: &'a dyn Fn(f64) -> i32,
    /// How far marks are from each other that can be told apart. Nearer ones share a label if there is room.
    pub apart: i32,
    /// How wide a label is with that text, with its line and what it keeps free.
    pub width: &'a dyn Fn(&str) -> i32,
    /// Where there is no more room for labels.
    pub end: i32,
}

/// The labels of marks that are in the order of time, from left to right.
pub fn place(marks: &[Mark], rule: &Rule<'_>) -> Vec<Label> {
    let mut labels: Vec<Label> = Vec::new();
    for mark in marks {
        let at = (rule.place)(mark.at);
        if let Some(last) = labels.last_mut().filter(|last| at - last.at < rule.apart) {
            let both = format!("{}, {}", last.text, mark.name);
            if last.at + (rule.width)(&both) <= rule.end {
                last.text = both;
                continue;
            }
        }
        labels.push(Label { at, text: mark.name.clone(), level: 0 });
    }
    for index in (0..labels.len()).rev() {
        let end = labels[index].at + (rule.width)(&labels[index].text);
        let crossed = labels[index + 1..].iter().take_while(|other| other.at < end);
        labels[index].level = levels(crossed);
    }
    labels
}

/// How many levels labels take.
pub fn levels<'a>(labels: impl IntoIterator<Item = &'a Label>) -> i32 {
    labels.into_iter().map(|label| label.level + 1).max().unwrap_or(0)
}

/// How far to the right labels reach.
pub fn reach(labels: &[Label], width: &dyn Fn(&str) -> i32) -> i32 {
    labels.iter().map(|label| label.at + width(&label.text)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::made_up::collisions;
    use super::*;

    /// Places marks in 20 columns.
    fn labels(marks: &[(i32, &str)], apart: i32) -> Vec<(i32, String, i32)> {
        let mark = |(at, name): &(i32, &str)| Mark { at: f64::from(*at), name: (*name).to_owned() };
        let marks: Vec<Mark> = marks.iter().map(mark).collect();
        let width = |text: &str| text.len() as i32 + 1;
        let rule = Rule { place: &|at| at as i32, apart, width: &width, end: 20 };
        let labels = place(&marks, &rule);
        assert_eq!(collisions(&labels, &width), [""; 0]);
        labels.into_iter().map(|label| (label.at, label.text, label.level)).collect()
    }

    #[test]
    fn label_with_room_is_at_the_bottom() {
        let found = labels(&[(0, "four"), (5, "five"), (10, "x")], 1);
        assert_eq!(found, [(0, "four".into(), 0), (5, "five".into(), 0), (10, "x".into(), 0)]);
    }

    #[test]
    fn label_is_above_those_whose_lines_would_cross_it() {
        let found = labels(&[(0, "long one"), (3, "a"), (6, "bb"), (8, "c")], 1);
        let levels: Vec<i32> = found.iter().map(|(_, _, level)| *level).collect();
        assert_eq!(levels, [2, 0, 1, 0]);
    }

    #[test]
    fn marks_that_are_too_near_share_a_label() {
        let found = labels(&[(1, "a"), (2, "b"), (4, "c")], 2);
        assert_eq!(found, [(1, "a, b".into(), 1), (4, "c".into(), 0)]);
    }

    #[test]
    fn marks_that_are_too_near_have_their_own_labels_where_there_is_no_room() {
        let found = labels(&[(11, "one"), (11, "two"), (12, "three")], 2);
        assert_eq!(found, [(11, "one, two".into(), 1), (12, "three".into(), 0)]);
        let found = labels(&[(13, "one"), (13, "two")], 2);
        assert_eq!(found, [(13, "one".into(), 1), (13, "two".into(), 0)]);
    }

    #[test]
    fn collisions_are_found() {
        let width = |_: &str| 7;
        let label = |at, level| Label { at, text: String::new(), level };
        let two = |one, other| collisions(&[label(0, one), label(3, other)], &width).len();
        assert_eq!([two(0, 0), two(0, 1), two(1, 0)], [1, 1, 0]);
        assert_eq!(collisions(&[label(0, 0), label(7, 0)], &width).len(), 0);
    }

    #[test]
    fn labels_take_as_much_as_the_highest_and_the_farthest() {
        let label = |at, level| Label { at, text: String::new(), level };
        assert_eq!(levels(&[label(0, 1), label(3, 0)]), 2);
        assert_eq!(reach(&[label(0, 1), label(3, 0)], &|_| 7), 10);
        assert_eq!((levels(&[]), reach(&[], &|_| 7)), (0, 0));
    }
}
