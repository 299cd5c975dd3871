// SPDX-License-Identifier: GPL-2.0

//! The plot of a run as a picture: an SVG file.
//!
//! It has a row for the time before the first live update, and one for each live update. A bin has the same
//! whole number of pixels in all rows, so that lengths in them can be compared, and a bin without a frame is
//! seen. Colors are those of a light background; a style sheet has others for a dark one.

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;

use super::labels::{self, Label, Rule};
use super::rates::{bins, longest_gap};
use super::timeline::{Mark, Span, Timeline, Update};
use crate::judges::BothEnds;

/// How wide a bin is, in seconds.
const BIN: f64 = 0.01;

/// How many pixels the bins of the longest row take at least, if one pixel each is not more.
const WIDE: usize = 900;

/// How many seconds a row begins before its live update, and ends after it.
const AROUND: f64 = 0.3;

/// The sizes of text, and of what surrounds the bars of a row, in pixels.
const TITLE: i32 = 24;
const TEXT: i32 = 16;
const MARGIN: i32 = 12;
const LEFT: i32 = 72;
const RIGHT: i32 = 24;
const BARS: i32 = 110;
const BELOW: i32 = 46;
const LEVEL: i32 = 19;
const ROW_TITLE: i32 = 34;
const ROW_GAP: i32 = 18;
const HEAD: i32 = 78;

/// How many pixels marks are from each other that can be told apart.
const MARKS_APART: i32 = 4;

/// A color on a light background, and what takes its place on a dark one.
struct Ink {
    light: RGBColor,
    dark: RGBColor,
}

const PAPER: Ink = Ink { light: RGBColor(255, 255, 255), dark: RGBColor(21, 24, 28) };
const WRITING: Ink = Ink { light: RGBColor(31, 35, 40), dark: RGBColor(230, 230, 230) };
const GRID: Ink = Ink { light: RGBColor(228, 231, 235), dark: RGBColor(48, 54, 61) };
const FRAMES: Ink = Ink { light: RGBColor(47, 101, 179), dark: RGBColor(122, 167, 232) };
const STILL: Ink = Ink { light: RGBColor(214, 236, 214), dark: RGBColor(35, 64, 42) };
const SILENCE: Ink = Ink { light: RGBColor(248, 226, 164), dark: RGBColor(84, 69, 24) };
const GAP: Ink = Ink { light: RGBColor(207, 34, 46), dark: RGBColor(255, 123, 114) };
const LINE: Ink = Ink { light: RGBColor(110, 119, 129), dark: RGBColor(139, 148, 158) };
const INKS: [Ink; 8] = [PAPER, WRITING, GRID, FRAMES, STILL, SILENCE, GAP, LINE];

/// What colors of areas mean.
const LEGEND: [(Ink, &str); 4] = [
    (FRAMES, "frames"),
    (STILL, "nothing happens to the device"),
    (SILENCE, "from the last line of a kernel to the first of the next"),
    (GAP, "the longest gap of a row"),
];

/// Where something is drawn.
type Drawing<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// One row of the picture, in bins since the first frame.
#[derive(Debug, PartialEq)]
struct Row {
    title: String,
    from: usize,
    to: usize,
    marks: Vec<Mark>,
    shades: Vec<(RGBColor, Span)>,
}

/// The measures of the picture.
struct Layout {
    /// When the first frame was.
    start: f64,
    /// How many pixels a bin has.
    pixels: i32,
    rows: Vec<(Row, Vec<Label>)>,
    width: i32,
    height: i32,
}

/// How wide a text is at most, with what it keeps free. Sizes are those of lines, not of letters.
fn width(text: &str) -> i32 {
    text.chars().count() as i32 * TEXT / 2 + 10
}

/// Draws the picture, if there was ever a frame.
pub fn draw(timeline: &Timeline) -> Result<Option<String>> {
    let Some(layout) = Layout::of(timeline) else {
        return Ok(None);
    };
    let mut svg = String::new();
    let size = (layout.width.unsigned_abs(), layout.height.unsigned_abs());
    let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    area.fill(&PAPER.light)?;
    write(&area, "What a device wrote during live updates", (LEFT, 12), TITLE)?;
    draw_legend(&area)?;
    let mut top = HEAD;
    for (row, labels) in &layout.rows {
        let bars = top + ROW_TITLE + labels::levels(labels) * LEVEL;
        write(&area, &row.title, (LEFT, top + 8), TEXT + 2)?;
        draw_bars(&area, &layout, row, bars, &timeline.frames.written)?;
        for label in labels {
            draw_label(&area, label, bars)?;
        }
        top = bars + BARS + BELOW + ROW_GAP;
    }
    area.present()?;
    drop(area);
    Ok(Some(with_style(&svg)))
}

