// SPDX-License-Identifier: GPL-2.0

//! What has to hold of any bytes at all.

use super::{
    super::entries::{
        DeviceRecord,
        DomainRecord,
        Format,
        RawDeviceSer,
        RawDomainSer, //
    },
    bits::PASID_ENTRY_WORDS,
    plan::{
        self,
        check_scalable,
        Attachment, //
    },
};
use kernel::prelude::*;

/// Reads bytes as if a unit had them: a domain and a device that were handed over, and an entry.
///
/// Returns whether the entry was accepted for them.
///
/// # Panics
///
/// If it is accepted and leads elsewhere.
pub fn fuzz_intel(bytes: &[u8]) -> bool {
    let Ok((domain, rest)) = RawDomainSer::read_from_prefix(bytes) else {
        return false;
    };
    let Ok((device, rest)) = RawDeviceSer::read_from_prefix(rest) else {
        return false;
    };
    let Ok((entry, rest)) = <[u64; PASID_ENTRY_WORDS]>::read_from_prefix(rest) else {
        return false;
    };
    let ats = rest.first().is_some_and(|byte| byte & 1 != 0);
    let (Ok(domain), Ok(device)) = (
        DomainRecord::try_from(&domain),
        DeviceRecord::try_from(&device),
    ) else {
        return false;
    };

    let attachment = Attachment {
        domain,
        did: device.did,
        ats,
    };
    let tt = u64::from(ats) << 2;
    let (top, did) = (domain.top().phys(), u64::from(device.did));

    let legacy = attachment.check_legacy([entry[0], entry[1]]).is_ok();
    if legacy {
        assert_eq!(entry[0], top | tt | 1);
        assert_eq!(entry[1], (did << 8) | (u64::from(domain.level()) - 1));
    }

    let pasid = attachment.check_pasid(entry).is_ok();
    if pasid {
        let stages = (entry[0] >> 6) & 7;

        assert_eq!(entry[1] & 0xffff, did);
        match domain.format() {
            Format::SecondStage => assert_eq!((stages, entry[0] & !0xfff), (2, top)),
            Format::FirstStage => assert_eq!((stages, entry[2] & !0xfff), (1, top)),
        }
    }

    let scalable = device.pasids.is_some_and(|pasids| {
        let words = [entry[0], entry[1], entry[2], entry[3]];
        let accepted = check_scalable(&pasids, ats, words).is_ok();

        if accepted {
            assert_eq!(entry[0] & !0xfff, pasids.table.phys());
            assert_eq!(entry[0] & 4 != 0, ats);
            assert_eq!(
                plan::directory(entry[0]),
                Some((pasids.table.phys(), pasids.order))
            );
        }
        accepted
    });

    legacy || pasid || scalable
}
