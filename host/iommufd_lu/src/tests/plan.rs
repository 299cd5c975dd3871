// SPDX-License-Identifier: GPL-2.0

//! What is claimed of the plan.

use crate::plan::{
    mark,
    may_map,
    passage,
    prove,
    Attachment,
    Candidate,
    Extent,
    NoPassage,
    Passage,
    Passenger,
    Range,
    Refusal,
    Removals,
    Rule,
    Source,
    Unproved, //
};
use kernel::page::PAGE_SIZE;
use proptest::{
    collection::vec,
    prelude::*, //
};

const BOTH: [bool; 2] = [false, true];
const PAGE: u64 = PAGE_SIZE as u64;

#[test]
fn marks_what_nobody_else_is_called() {
    for preserved in BOTH {
        for faults in BOTH {
            for token_in_use in BOTH {
                let candidate = Candidate {
                    preserved,
                    faults,
                    token_in_use,
                };
                let expected = match (preserved, faults, token_in_use) {
                    (true, _, _) => Err(Refusal::Preserved),
                    (_, true, _) => Err(Refusal::Faults),
                    (_, _, true) => Err(Refusal::TokenInUse),
                    _ => Ok(()),
                };

                assert_eq!(mark(candidate), expected);
            }
        }
    }
}

#[test]
fn lets_nothing_but_preserved_files_be_mapped() {
    assert_eq!(may_map(Source::Process), Err(Rule::Process));
    assert_eq!(may_map(Source::DmaBuf), Err(Rule::DmaBuf));
    assert_eq!(
        may_map(Source::File { preserved: false }),
        Err(Rule::Session)
    );
    assert_eq!(may_map(Source::File { preserved: true }), Ok(()));
}

#[test]
fn looks_at_no_page_of_a_file_that_lost_none() {
    let counted = |when_mapped, now| Removals { when_mapped, now }.is_unchanged();

    for count in [0, 1, u64::MAX] {
        assert!(counted(count, Some(count)));
        assert!(!counted(count, Some(count.wrapping_add(1))));
        assert!(!counted(count, None));
    }
}

#[test]
fn explains_each_rule() {
    for (rule, remedy) in [
        (Rule::Process, "IOMMU_IOAS_MAP_FILE"),
        (Rule::DmaBuf, "unmap"),
        (Rule::Session, "preserve it first"),
        (Rule::Stale, "map it again"),
    ] {
        let text = rule.explain().to_str().unwrap();

        assert!(text.contains(remedy), "{rule:?}");
    }
}

#[test]
fn lets_devices_through_with_marked_hwpts_and_without_any() {
    const TOKEN: u64 = 7;

    for token in [None, Some(TOKEN)] {
        for (attachment, expected) in [
            (Attachment::None, Ok(Passage::Ends)),
            (Attachment::Automatic, Ok(Passage::Ends)),
            (Attachment::Nested, Err(NoPassage::Unmarked)),
            (Attachment::Explicit, Err(NoPassage::Unmarked)),
            (
                Attachment::Marked,
                match token {
                    Some(_) => Ok(Passage::GoesOn),
                    None => Err(NoPassage::Order),
                },
            ),
        ] {
            let mut passenger = Passenger {
                attachment: Some(attachment),
                token,
                has_pasids: false,
            };
            let mut asked = Vec::new();
            let mut preserve = |token| {
                asked.push(token);
                Ok::<_, ()>(true)
            };

            assert_eq!(passage(passenger, &mut preserve), expected);
            passenger.has_pasids = true;
            assert_eq!(passage(passenger, &mut preserve), Err(NoPassage::Pasids));
            passenger.attachment = None;
            assert_eq!(passage(passenger, preserve), Err(NoPassage::Busy));

            // Nothing is preserved for a device that does not go on.
            let goes_on = expected == Ok(Passage::GoesOn);
            assert_eq!(asked, if goes_on { vec![TOKEN] } else { vec![] });
        }
    }
}

#[test]
fn stops_devices_whose_page_tables_nobody_hands_over() {
    let passenger = Passenger {
        attachment: Some(Attachment::Marked),
        token: Some(0),
        has_pasids: false,
    };

    for (preserved, expected) in [
        (Ok(true), Ok(Passage::GoesOn)),
        (Ok(false), Ok(Passage::Stays)),
        (Err("no memory"), Err(NoPassage::Iommu("no memory"))),
    ] {
        assert_eq!(passage(passenger, |_| preserved), expected);
    }
}

#[test]
fn ends_a_range_at_its_last_byte() {
    let mut range = Range {
        iova: 0x1000,
        nr_pages: 2,
        index: 0,
    };
    assert_eq!(range.last_iova(), 0x2fff);

    // The last page that there is, and all of them.
    (range.iova, range.nr_pages) = (u64::MAX - 0xfff, 1);
    assert_eq!(range.last_iova(), u64::MAX);
    (range.iova, range.nr_pages) = (0, 1 << 52);
    assert_eq!(range.last_iova(), u64::MAX);
}

/// A file of pages that are here and there, in runs.
#[derive(Clone, Debug)]
struct File {
    /// The number of the first page in memory, and how many there are.
    runs: Vec<(u64, u64)>,
}

impl File {
    /// Returns what the page cache would say of a page.
    fn extent(&self, mut index: u64) -> Option<Extent> {
        for (page, length) in &self.runs {
            if index < *length {
                return Some(Extent {
                    phys: (page + index) * PAGE,
                    nr_pages: length - index,
                });
            }
            index -= length;
        }
        None
    }