impl Row {
    fn of_update(timeline: &Timeline, update: &Update, start: f64, end: f64) -> Option<Self> {
        let (first, last) = (update.marks.first()?.at, update.marks.last()?.at);
        let is_last = timeline.updates.last().is_some_and(|last| last.number == update.number);
        // What comes after the last live update belongs to it.
        let last = update.span.map_or(last, |span| span.to) + AROUND;
        let last = if is_last { last.max(end) } else { last };
        let within = update.span.unwrap_or(Span { from: first, to: end });
        let name = format!("Live update {}", update.number);
        let (title, gap) = titled(&name, &timeline.frames, within);
        let silence = update.silence.map(|silence| (SILENCE.light, silence));
        Some(Self {
            title,
            from: bin((first - AROUND).max(start), start),
            to: bin(last, start) + 1,
            marks: update.marks.clone(),
            shades: silence.into_iter().chain([(GAP.light, gap)]).collect(),
        })
    }
}

impl Layout {
    fn of(timeline: &Timeline) -> Option<Self> {
        let Span { from: start, to: end } = timeline.span()?;
        let mut rows = Vec::new();
        let before = timeline.updates.first().and_then(|update| update.marks.first());
        let before = before.map_or(end, |mark| mark.at);
        let idle = timeline.idle.map(|idle| (STILL.light, idle));
        let within = timeline.idle.unwrap_or(Span { from: start, to: before });
        let name = if idle.is_some() { "Idle" } else { "Before" };
        let (title, gap) = titled(name, &timeline.frames, within);
        rows.push(Row {
            title,
            from: 0,
            to: bin(before, start) + 1,
            marks: Vec::new(),
            shades: idle.into_iter().chain([(GAP.light, gap)]).collect(),
        });
        let updates = timeline.updates.iter();
        rows.extend(updates.filter_map(|update| Row::of_update(timeline, update, start, end)));
        let longest = rows.iter().map(|row| row.to - row.from).max()?;
        let pixels = WIDE.div_ceil(longest) as i32;
        let legend = legend_places().last().map_or(0, |(at, text)| at + 18 + width(text));
        let titles = rows.iter().map(|row| LEFT + width(&row.title)).max()?;
        let labelled = |row: Row| {
            let place = |at| LEFT + (bin(at, start) as i32 - row.from as i32) * pixels;
            let rule = Rule { place: &place, apart: MARKS_APART, width: &width, end: i32::MAX };
            let labels = labels::place(&row.marks, &rule);
            (row, labels)
        };
        let rows: Vec<(Row, Vec<Label>)> = rows.into_iter().map(labelled).collect();
        let heights = rows
            .iter()
            .map(|(_, l)| ROW_TITLE + labels::levels(l) * LEVEL + BARS + BELOW + ROW_GAP);
        let reach = rows.iter().map(|(_, labels)| labels::reach(labels, &width)).max()?;
        let bars = LEFT + longest as i32 * pixels + RIGHT;
        let width = bars.max(legend).max(titles).max(reach);
        Some(Self { start, pixels, width, height: HEAD + heights.sum::<i32>(), rows })
    }
}

/// The bin that a moment is in, the first of which is at `start`.
fn bin(at: f64, start: f64) -> usize {
    ((at - start) / BIN).max(0.0) as usize
}

/// A title with how long gaps are within some time, and the gap of the device.
fn titled(what: &str, frames: &BothEnds, within: Span) -> (String, Span) {
    let [written, sent] = [&frames.written, &frames.sent].map(|times| longest_gap(times, within));
    let [ms, sent_ms] = [written, sent].map(|gap| gap.length() * 1e3);
    let title = format!(
        "{what}: longest gap between two frames written {ms:.1} ms, between two sent {sent_ms:.1} ms"
    );
    (title, written)
}

fn write(area: &Drawing<'_>, text: &str, at: (i32, i32), size: i32) -> Result<()> {
    let style = ("sans-serif", size).into_font().color(&WRITING.light);
    area.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}

