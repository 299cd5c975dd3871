// SPDX-License-Identifier: GPL-2.0

//! `rust/kernel/liveupdate.rs`, as far as it is named.

pub mod kho;

use crate::{
    error::Result,
    fs::LocalFile, //
};
use core::marker::PhantomData;

pub trait FileHandler: Sized + 'static {}

pub struct Unpublished<T: FileHandler>(PhantomData<T>);

pub struct OutgoingSession<'a>(PhantomData<&'a ()>);

impl OutgoingSession<'_> {
    pub fn token_of(&self, _file: &LocalFile) -> Result<u64> {
        Ok(0)
    }
}

pub fn enabled() -> bool {
    true
}

pub mod abi {
    #[derive(Clone, Copy)]
    pub struct AllegedAddress(u64);

    impl AllegedAddress {
        pub fn get(self) -> u64 {
            self.0
        }

        pub fn is_preserved(self, _order: u32) -> bool {
            false
        }

        pub fn to_virt(self) -> *mut core::ffi::c_void {
            core::ptr::null_mut()
        }
    }

    impl From<u64> for AllegedAddress {
        fn from(number: u64) -> Self {
            Self(number)
        }
    }

    pub const fn order_of(size: usize) -> u32 {
        (size / 4096) as u32
    }
}

pub mod pci {
    use crate::{
        bindings,
        pci::Device, //
    };

    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub struct Address(u32);

    pub fn address(_device: &Device) -> Address {
        Address(0)
    }

    pub unsafe fn from_raw<'a>(device: *mut bindings::pci_dev) -> &'a Device {
        unsafe { &*device.cast() }
    }

    pub fn as_raw(device: &Device) -> *mut bindings::pci_dev {
        core::ptr::from_ref(device).cast_mut().cast()
    }

    pub fn path(device: &Device) -> impl Iterator<Item = &Device> + Clone {
        core::iter::once(device)
    }
}
