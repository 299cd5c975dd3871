// SPDX-License-Identifier: GPL-2.0

//! What was measured, for people and for the next run to compare with.

use std::fs;
use std::path::Path;

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use serde_json::json;

use super::counts::Counts;
use super::points::{AREA, HUGE, MOST_DEVICES, ON_ROOT_PORTS, PARTS, Pages, Point, Rounds, SMALL};

/// How much a hostile neighbour may add, in percent.
const MAY_ADD: f64 = 5.0;

/// What a hostile neighbour may add little to: what is counted, and what it is called.
const BESIDE: [(&str, &str); 3] =
    [("preserve-all", "preserving"), ("close-all", "closing"), ("freeze-session", "freezing")];

/// What the percentage is called that a hostile neighbour adds to something.
fn adds_to(name: &str) -> String {
    format!("a hostile neighbour adds to {name}, in %")
}

/// What a run wrote, or nothing.
pub struct Written(serde_json::Value);

impl Written {
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        Self(serde_json::from_str(&text).unwrap_or_default())
    }

    fn list(&self, name: &str) -> impl Iterator<Item = &serde_json::Value> {
        self.0[name].as_array().into_iter().flatten()
    }

    fn figure(&self, what: &str) -> Option<f64> {
        self.list("figures").find(|figure| figure["what"] == what)?["figure"].as_f64()
    }

    /// What a step took by the number of tables, of one device.
    fn by_tables(&self, what: &str) -> Vec<(f64, f64)> {
        let usual = |point: &&serde_json::Value| {
            point["devices"] == 1
                && point["marked"] == true
                && point["area_mib"] == AREA
                && point["looked_at"] == false
        };
        let at = |point: &serde_json::Value| {
            let counts = &point["counts"];
            Some((counts["tables"].as_f64()?, counts[what].as_f64()?))
        };
        let mut all: Vec<(f64, f64)> = self.list("points").filter(usual).filter_map(at).collect();
        all.sort_by(|one, other| one.0.total_cmp(&other.0));
        all
    }
}

/// Everything that was measured.
pub struct Results {
    pub points: Vec<(Point, Counts)>,
    pub pages: Vec<(Pages, Counts)>,
    pub rounds: Vec<(Rounds, Counts)>,
    pub tables: Option<[u64; 3]>,
    pub gaps: Option<[f64; 2]>,
}

impl Results {
    fn get(&self, point: Point, what: &str) -> Option<f64> {
        let (_, counts) = self.points.iter().find(|(other, _)| *other == point)?;
        counts.get(what).map(|count| *count as f64)
    }

    /// What a step takes more for one point than for another, for each of something.
    fn marginal(&self, what: &str, more: Point, less: Point, of: &str) -> Option<f64> {
        let difference = |what| Some(self.get(more, what)? - self.get(less, what)?);
        Some(difference(what)? / difference(of)?)
    }

    /// What each page costs the next kernel, by itself or not, from one number of them to another.
    fn per_page(&self) -> Vec<(String, Option<f64>, &'static str)> {
        let pairs = self.pages.windows(2).filter(|pair| pair[0].0.isolated == pair[1].0.isolated);
        let figure = |pair: &[(Pages, Counts)]| {
            let [(less, few), (more, many)] = pair else { return None };
            let took = |counts: &Counts| Some(*counts.get("boot")? as f64);
            let page = (took(many)? - took(few)?) / (more.count - less.count) as f64;
            let kind = if more.isolated { "isolated page" } else { "page" };
            let what = format!("boot: per {kind}, from {} to {}", less.count, more.count);
            Some((what, Some(page), "at most 300"))
        };
        pairs.filter_map(figure).collect()
    }

    /// What a hostile neighbour adds to what others do, and what that takes.
    ///
    /// What others have frozen takes what the thread that calls `reboot(2)` executes, until it is told
    /// that the kexec was refused. The neighbour's own files are frozen by that thread, too: they count
    /// by themselves.
    fn beside(&self) -> Vec<(String, Option<f64>, &'static str)> {
        let took = |beside, what: &str| {
            let (_, counts) = self.rounds.iter().find(|(rounds, _)| rounds.beside == beside)?;
            counts.get(what).map(|count| *count as f64)
        };
        let added = |what: &str| Some(took(true, what)? - took(false, what)?);
        let percent = |(what, name): (&str, &str)| {
            let percent =
                added(what).zip(took(false, what)).map(|(more, alone)| more / alone * 100.0);
            (adds_to(name), percent, "less than 5")
        };
        let alone = |what| took(false, what);
        let memfds = alone("freeze-session").zip(alone("freeze-device"));
        let memfd = memfds
            .map(|(many, none)| many - none)
            .zip(alone("own-files"))
            .map(|(took, count)| took / count);
        let others = [
            ("a hostile neighbour adds to freezing a device", added("freeze-device")),
            ("a hostile neighbour adds to that, in sleeps", added("freeze-device-sleeps")),
            ("a hostile neighbour's own files add to freezing all", added("freeze-all")),
            ("freeze a memfd", memfd),
            ("freezing, by the clock", alone("freeze-session-clock")),
            ("freezing beside a neighbour, by the clock", took(true, "freeze-session-clock")),
        ];
        let others = others.map(|(what, figure)| (what.to_owned(), figure, ""));
        BESIDE.map(percent).into_iter().chain(others).collect()
    }