/// Where the parts of the legend are.
fn legend_places() -> impl Iterator<Item = (i32, &'static str)> {
    LEGEND.iter().scan(LEFT, |at, (_, text)| {
        let here = *at;
        *at += 18 + width(text) + 12;
        Some((here, *text))
    })
}

fn draw_legend(area: &Drawing<'_>) -> Result<()> {
    for ((at, text), (ink, _)) in legend_places().zip(&LEGEND) {
        area.draw(&Rectangle::new([(at, 47), (at + 12, 59)], ink.light.filled()))?;
        write(area, text, (at + 18, 47), TEXT)?;
    }
    Ok(())
}

/// A label above the bars, which begin at `bars`, and its line through them.
fn draw_label(area: &Drawing<'_>, label: &Label, bars: i32) -> Result<()> {
    let top = bars - (label.level + 1) * LEVEL;
    area.draw(&PathElement::new([(label.at, top), (label.at, bars + BARS)], LINE.light))?;
    write(area, &label.text, (label.at + 5, top), TEXT)
}

/// The bars of a row with their axes; the bars begin at `top`.
fn draw_bars(
    area: &Drawing<'_>,
    layout: &Layout,
    row: &Row,
    top: i32,
    written: &[f64],
) -> Result<()> {
    let count = row.to - row.from;
    let begins = row.from as f64 * BIN;
    let frames = bins(written, layout.start + begins, BIN, count);
    let most = f64::from(frames.iter().copied().max().unwrap_or(0) + 1);
    let seconds = begins..row.to as f64 * BIN;
    let wide = count as i32 * layout.pixels;
    // The last pixel is that of the end.
    let right = layout.width - LEFT - wide - 1;
    let bottom = layout.height - top - BARS - BELOW;
    let mut chart = ChartBuilder::on(&area.margin(top, bottom, MARGIN, right))
        .x_label_area_size(BELOW)
        .y_label_area_size(LEFT - MARGIN)
        .build_cartesian_2d(seconds.clone(), 0.0..most)?;
    let shade = |(color, span): &(RGBColor, Span)| {
        let inside = |at: f64| (at - layout.start).clamp(seconds.start, seconds.end);
        let corners = [(inside(span.from), 0.0), (inside(span.to), most)];
        Rectangle::new(corners, color.filled())
    };
    chart.draw_series(row.shades.iter().map(shade))?;
    let writing = ("sans-serif", TEXT).into_font().color(&WRITING.light);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID.light)
        .axis_style(LINE.light)
        .x_labels((wide / 70).max(2) as usize)
        .y_labels(4)
        .x_label_formatter(&|at| format!("{at:.1}"))
        .y_label_formatter(&|count| format!("{count:.0}"))
        .label_style(writing.clone())
        .axis_desc_style(writing)
        .x_desc("seconds since the first frame")
        .y_desc("frames per 10 ms")
        .draw()?;
    chart.draw_series(runs(&frames).map(|(from, to, frames)| {
        let at = |bin: usize| begins + bin as f64 * BIN;
        let corners = [(at(from), 0.0), (at(to), f64::from(frames))];
        Rectangle::new(corners, FRAMES.light.filled())
    }))?;
    Ok(())
}

/// Bins next to each other that have as many frames, if they have any: the first one, that behind the last
/// one, and how many each has.
fn runs(frames: &[u32]) -> impl Iterator<Item = (usize, usize, u32)> {
    let mut from = 0;
    let chunks = frames.chunk_by(|one, other| one == other).map(move |chunk| {
        let begin = from;
        from += chunk.len();
        (begin, from, chunk[0])
    });
    chunks.filter(|(_, _, frames)| *frames > 0)
}

/// The picture with its style sheet, which has the colors for a dark background.
fn with_style(svg: &str) -> String {
    let hex = |RGBColor(red, green, blue)| format!("#{red:02X}{green:02X}{blue:02X}");
    let rule = |Ink { light, dark }: &Ink| {
        let (light, dark) = (hex(*light), hex(*dark));
        format!("[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}")
    };
    let rules: String = INKS.iter().map(rule).collect();
    let style = format!("<style>@media (prefers-color-scheme:dark){{{rules}}}</style>");
    // At the beginning of the first element.
    let end = svg.find("<svg").and_then(|at| Some(at + svg[at..].find('>')? + 1)).unwrap_or(0);
    format!("{}\n{style}{}", &svg[..end], &svg[end..])
}

