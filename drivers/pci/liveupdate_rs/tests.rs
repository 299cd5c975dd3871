// SPDX-License-Identifier: GPL-2.0

//! Preserves, releases and finishes devices in every order, in every small tree.
//!
//! The host tests do so with many devices, in orders that are drawn by lot. These leave nothing out,
//! with the lists and the errors that the kernel uses.

use super::{
    entries::Entry,
    plan::{
        self,
        Role, //
    },
};
use core::num::NonZero;
use kernel::{
    liveupdate::pci::{
        Address,
        RawAddress, //
    },
    prelude::*, //
};

/// The domains that trees are in. The bits of the second are not among those of a bus number.
const DOMAINS: [u32; 2] = [0, 0x1_0000];

const BRIDGES: usize = 2;
const ENDPOINTS: usize = 3;
const NODES: usize = BRIDGES + ENDPOINTS;

/// All trees: the first bridge is in one of the domains, the second in one of them or below the first,
/// and the same with endpoints and both bridges.
const TREES: usize = 2 * 3 * 4 * 4 * 4;

/// All orders of preserving and releasing each endpoint once, in this order.
const ORDERS: usize = 720 / (2 * 2 * 2);

/// Where a device is.
#[derive(Clone, Copy)]
enum Above {
    Domain(usize),
    Bridge(usize),
}

/// Bridges, and then endpoints.
struct Tree {
    above: [Above; NODES],
    addresses: [Address; NODES],
}

impl Tree {
    /// Returns the tree with this number, which is less than [`TREES`].
    fn new(mut number: usize) -> Result<Self> {
        let mut above = [Above::Domain(0); NODES];

        for (node, above) in above.iter_mut().enumerate() {
            let choices = DOMAINS.len() + node.min(BRIDGES);
            let choice = number % choices;
            number /= choices;

            *above = match choice.checked_sub(DOMAINS.len()) {
                None => Above::Domain(choice),
                Some(bridge) => Above::Bridge(bridge),
            };
        }

        // Devices of different domains have the same numbers.
        let mut addresses = [Address::try_from(RawAddress { domain: 0, bdf: 0 })?; NODES];
        let mut count = [0; DOMAINS.len()];

        for node in 0..NODES {
            let mut place = above[node];
            while let Above::Bridge(bridge) = place {
                place = above[bridge];
            }
            if let Above::Domain(index) = place {
                count[index] += 8;
                addresses[node] = RawAddress {
                    domain: DOMAINS[index],
                    bdf: count[index],
                }
                .try_into()?;
            }
        }
        Ok(Self { above, addresses })
    }

    /// Returns the addresses of a node and of the bridges above it.
    fn path(&self, node: usize) -> impl Iterator<Item = Address> + Clone + '_ {
        core::iter::successors(Some(node), |node| match self.above[*node] {
            Above::Bridge(bridge) => Some(bridge),
            Above::Domain(_) => None,
        })
        .map(|node| self.addresses[node])
    }

    /// Returns whether the entries are those that there have to be, counted anew.
    fn accounts_for(&self, entries: &[Entry], preserved: &[bool; ENDPOINTS]) -> bool {
        let count = |address| {
            (0..ENDPOINTS)
                .filter(|endpoint| preserved[*endpoint])
                .filter(|endpoint| self.path(BRIDGES + endpoint).any(|above| above == address))
                .count()
        };
        let expected = self
            .addresses
            .iter()
            .filter(|address| count(**address) != 0)
            .count();

        entries.is_sorted_by(|a, b| a.address < b.address)
            && entries.len() == expected
            && entries
                .iter()
                .all(|entry| usize::from(entry.refcount.get()) == count(entry.address))
    }

    /// Preserves or releases an endpoint as the kernel does: after a look, if it may be refused.
    fn toggle(&self, entries: &mut KVec<Entry>, endpoint: usize, preserve: bool) -> Result {
        let path = self.path(BRIDGES + endpoint);

        if preserve {
            plan::added_by_path(entries, path.clone())?;
            plan::preserve_path::<Error, _>(entries, path)
        } else {
            plan::release_path::<Error, _>(entries, path)
        }
    }

    /// Ends the passage of an endpoint, as the next kernel does.
    fn finish(&self, entries: &mut KVec<Entry>, endpoint: usize) -> Result {
        Ok(plan::finish_path(entries, self.path(BRIDGES + endpoint))?)
    }
}