    /// Figures that say something by themselves, each with what it is meant to be.
    fn figures(&self) -> Vec<(String, Option<f64>, &'static str)> {
        let attach = |point: Point| Some(self.get(point, "boot-attach")? / point.devices as f64);
        let tables = self.tables.map(|tables| tables.map(|number| number as f64));
        let (tib, large) = (Point { gib: 1024, ..HUGE }, Point { gib: 64, ..SMALL });
        let pages = (64u64 << 30 >> 12) as f64;
        let preserve = |point| self.get(point, "preserve-iommufd");
        // What it takes more to look at each leaf, of which there are as many.
        let look = |point: Point, leaves: u64| {
            let looked_at = preserve(Point { looked_at: true, ..point })?;
            Some((looked_at - preserve(point)?) / leaves as f64)
        };
        let areas = preserve(PARTS).zip(preserve(SMALL));
        let areas =
            areas.map(|(many, few)| (many - few) / (1024 / PARTS.area - 1024 / AREA) as f64);
        let mut figures = self.per_page();
        let others = [
            ("boot: attach a device to 1 GiB again", attach(HUGE), ""),
            ("boot: attach a device to 1 TiB again", attach(tib), "the same within 10 %"),
            ("boot: attach one of eight devices", attach(Point { devices: 8, ..HUGE }), ""),
            (
                "boot: attach a device that nothing is known of",
                attach(Point { marked: false, ..SMALL }),
                "",
            ),
            (
                "boot: find memory, per table that was preserved",
                self.marginal("boot-memory", large, SMALL, "tables"),
                "at most 150",
            ),
            (
                "preserve a table",
                tables.map(|[count, all, _]| all / count),
                "at most 1.5 times what KHO takes",
            ),
            ("preserve a page with KHO", tables.map(|[count, _, alone]| alone / count), ""),
            ("map a page of 4 KiB", self.get(large, "map").map(|took| took / pages), ""),
            (
                "preserve an iommufd: per table",
                self.marginal("preserve-iommufd", large, SMALL, "tables"),
                "at most 1000",
            ),
            ("preserve an iommufd: per area", areas, "at most 2000"),
            ("look at a page of 4 KiB", look(SMALL, 1 << 30 >> 12), "at most 100"),
            (
                "look at a page of 2 MiB",
                look(Point { gib: 32, ..HUGE }, 32 << 30 >> 21),
                "at most 500",
            ),
        ];
        figures.extend(others.map(|(what, figure, goal)| (what.to_owned(), figure, goal)));
        figures.extend(self.per_device());
        figures.extend(self.beside());
        figures
    }

    /// What each of many devices takes, by itself, beside each of few, and what one takes.
    fn per_device(&self) -> Vec<(String, Option<f64>, &'static str)> {
        const FEW: usize = ON_ROOT_PORTS;
        let each = |devices: usize, alike, what| {
            Some(self.get(Point { devices, alike, ..HUGE }, what)? / devices as f64)
        };
        let ratio = |what| {
            let many = each(MOST_DEVICES, false, what);
            let ratio = many.zip(each(FEW, true, what)).map(|(many, few)| many / few);
            let what = format!("{what}: one of {MOST_DEVICES} to one of {FEW} devices");
            (what, ratio, "at most 1.2")
        };
        let mut figures: Vec<_> =
            ["preserve-device", "retrieve-device", "freeze"].into_iter().map(ratio).collect();
        let alone = [
            ("mark", "at most 1.2 times 2528"),
            ("preserve-device", ""),
            ("retrieve-device", "at most 1.2 times 9971"),
        ];
        figures.extend(
            alone.map(|(what, goal)| (format!("{what}: alone"), each(1, false, what), goal)),
        );
        figures
    }