#[cfg(test)]
mod tests {
    use super::super::made_up::{collisions, twice};
    use super::*;

    fn layout() -> Layout {
        Layout::of(&Timeline::of(&twice())).expect("a layout")
    }

    #[test]
    fn rows_follow_each_other_without_a_hole() {
        let layout = layout();
        let ends: Vec<_> = layout.rows.iter().map(|(row, _)| (row.from, row.to)).collect();
        // Frames come from 1.0 to 21.0; live updates begin at 5.25 and 12.6.
        assert_eq!(ends, [(0, 426), (395, 1181), (1129, 2000)]);
        let titles: Vec<&str> = layout.rows.iter().map(|(row, _)| &*row.title).collect();
        assert_eq!(
            titles[0],
            "Idle: longest gap between two frames written 10.0 ms, between two sent 10.0 ms"
        );
        assert_eq!(
            titles[2],
            "Live update 2: longest gap between two frames written 59.5 ms, between two sent 10.0 ms"
        );
    }

    #[test]
    fn labels_cover_nothing_and_are_in_the_picture() {
        let layout = layout();
        for (row, labels) in &layout.rows {
            assert_eq!(collisions(labels, &width), [""; 0]);
            assert!(labels::reach(labels, &width) <= layout.width, "{}", row.title);
            assert!(labels.iter().all(|label| label.at >= LEFT), "{}", row.title);
            assert!(LEFT + width(&row.title) <= layout.width, "{}", row.title);
        }
    }

    #[test]
    fn every_bin_has_as_many_whole_pixels() {
        let svg = draw(&Timeline::of(&twice())).expect("no error").expect("a picture");
        let color = "fill=\"#2F65B3\"";
        let number = |line: &str, name: &str| {
            let (_, rest) = line.split_once(&format!(" {name}=\"")).expect(name);
            rest.split('"').next().and_then(|text| text.parse::<i32>().ok()).expect(name)
        };
        let bars: Vec<&str> =
            svg.lines().filter(|line| line.starts_with("<rect") && line.contains(color)).collect();
        assert!(bars.len() > 3);
        let layout = layout();
        // The first one is in the legend.
        let widths: Vec<i32> = bars[1..].iter().map(|bar| number(bar, "width")).collect();
        assert!(widths.iter().all(|width| width % layout.pixels == 0), "{widths:?}");
        let bins: usize = layout.rows.iter().map(|(row, _)| row.to - row.from).sum();
        // While the device held frames back, five bins had none.
        assert_eq!(widths.iter().sum::<i32>(), (bins as i32 - 5) * layout.pixels);
    }

    #[test]
    fn bins_that_have_as_many_are_one_bar() {
        let found: Vec<_> = runs(&[0, 1, 1, 0, 0, 2, 1]).collect();
        assert_eq!(found, [(1, 3, 1), (5, 6, 2), (6, 7, 1)]);
    }

    #[test]
    fn every_color_has_another_one_for_a_dark_background() {
        let svg = draw(&Timeline::of(&twice())).expect("no error").expect("a picture");
        let (_, drawn) = svg.split_once("</style>").expect("a style sheet");
        for part in drawn.split('"').filter(|part| part.starts_with('#') && part.len() == 7) {
            assert!(svg.contains(&format!("[fill=\"{part}\"]{{fill:#")), "{part}");
        }
        for text in ["seconds since the first frame", "frames per 10 ms", "jump", "replace"] {
            assert!(drawn.contains(text), "{text}");
        }
    }

    #[test]
    fn run_that_ended_early_has_a_picture_of_what_there_is() {
        for (end, rows) in
            [(0.95, 0), (3.0, 1), (5.6, 1), (7.5, 2), (11.3, 2), (12.6, 2), (14.1, 3)]
        {
            let mut evidence = twice();
            evidence.output.retain(|line| line.at < end);
            evidence.console.retain(|line| line.at < end);
            evidence.trace.retain(|event| event.at < end);
            evidence.wires[0].retain(|attempt| attempt.at < end);
            let timeline = Timeline::of(&evidence);
            let layout = Layout::of(&timeline);
            assert_eq!(layout.map_or(0, |layout| layout.rows.len()), rows, "until {end}");
            assert_eq!(draw(&timeline).expect("no error").is_some(), rows > 0);
        }
    }

    #[test]
    fn run_without_frames_has_no_picture() {
        assert_eq!(draw(&Timeline::default()).expect("no error"), None);
    }
}
