// SPDX-License-Identifier: GPL-2.0

//! Tests of what is read in the kernel. What is pure is tested on the host.

use super::{
    apply,
    exports,
    ffi,
    plan::Declared, //
};
use kernel::prelude::*;

/// How long the setup code is that [`image`] makes.
const SETUP: usize = 2 * 512;

/// Returns an image that declares what this kernel does, and has nothing else.
fn image() -> Result<KVec<u8>> {
    let own = ffi::own_declaration();
    let total = u32::try_from(12 + own.len())?;

    let mut image = KVec::from_elem(0, SETUP, GFP_KERNEL)?;
    image[0x1f1] = 1;
    image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    image[0x202..0x208].copy_from_slice(b"HdrS\x0f\x02");
    for part in [b"LToP", &12_u32.to_le_bytes(), &total.to_le_bytes()] {
        image.extend_from_slice(part, GFP_KERNEL)?;
    }
    image.extend_from_slice(own, GFP_KERNEL)?;
    Ok(image)
}

#[kunit_tests(rust_liveupdate_image)]
mod cases {
    use super::*;

    #[test]
    fn own_declaration_can_be_read() {
        // Each name has a version then.
        let own = apply::own().map(|own| own.iter().count());

        // As many as there are bits.
        assert!(own.is_some_and(|count| count <= 64));
    }

    #[test]
    fn own_names_are_different() {
        for own in apply::own().into_iter() {
            for (index, name) in own.iter().enumerate() {
                assert!(own.iter().skip(index + 1).all(|other| other != name));
            }
        }
    }

    #[test]
    fn this_kernel_takes_over_what_it_hands_over() {
        for own in apply::own().into_iter() {
            assert!(Declared::by(own, Some(own)).lacks(own).is_empty());
            assert!(!Declared::by(own, None).lacks(own).is_empty());
        }
    }

    #[test]
    fn an_image_counts_only_with_a_hand_over() -> Result {
        let mut image = image()?;
        let own = apply::own().ok_or(EINVAL)?;

        let noted = exports::noted_when_loaded(&mut image, true)?;
        assert!(noted.lacks(own).is_empty());
        // As for an image that is booted after a crash, or with KHO off.
        assert_eq!(
            exports::noted_when_loaded(&mut image, false)?,
            Declared::NOTHING
        );
        Ok(())
    }

    #[test]
    fn an_image_that_is_cut_off_declares_nothing() -> Result {
        let mut image = image()?;

        for length in 0..image.len() {
            let noted = exports::noted_when_loaded(&mut image[..length], true)?;
            assert_eq!(noted, Declared::NOTHING);
        }
        Ok(())
    }

    #[test]
    fn nothing_is_stopped_while_no_kexec_happens() {
        assert!(!apply::stops_devices());
    }
}