    pub fn print(&self, before: &Written) {
        println!("\nInstructions for all devices of a run");
        let pages = self.pages.iter().map(|(pages, counts)| (pages.name(), counts));
        let points = self.points.iter().map(|(point, counts)| (point.name(), counts));
        let rounds = self.rounds.iter().map(|(rounds, counts)| (rounds.name().to_owned(), counts));
        for (name, counts) in points.chain(pages).chain(rounds) {
            println!("  {name}");
            for (what, count) in counts {
                println!("    {what:<25} {count:>16}");
            }
        }
        println!("\n{:<54} {:>14} {:>14}  goal", "Instructions for one of each", "now", "before");
        for (what, figure, goal) in self.figures() {
            let [now, before] = [figure, before.figure(&what)]
                .map(|figure| figure.map_or("-".to_owned(), |figure| format!("{figure:.1}")));
            println!("  {what:<52} {now:>14} {before:>14}  {goal}");
        }
        if let Some([update, idle]) = self.gaps.map(|gaps| gaps.map(|gap| gap * 1e3)) {
            println!("\nLongest gap between two DMA writes, by the clock of the host");
            println!("  through a live update {update:.1} ms, in an idle run {idle:.1} ms\n");
        }
    }

    pub fn json(&self) -> serde_json::Value {
        let points = self.points.iter().map(|(point, counts)| {
            json!({
                "devices": point.devices,
                "gib": point.gib,
                "page": if point.huge { "2M" } else { "4K" },
                "marked": point.marked,
                "area_mib": point.area,
                "looked_at": point.looked_at,
                "alike": point.alike,
                "counts": counts,
            })
        });
        let pages = self.pages.iter().map(|(pages, counts)| {
            json!({ "pages": pages.count, "isolated": pages.isolated, "counts": counts })
        });
        let rounds = self
            .rounds
            .iter()
            .map(|(rounds, counts)| json!({ "neighbour": rounds.beside, "counts": counts }));
        let figures = self
            .figures()
            .into_iter()
            .map(|(what, figure, goal)| json!({ "what": what, "figure": figure, "goal": goal }));
        let tables = self.tables.map(
            |[count, all, alone]| json!({ "count": count, "preserve": all, "kho_alone": alone }),
        );
        let gaps = self.gaps.map(|[update, idle]| json!({ "live_update": update, "idle": idle }));
        json!({
            "points": points.collect::<Vec<_>>(),
            "pages": pages.collect::<Vec<_>>(),
            "rounds": rounds.collect::<Vec<_>>(),
            "figures": figures.collect::<Vec<_>>(),
            "tables": tables,
            "longest_gap_s": gaps,
        })
    }

    /// What is drawn: what depends on the number of tables, and below it what a hostile neighbour adds.
    pub fn plot(&self, before: &Written, path: &Path) -> Result<()> {
        let now = Written(self.json());
        let area = SVGBackend::new(path, (960, 880)).into_drawing_area();
        area.fill(&WHITE)?;
        let (tables, beside) = area.split_vertically(640);
        plot_tables(&now, before, &tables)?;
        plot_beside(&now, before, &beside)?;
        area.present()?;
        Ok(())
    }
}

/// Where something is drawn.
type Drawing<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What depends on the number of tables, of one device: now, and thin before.
fn plot_tables(now: &Written, before: &Written, area: &Drawing<'_>) -> Result<()> {
    /// What is drawn, and how.
    const LINES: [(&str, RGBColor); 5] = [
        ("map", BLACK),
        ("preserve-iommufd", BLUE),
        ("boot-attach", RED),
        ("boot-memory", MAGENTA),
        ("finish", GREEN),
    ];
    let mut chart = ChartBuilder::on(area)
        .caption("Live update of a device that goes on", ("sans-serif", 24))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(96)
        .build_cartesian_2d((1f64..1e6).log_scale(), (1e3f64..1e12).log_scale())?;
    chart.configure_mesh().x_desc("tables").y_desc("instructions").draw()?;
    for (what, color) in LINES {
        chart.draw_series(DashedLineSeries::new(
            before.by_tables(what),
            4,
            4,
            color.mix(0.5).stroke_width(1),
        ))?;
        chart
            .draw_series(LineSeries::new(now.by_tables(what), color.stroke_width(2)))?
            .label(what)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
    }
    chart.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
    Ok(())
}

