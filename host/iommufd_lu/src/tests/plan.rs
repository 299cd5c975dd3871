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
    Range,
    Refusal,
    Rule,
    Seals,
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
fn lets_nothing_but_preserved_memfds_of_a_fixed_size_be_mapped() {
    assert_eq!(may_map(Source::Process), Err(Rule::Process));
    assert_eq!(may_map(Source::DmaBuf), Err(Rule::DmaBuf));

    for preserved in BOTH {
        // All seals that there are, and some that there are not.
        for bits in 0..0x80 {
            let seals = Some(Seals(bits));
            let expected = match (bits & 0x7 == 0x7, preserved) {
                (false, _) => Err(Rule::Seals),
                (true, false) => Err(Rule::Session),
                (true, true) => Ok(()),
            };

            assert_eq!(may_map(Source::File { seals, preserved }), expected);
        }
        let seals = None;
        assert_eq!(may_map(Source::File { seals, preserved }), Err(Rule::Seals));
    }
}

#[test]
fn explains_each_rule() {
    for (rule, remedy) in [
        (Rule::Process, "IOMMU_IOAS_MAP_FILE"),
        (Rule::DmaBuf, "unmap"),
        (Rule::Seals, "GROW, SHRINK and SEAL"),
        (Rule::Session, "preserve it first"),
        (Rule::Stale, "map it again"),
    ] {
        let text = rule.explain().to_str().unwrap();

        assert!(text.contains(remedy), "{rule:?}");
    }
}

#[test]
fn lets_devices_through_with_marked_hwpts_and_without_any() {
    for preserved in BOTH {
        for (attachment, expected) in [
            (Attachment::None, Ok(Passage::Ends)),
            (Attachment::Automatic, Ok(Passage::Ends)),
            (Attachment::Nested, Err(NoPassage::Unmarked)),
            (Attachment::Explicit, Err(NoPassage::Unmarked)),
            (
                Attachment::Marked,
                if preserved {
                    Ok(Passage::Stays)
                } else {
                    Err(NoPassage::Order)
                },
            ),
        ] {
            assert_eq!(passage(attachment, preserved, false), expected);
            assert_eq!(passage(attachment, preserved, true), Err(NoPassage::Pasids));
        }
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

fn proved(
    file: &File,
    range: Range,
    table: impl Fn(u64) -> Option<u64>,
) -> Result<(), Unproved<()>> {
    prove(range, table, |index| Ok(file.extent(index)))
}

fn file() -> impl Strategy<Value = File> {
    vec((0u64..1 << 40, 1u64..20), 1..8).prop_map(|runs| File { runs })
}

proptest! {
    #![proptest_config(testing::config())]

    #[test]
    fn a_table_of_the_pages_of_the_file_is_proved(
        file in file(), first in 0u64..20, nr_pages in 0u64..100, iova in 0u64..1 << 50
    ) {
        let index = first.min(file.len());
        let nr_pages = nr_pages.min(file.len() - index);
        let range = Range { iova: iova * PAGE, nr_pages, index };
        let right = |iova| {
            let page = (iova - range.iova) / PAGE;

            file.extent(index + page).map(|extent| extent.phys)
        };

        prop_assert_eq!(proved(&file, range, right), Ok(()));

        // Any page that is another one, or none, is found.
        for wrong in 0..nr_pages {
            let at = range.iova + wrong * PAGE;

            for instead in [None, Some(u64::MAX), right(at).map(|phys| phys + PAGE)] {
                let table = |iova| if iova == at { instead } else { right(iova) };

                prop_assert_eq!(proved(&file, range, table), Err(Unproved::Stale(at)));
            }
        }
    }

    #[test]
    fn pages_beyond_the_file_are_not_proved(file in file(), beyond in 1u64..10) {
        let range = Range { iova: 0, nr_pages: file.len() + beyond, index: 0 };
        let table = |iova| file.extent(iova / PAGE).map(|extent| extent.phys);

        prop_assert_eq!(
            proved(&file, range, table),
            Err(Unproved::Stale(file.len() * PAGE))
        );
    }

    #[test]
    fn a_file_that_cannot_be_looked_at_ends_it(file in file(), at in 0u64..20) {
        let at = at.min(file.len() - 1);
        let range = Range { iova: 0, nr_pages: file.len(), index: 0 };
        let table = |iova| file.extent(iova / PAGE).map(|extent| extent.phys);
        let result = prove(range, table, |index| {
            let extent = file.extent(index);

            if extent.is_some_and(|extent| index + extent.nr_pages > at) {
                Err("killed")
            } else {
                Ok(extent)
            }
        });

        prop_assert_eq!(result, Err(Unproved::Failed("killed")));
    }
}

#[test]
fn an_empty_extent_does_not_go_on_for_ever() {
    let range = Range {
        iova: 0,
        nr_pages: 1,
        index: 0,
    };
    let nothing = Extent {
        phys: 0,
        nr_pages: 0,
    };

    assert_eq!(
        prove(range, |_| Some(0), |_| Ok::<_, ()>(Some(nothing))),
        Err(Unproved::Stale(0))
    );
}