/// Returns all sequences of `N` endpoints in which each occurs `times`.
fn orders<const N: usize>(times: usize) -> impl Iterator<Item = [usize; N]> {
    (0..[ENDPOINTS; N].iter().product()).filter_map(move |mut number| {
        let mut order = [0; N];
        let mut count = [0; ENDPOINTS];

        for endpoint in &mut order {
            *endpoint = number % ENDPOINTS;
            number /= ENDPOINTS;
            count[*endpoint] += 1;
        }
        (count == [times; ENDPOINTS]).then_some(order)
    })
}

#[kunit_tests(pci_liveupdate)]
mod cases {
    use super::*;

    #[test]
    fn every_order_of_preserving_and_releasing_counts_right() -> Result {
        let mut runs = 0;

        for number in 0..TREES {
            let tree = Tree::new(number)?;

            for order in orders::<{ 2 * ENDPOINTS }>(2) {
                let mut entries = KVec::new();
                let mut preserved = [false; ENDPOINTS];

                for endpoint in order {
                    let before = preserved[endpoint];

                    // What was done already is refused, and changes nothing.
                    let refusal = tree.toggle(&mut entries, endpoint, before);
                    assert_eq!(refusal, Err(if before { EBUSY } else { ENOENT }));
                    assert!(tree.accounts_for(&entries, &preserved));

                    preserved[endpoint] = !before;
                    tree.toggle(&mut entries, endpoint, !before)?;
                    assert!(tree.accounts_for(&entries, &preserved));
                }
                assert!(entries.is_empty());
                runs += 1;
            }
        }
        assert_eq!(runs, TREES * ORDERS);
        Ok(())
    }

    #[test]
    fn every_order_of_finishing_counts_right() -> Result {
        let mut runs = 0;

        for number in 0..TREES {
            let tree = Tree::new(number)?;

            for set in 0..1 << ENDPOINTS {
                for order in orders::<ENDPOINTS>(1) {
                    let mut entries = KVec::new();
                    let mut preserved: [bool; ENDPOINTS] =
                        core::array::from_fn(|endpoint| set & (1 << endpoint) != 0);

                    for (endpoint, _) in preserved.iter().enumerate().filter(|(_, is)| **is) {
                        tree.toggle(&mut entries, endpoint, true)?;
                    }
                    for endpoint in order {
                        if preserved[endpoint] {
                            tree.finish(&mut entries, endpoint)?;
                            preserved[endpoint] = false;
                        }
                        assert!(tree.accounts_for(&entries, &preserved));
                    }
                    assert!(entries.is_empty());
                    runs += 1;
                }
            }
        }
        assert_eq!(runs, TREES * (1 << ENDPOINTS) * 6);
        Ok(())
    }

    #[test]
    fn a_bridge_that_cannot_count_further_refuses_in_every_tree() -> Result {
        for number in 0..TREES {
            let tree = Tree::new(number)?;

            for endpoint in 0..ENDPOINTS {
                // Each bridge above it is full in turn.
                for full in tree.path(BRIDGES + endpoint).skip(1) {
                    let mut entries = KVec::new();
                    entries.push(
                        Entry {
                            address: full,
                            refcount: NonZero::<u16>::MAX,
                        },
                        GFP_KERNEL,
                    )?;

                    let refusal = tree.toggle(&mut entries, endpoint, true);
                    assert_eq!(refusal, Err(EOVERFLOW));
                    assert_eq!(entries.len(), 1);
                    assert_eq!(
                        plan::preserve(&entries, full, Role::Bridge),
                        Err(plan::Refusal::TooMany)
                    );
                }
            }
        }
        Ok(())
    }
}
