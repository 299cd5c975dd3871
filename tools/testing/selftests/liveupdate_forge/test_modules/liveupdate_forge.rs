// SPDX-License-Identifier: GPL-2.0

//! Forges what a kernel hands over about vfio-pci devices. For tests of the kernel that takes over.
//!
//! Registers handlers in place of those of vfio-pci, so that both cannot be in one kernel, and has
//! user space say what they hand over: any words, and any bytes in pages that are preserved. What
//! follows from that in the next kernel is what is tested; this one is not harmed.
//!
//! `/dev/liveupdate_forge` is for the content:
//!
//! - What is written to it goes to preserved pages. The first page is at position 0, the second at
//!   [`PAGE_SIZE`], and so on.
//! - Reading a `__u64` at the position of a page returns the page's physical address.
//! - [`SET_FILE_HANDLE`] sets the handle of the files that are preserved from then on,
//!   [`SET_DEVICES_HANDLE`] that of the list of PCI devices, [`SET_DRIVERS_HANDLE`] that of the list
//!   of drivers for them, [`SET_PROBES_HANDLE`] that of the list of their registers,
//!   [`SET_IOMMUS_HANDLE`] that of the record of IOMMUs of other kernels. The lists are handed over
//!   from when the first file is preserved.
//!
//! With `no_drivers=1` there is no list of drivers, as from a kernel that does not write it. With
//! `only_unknown=1` there is nothing but the handler of what no kernel knows, beside vfio-pci. With
//! `others=1` there are the handlers and FLBs of kernels that hand over the same in other layouts.
//!
//! Files of `/dev/null` are preserved as if they were of vfio-pci, files of `/dev/zero` as if they
//! were iommufds of such other kernels, files of `/dev/full` as something that no kernel knows.

use core::marker::PhantomData;
use kernel::{
    fs::{
        File,
        Kiocb,
        LocalFile, //
    },
    ioctl::_IO,
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    liveupdate::{
        self,
        kho::{
            Folio,
            Preserved, //
        },
        FileHandler,
        Flb,
        FlbCell,
        Handle,
        Handler,
        Incoming,
        Outgoing,
        Registration, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        Mutex,
        SetOnce, //
    }, //
};

module! {
    type: LiveUpdateForge,
    name: "liveupdate_forge",
    authors: ["liveupdate_rs maintainers"],
    description: "Forges what a kernel hands over, for tests",
    license: "GPL",
    params: {
        no_drivers: bool {
            default: false,
            description: "Do not hand over the list of drivers",
        },
        only_unknown: bool {
            default: false,
            description: "Only know the files that no kernel knows",
        },
        others: bool {
            default: false,
            description: "Hand over under the names of other kernels",
        },
    },
}

/// Sets the handle of files to the argument. `LIVEUPDATE_FORGE_SET_FILE_HANDLE` in user space.
const SET_FILE_HANDLE: u32 = _IO('f' as u32, 0);

/// Sets the handle of the list of PCI devices to the argument.
/// `LIVEUPDATE_FORGE_SET_DEVICES_HANDLE` in user space.
const SET_DEVICES_HANDLE: u32 = _IO('f' as u32, 1);

/// Sets the handle of the list of drivers to the argument.
/// `LIVEUPDATE_FORGE_SET_DRIVERS_HANDLE` in user space.
const SET_DRIVERS_HANDLE: u32 = _IO('f' as u32, 2);

/// Sets the handle of the list of registers to the argument.
/// `LIVEUPDATE_FORGE_SET_PROBES_HANDLE` in user space.
const SET_PROBES_HANDLE: u32 = _IO('f' as u32, 3);

/// Sets the handle of the record of IOMMUs of other kernels to the argument.
/// `LIVEUPDATE_FORGE_SET_IOMMUS_HANDLE` in user space.
const SET_IOMMUS_HANDLE: u32 = _IO('f' as u32, 4);

/// How many pages can be forged.
const MAX_PAGES: usize = 64;

/// What is handed over.
struct Forgery {
    file: Handle,
    devices: Handle,
    drivers: Handle,
    probes: Handle,
    iommus: Handle,
    pages: KVec<Preserved<Folio>>,
}

impl Forgery {
    /// Returns a page, and preserves it and all before it if they are not yet.
    fn page(&mut self, index: usize) -> Result<&mut Preserved<Folio>> {
        if index >= MAX_PAGES {
            return Err(EFBIG);
        }

        while self.pages.len() <= index {
            let page = Preserved::new(Folio::new(GFP_KERNEL, 0)?).map_err(|(err, _)| err)?;

            self.pages.push(page, GFP_KERNEL)?;
        }
        Ok(&mut self.pages[index])
    }
}

/// Populated while the module is initialised, before anything else can ask.
static FORGERY: SetOnce<Pin<KBox<Mutex<Forgery>>>> = SetOnce::new();