/// What a hostile neighbour adds, in percent: now, and pale before; and how much it may.
fn plot_beside(now: &Written, before: &Written, area: &Drawing<'_>) -> Result<()> {
    let percents = |written: &Written| BESIDE.map(|(_, name)| written.figure(&adds_to(name)));
    let [now, before] = [now, before].map(percents);
    let all = now.iter().chain(&before).flatten().copied();
    let most = all.fold(2.0 * MAY_ADD, |most: f64, percent| most.max(percent.abs()));
    let mut chart = ChartBuilder::on(area)
        .caption("What a hostile neighbour adds", ("sans-serif", 24))
        .margin(16)
        .x_label_area_size(24)
        .y_label_area_size(96)
        .build_cartesian_2d((0..BESIDE.len() - 1).into_segmented(), -most..most)?;
    let name = |at: &SegmentValue<usize>| match at {
        SegmentValue::CenterOf(index) => BESIDE.get(*index).map_or("", |(_, name)| name).to_owned(),
        _ => String::new(),
    };
    chart.configure_mesh().disable_x_mesh().x_label_formatter(&name).y_desc("%").draw()?;
    for (percents, margin, style) in [(before, 32, BLUE.mix(0.3)), (now, 64, BLUE.mix(1.0))] {
        let bars = percents.iter().enumerate().filter_map(|(index, percent)| {
            let (left, right) = (SegmentValue::Exact(index), SegmentValue::Exact(index + 1));
            let mut bar = Rectangle::new([(left, 0.0), (right, (*percent)?)], style.filled());
            bar.set_margin(0, 0, margin, margin);
            Some(bar)
        });
        chart.draw_series(bars)?;
    }
    let ends = [SegmentValue::Exact(0), SegmentValue::Exact(BESIDE.len())];
    let limit = ends.map(|end| (end, MAY_ADD));
    chart.draw_series(LineSeries::new(limit, RED.stroke_width(1)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marginal_cost_is_that_of_what_there_is_more() {
        let counts = |boot, tables| {
            [("boot", boot), ("tables", tables)].map(|(a, b): (&str, u64)| (a.to_owned(), b)).into()
        };
        let rounds = |took, frozen| {
            let counts = [
                ("close-all", took),
                ("freeze-session", frozen),
                ("freeze-device", 5000),
                ("freeze-all", frozen * 10),
                ("freeze", frozen * 100),
                ("own-files", 1000),
            ];
            counts.map(|(what, count): (&str, u64)| (what.to_owned(), count)).into()
        };
        let large = Point { gib: 64, ..SMALL };
        let results = Results {
            points: vec![(SMALL, counts(1000, 10)), (large, counts(2000, 30))],
            pages: Pages::all().map(|pages| (pages, counts(7000 + pages.count * 3, 0))).collect(),
            rounds: Rounds::ALL
                .into_iter()
                .zip([rounds(200, 1_005_000), rounds(204, 1_015_050)])
                .collect(),
            tables: Some([10, 1500, 1000]),
            gaps: None,
        };
        assert_eq!(results.marginal("boot", large, SMALL, "tables"), Some(50.0));
        assert_eq!(results.marginal("boot", HUGE, SMALL, "tables"), None);
        let figure = |what| {
            results
                .figures()
                .into_iter()
                .find(|(name, ..)| name == what)
                .and_then(|(_, figure, _)| figure)
        };
        assert_eq!(figure("preserve a table"), Some(150.0));
        assert_eq!(figure("map a page of 4 KiB"), None);
        assert_eq!(figure("boot: per page, from 8192 to 16384"), Some(3.0));
        assert_eq!(figure("boot: per isolated page, from 32768 to 65536"), Some(3.0));
        assert_eq!(results.per_page().len(), 6);
        assert_eq!(figure("a hostile neighbour adds to closing, in %"), Some(2.0));
        assert_eq!(figure("a hostile neighbour adds to preserving, in %"), None);
        assert_eq!(figure("a hostile neighbour adds to freezing, in %"), Some(1.0));
        assert_eq!(figure("a hostile neighbour adds to freezing a device"), Some(0.0));
        let own = figure("a hostile neighbour's own files add to freezing all");
        assert_eq!(own, Some(100_500.0));
        assert_eq!(figure("freeze a memfd"), Some(1000.0));
        assert_eq!(figure("freezing, by the clock"), None);
        let written = Written(results.json());
        assert_eq!(written.figure("preserve a table"), Some(150.0));
        assert_eq!(written.by_tables("boot"), [(10.0, 1000.0), (30.0, 2000.0)]);
        let nothing = Written::read(Path::new("/nowhere/bench.json"));
        assert_eq!(nothing.figure("preserve a table"), None);
        assert_eq!(nothing.by_tables("boot"), []);
    }

    #[test]
    fn what_a_neighbour_adds_is_drawn_below_what_depends_on_tables() {
        let rounds = |took: u64| {
            BESIDE.map(|(what, _)| (what.to_owned(), took)).into_iter().collect::<Counts>()
        };
        let counts = [("tables".to_owned(), 10), ("map".to_owned(), 100_000)].into();
        let results = Results {
            points: vec![(SMALL, counts)],
            pages: Vec::new(),
            rounds: Rounds::ALL.into_iter().zip([rounds(1000), rounds(1030)]).collect(),
            tables: None,
            gaps: None,
        };
        let path = std::env::temp_dir().join(format!("lu-bench-{}.svg", std::process::id()));
        results.plot(&Written(results.json()), &path).expect("a plot");
        let drawn = fs::read_to_string(&path).expect("the plot");
        fs::remove_file(&path).expect("the plot is there");
        for text in ["preserve-iommufd", "preserving", "closing", "freezing"] {
            assert!(drawn.contains(text), "{text}");
        }
    }
}