    fn len(&self) -> u64 {
        self.runs.iter().map(|(_, length)| length).sum()
    }
}

/// What a page table maps a range to, as its leaves have it: `lengths` pages each, over and over.
fn leaves(
    range: Range,
    lengths: &[u64],
    phys: impl Fn(u64) -> Option<u64>,
) -> impl FnMut() -> Result<Option<Extent>, &'static str> {
    let mut page = 0;
    let mut lengths: Vec<u64> = lengths.to_vec();

    move || {
        let Some(first) = phys(page).filter(|_| page < range.nr_pages) else {
            return Ok(None);
        };
        let mut nr_pages = 1;

        // No leaf has pages that are not next to each other.
        while nr_pages < lengths[0].min(range.nr_pages - page)
            && phys(page + nr_pages) == first.checked_add(nr_pages * PAGE)
        {
            nr_pages += 1;
        }
        lengths.rotate_left(1);
        page += nr_pages;
        Ok(Some(Extent {
            phys: first,
            nr_pages,
        }))
    }
}

/// What the page cache says of the pages of a file.
fn pages(
    file: &File,
    range: Range,
) -> impl FnMut() -> Result<Option<Extent>, &'static str> + use<'_> {
    let mut index = range.index;

    move || {
        let extent = file.extent(index);

        index += extent.map_or(0, |extent| extent.nr_pages);
        Ok(extent)
    }
}

#[test]
fn pages_behind_the_end_of_a_file_are_not_its() {
    let range = Range {
        iova: 0x10_0000,
        nr_pages: 8,
        index: 4,
    };

    assert_eq!(range.first_behind(12), None);
    assert_eq!(range.first_behind(u64::MAX), None);
    assert_eq!(range.first_behind(11), Some(0x10_0000 + 7 * PAGE));
    assert_eq!(range.first_behind(4), Some(0x10_0000));
    assert_eq!(range.first_behind(0), Some(0x10_0000));
}

fn proved(
    file: &File,
    range: Range,
    lengths: &[u64],
    phys: impl Fn(u64) -> Option<u64>,
) -> Result<(), Unproved<&'static str>> {
    prove(range, leaves(range, lengths, phys), pages(file, range))
}

fn file() -> impl Strategy<Value = File> {
    vec((0u64..1 << 40, 1u64..20), 1..8).prop_map(|runs| File { runs })
}

proptest! {
    #![proptest_config(testing::config())]

    #[test]
    fn a_table_of_the_pages_of_the_file_is_proved(
        file in file(), first in 0u64..20, nr_pages in 0u64..100, iova in 0u64..1 << 50,
        lengths in vec(1u64..40, 1..5)
    ) {
        let index = first.min(file.len());
        let nr_pages = nr_pages.min(file.len() - index);
        let range = Range { iova: iova * PAGE, nr_pages, index };
        let right = |page| file.extent(index + page).map(|extent| extent.phys);

        prop_assert_eq!(proved(&file, range, &lengths, right), Ok(()));

        // Any page that is another one, or none, is found.
        for wrong in 0..nr_pages {
            let at = range.iova + wrong * PAGE;

            for instead in [None, Some(u64::MAX), right(wrong).map(|phys| phys + PAGE)] {
                let table = |page| if page == wrong { instead } else { right(page) };

                prop_assert_eq!(
                    proved(&file, range, &lengths, table),
                    Err(Unproved::Stale(at))
                );
            }
        }
    }

    #[test]
    fn pages_beyond_the_file_are_not_proved(file in file(), beyond in 1u64..10) {
        let range = Range { iova: 0, nr_pages: file.len() + beyond, index: 0 };
        let table = |page| file.extent(page).map_or(Some(0), |extent| Some(extent.phys));

        prop_assert_eq!(
            proved(&file, range, &[1], table),
            Err(Unproved::Stale(file.len() * PAGE))
        );
    }

    #[test]
    fn what_cannot_be_looked_at_ends_it(file in file(), at in 0u64..20) {
        let at = at.min(file.len() - 1);
        let range = Range { iova: 0, nr_pages: file.len(), index: 0 };
        let table = |page| file.extent(page).map(|extent| extent.phys);
        let killed = |mut source: Box<dyn FnMut() -> Result<Option<Extent>, &'static str>>| {
            let mut page = 0;

            move || {
                let extent = source()?;

                page += extent.map_or(0, |extent: Extent| extent.nr_pages);
                if page > at { Err("killed") } else { Ok(extent) }
            }
        };
        let copy = file.clone();
        let boxed = Box::new(leaves(range, &[3], move |page| {
            copy.extent(page).map(|extent| extent.phys)
        }));

        prop_assert_eq!(
            prove(range, killed(boxed), pages(&file, range)),
            Err(Unproved::Failed("killed"))
        );

        let copy: &'static File = Box::leak(Box::new(file.clone()));
        prop_assert_eq!(
            prove(range, leaves(range, &[3], table), killed(Box::new(pages(copy, range)))),
            Err(Unproved::Failed("killed"))
        );
    }
}

#[test]
fn an_empty_extent_does_not_go_on_for_ever() {
    let range = Range {
        iova: 0,
        nr_pages: 1,
        index: 0,
    };
    let extent = |nr_pages| move || Ok::<_, ()>(Some(Extent { phys: 0, nr_pages }));

    assert_eq!(prove(range, extent(1), extent(1)), Ok(()));
    assert_eq!(prove(range, extent(1), extent(0)), Err(Unproved::Stale(0)));
    assert_eq!(prove(range, extent(0), extent(1)), Err(Unproved::Stale(0)));
}