fn forgery() -> Result<&'static Mutex<Forgery>> {
    Ok(FORGERY.as_ref().ok_or(ENODEV)?)
}

/// Splits the position in a file into a page and an offset.
fn locate(position: i64) -> Result<(usize, usize)> {
    let position = usize::try_from(position)?;

    Ok((position / PAGE_SIZE, position % PAGE_SIZE))
}

/// An open `/dev/liveupdate_forge`.
struct Control;

#[vtable]
impl MiscDevice for Control {
    type Ptr = KBox<Self>;

    fn open(_file: &File, _misc: &MiscDeviceRegistration<Self>) -> Result<KBox<Self>> {
        Ok(KBox::new(Self, GFP_KERNEL)?)
    }

    fn write_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterSource<'_>) -> Result<usize> {
        let (index, offset) = locate(kiocb.ki_pos())?;
        let mut forgery = forgery()?.lock();

        Ok(iov.copy_from_iter(&mut forgery.page(index)?[offset..]))
    }

    fn read_iter(kiocb: Kiocb<'_, Self::Ptr>, iov: &mut IovIterDest<'_>) -> Result<usize> {
        let (index, _) = locate(kiocb.ki_pos())?;
        let phys = forgery()?.lock().page(index)?.phys();

        Ok(iov.copy_to_iter(&phys.to_ne_bytes()))
    }

    fn ioctl(_me: &Self, _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        let mut forgery = forgery()?.lock();
        let handle = Handle::new(u64::try_from(arg)?);

        match cmd {
            SET_FILE_HANDLE => forgery.file = handle,
            SET_DEVICES_HANDLE => forgery.devices = handle,
            SET_DRIVERS_HANDLE => forgery.drivers = handle,
            SET_PROBES_HANDLE => forgery.probes = handle,
            SET_IOMMUS_HANDLE => forgery.iommus = handle,
            _ => return Err(ENOTTY),
        }
        Ok(0)
    }
}

/// What a handler of forged files pretends to be.
trait Disguise: 'static {
    /// The compatible string of the handler.
    const COMPATIBLE: &'static CStr;

    /// Major and minor number of the device whose files it preserves.
    const DEVICE: (u32, u32);
}

/// The handler of vfio-pci: `VFIO_PCI_LUO_FH_COMPATIBLE`, and `/dev/null`.
struct VfioPci;

impl Disguise for VfioPci {
    const COMPATIBLE: &'static CStr = c"vfio-pci-rs-v1";
    const DEVICE: (u32, u32) = (1, 3);
}

/// The handler of vfio-pci of other kernels, and `/dev/null`.
struct OtherVfioPci;

impl Disguise for OtherVfioPci {
    const COMPATIBLE: &'static CStr = c"vfio-pci-v1";
    const DEVICE: (u32, u32) = (1, 3);
}

/// The handler of iommufds of other kernels, and `/dev/zero`.
struct OtherIommufd;

impl Disguise for OtherIommufd {
    const COMPATIBLE: &'static CStr = c"iommufd-v1";
    const DEVICE: (u32, u32) = (1, 5);
}

/// A handler that no kernel has, and `/dev/full`.
struct Unknown;

impl Disguise for Unknown {
    const COMPATIBLE: &'static CStr = c"no-such-handler-v1";
    const DEVICE: (u32, u32) = (1, 7);
}

/// A handler that hands over what it was told.
struct Forger<D: Disguise>(PhantomData<D>);

#[vtable]
impl<D: Disguise> FileHandler for Forger<D> {
    const COMPATIBLE: &'static CStr = D::COMPATIBLE;

    type Preserved = ();
    type Frozen = ();

    fn can_preserve(file: &LocalFile) -> bool {
        liveupdate::device_number(file) == Some(D::DEVICE)
    }

    fn preserve(_outgoing: &Outgoing<'_>) -> Result<(Self::Preserved, Handle)> {
        Ok(((), forgery()?.lock().file))
    }

    fn retrieve(_incoming: &Incoming<'_>) -> Result<ARef<LocalFile>> {
        Err(EOPNOTSUPP)
    }

    fn finish(_incoming: &Incoming<'_>) {}
}

static VFIO_PCI: Handler<Forger<VfioPci>> = Handler::new();
static OTHER_VFIO_PCI: Handler<Forger<OtherVfioPci>> = Handler::new();
static OTHER_IOMMUFD: Handler<Forger<OtherIommufd>> = Handler::new();
static UNKNOWN: Handler<Forger<Unknown>> = Handler::new();

/// The list of PCI devices that are preserved.
struct Devices;

#[vtable]
impl Flb for Devices {
    /// `PCI_LUO_FLB_COMPATIBLE`
    const COMPATIBLE: &'static CStr = c"pci";

    type Outgoing = ();
    type Incoming = ();

    fn preserve() -> Result<(Pin<KBox<Self::Outgoing>>, Handle)> {
        Ok((KBox::pin((), GFP_KERNEL)?, forgery()?.lock().devices))
    }

    fn retrieve(_handle: Handle) -> Result<Pin<KBox<Self::Incoming>>> {
        Err(EOPNOTSUPP)
    }
}

/// The list of the drivers that can take over the devices.
struct Drivers;

#[vtable]
impl Flb for Drivers {
    /// `PCI_LUO_DRIVER_FLB_COMPATIBLE`
    const COMPATIBLE: &'static CStr = c"pci-driver-rs";

    type Outgoing = ();
    type Incoming = ();

    fn preserve() -> Result<(Pin<KBox<Self::Outgoing>>, Handle)> {
        Ok((KBox::pin((), GFP_KERNEL)?, forgery()?.lock().drivers))
    }

    fn retrieve(_handle: Handle) -> Result<Pin<KBox<Self::Incoming>>> {
        Err(EOPNOTSUPP)
    }
}

/// The list of what is known of their registers.
struct Probes;

#[vtable]
impl Flb for Probes {
    /// `PCI_LUO_PROBE_FLB_COMPATIBLE`
    const COMPATIBLE: &'static CStr = c"pci-probe-rs";

    type Outgoing = ();
    type Incoming = ();

    fn preserve() -> Result<(Pin<KBox<Self::Outgoing>>, Handle)> {
        Ok((KBox::pin((), GFP_KERNEL)?, forgery()?.lock().probes))
    }

    fn retrieve(_handle: Handle) -> Result<Pin<KBox<Self::Incoming>>> {
        Err(EOPNOTSUPP)
    }
}

/// What other kernels hand over of IOMMUs.
struct OtherIommus;

#[vtable]
impl Flb for OtherIommus {
    const COMPATIBLE: &'static CStr = c"iommu-liveupdate";

    type Outgoing = ();
    type Incoming = ();

    fn preserve() -> Result<(Pin<KBox<Self::Outgoing>>, Handle)> {
        Ok((KBox::pin((), GFP_KERNEL)?, forgery()?.lock().iommus))
    }

    fn retrieve(_handle: Handle) -> Result<Pin<KBox<Self::Incoming>>> {
        Err(EOPNOTSUPP)
    }
}

static DEVICES: FlbCell<Devices> = FlbCell::new();
static DRIVERS: FlbCell<Drivers> = FlbCell::new();
static PROBES: FlbCell<Probes> = FlbCell::new();
static OTHER_IOMMUS: FlbCell<OtherIommus> = FlbCell::new();

/// Keeps the handlers registered while the module is loaded.
#[pin_data(PinnedDrop)]
struct LiveUpdateForge {
    _vfio_pci: Option<Registration<Forger<VfioPci>>>,
    _other_vfio_pci: Option<Registration<Forger<OtherVfioPci>>>,
    _other_iommufd: Option<Registration<Forger<OtherIommufd>>>,
    _unknown: Registration<Forger<Unknown>>,
    #[pin]
    _control: MiscDeviceRegistration<Control>,
}

impl kernel::InPlaceModule for LiveUpdateForge {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(|| {
            let forgery = new_mutex!(Forgery {
                file: Handle::new(0),
                devices: Handle::new(0),
                drivers: Handle::new(0),
                probes: Handle::new(0),
                iommus: Handle::new(0),
                pages: KVec::new(),
            });
            FORGERY.populate(KBox::pin_init(forgery, GFP_KERNEL)?);

            let mut vfio_pci = None;
            let mut other_vfio_pci = None;
            let mut other_iommufd = None;
            if module_parameters::others.value() {
                let handler = OTHER_VFIO_PCI.register()?.attach(&DEVICES)?;
                other_vfio_pci = Some(handler.publish());
                let handler = OTHER_IOMMUFD.register()?.attach(&OTHER_IOMMUS)?;
                other_iommufd = Some(handler.publish());
            } else if !module_parameters::only_unknown.value() {
                let mut handler = VFIO_PCI.register()?.attach(&DEVICES)?.attach(&PROBES)?;
                if !module_parameters::no_drivers.value() {
                    handler = handler.attach(&DRIVERS)?;
                }
                vfio_pci = Some(handler.publish());
            }

            Ok(try_pin_init!(Self {
                _vfio_pci: vfio_pci,
                _other_vfio_pci: other_vfio_pci,
                _other_iommufd: other_iommufd,
                _unknown: UNKNOWN.register()?.publish(),
                _control <- MiscDeviceRegistration::register(MiscDeviceOptions {
                    name: c"liveupdate_forge",
                }),
            }))
        })
    }
}

#[pinned_drop]
impl PinnedDrop for LiveUpdateForge {
    fn drop(self: Pin<&mut Self>) {
        // A static is never dropped, and would leave the pages to the next kernel.
        if let Some(forgery) = FORGERY.as_ref() {
            forgery.lock().pages.clear();
        }
    }
}
