// SPDX-License-Identifier: GPL-2.0

//! Decides what may be preserved, frozen and finished.

use kernel::{
    fmt,
    liveupdate::pci::Address,
    prelude::*, //
};

/// What a file is, as far as it matters for preserving it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// It was opened through a group, and not through the character device.
    pub(crate) by_group: bool,
    /// Its device is driven by vfio-pci itself, and not by a variant driver.
    pub(crate) by_vfio_pci: bool,
    /// Its device does DMA without an IOMMU.
    pub(crate) no_iommu: bool,
    /// Its device is a virtual function.
    pub(crate) virtual_function: bool,
    /// Its device is an Intel display device, whose regions reach beyond itself.
    pub(crate) intel_display: bool,
}

/// What keeps a device whose file can be preserved from being preserved now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Obstacles {
    /// Somebody unbinds it.
    pub(crate) going_away: bool,
    /// Others can reach its memory.
    pub(crate) dma_bufs: bool,
}

/// Why a file cannot be preserved, whatever is done with its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Its device has another driver, which may have a handler of its own.
    OtherDriver,
    /// It was opened through a group.
    ByGroup,
    /// There is no IOMMU.
    NoIommu,
    /// Its device is a virtual function.
    VirtualFunction,
    /// Its device is an Intel display device.
    IntelDisplay,
}

impl Unfit {
    /// What is wrong, and what to do about it.
    pub(crate) const fn explain(self) -> &'static str {
        match self {
            Self::OtherDriver => "it is bound to a variant driver, bind it to vfio-pci",
            Self::ByGroup => {
                "its file was opened through a group, open its character device in /dev/vfio/devices"
            }
            Self::NoIommu => "it does DMA without an IOMMU, turn that on",
            Self::VirtualFunction => "it is a virtual function, assign the physical one",
            Self::IntelDisplay => "it is an Intel display device, detach it for the live update",
        }
    }
}

/// Decides whether such a file can be preserved.
pub(crate) fn can_preserve(kind: Kind) -> Result<(), Unfit> {
    [
        (!kind.by_vfio_pci, Unfit::OtherDriver),
        (kind.by_group, Unfit::ByGroup),
        (kind.no_iommu, Unfit::NoIommu),
        (kind.virtual_function, Unfit::VirtualFunction),
        (kind.intel_display, Unfit::IntelDisplay),
    ]
    .into_iter()
    .find(|(is, _)| *is)
    .map_or(Ok(()), |(_, unfit)| Err(unfit))
}

/// Decides whether a device can be preserved now.
pub(crate) fn preserve(obstacles: Obstacles) -> Result<(), Refusal> {
    if obstacles.going_away {
        Err(Refusal::GoingAway)
    } else if obstacles.dma_bufs {
        Err(Refusal::DmaBufs)
    } else {
        Ok(())
    }
}

/// Why what a device is attached to does not let it through.
///
/// iommufd decides that, as `enum iommufd_liveupdate_passage` says, but for [`OtherFile`](Self::OtherFile).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unkept {
    /// Its HWPT is nested, or user space made it and did not mark it.
    Unmarked,
    /// Its HWPT is marked, and its iommufd is not preserved in the session.
    Order,
    /// PASIDs of it are attached.
    Pasids,
    /// Somebody uses its iommufd, or attaches a device of its group, at this moment.
    Busy,
    /// It is bound by another file than the one that is to be preserved.
    OtherFile,
    /// The entries of its IOMMU cannot be preserved.
    Iommu(Error),
    /// The kernel gave way to a kexec, or to the end of the process, before anything was decided.
    GaveWay(Error),
}

impl Unkept {
    /// What is wrong, and what to do about it, unless there is nothing to be mended.
    pub(crate) const fn explain(self) -> Option<&'static str> {
        match self {
            Self::Unmarked => {
                Some("mark its HWPT, and preserve its iommufd first, in the same session")
            }
            Self::Order => Some("preserve its iommufd first, in the same session"),
            Self::Pasids => Some("detach its PASIDs"),
            Self::Busy => Some("its iommufd is in use, try again"),
            Self::OtherFile => Some("preserve the file of it that is bound"),
            Self::Iommu(_) => Some("its IOMMU says what keeps it"),
            Self::GaveWay(_) => None,
        }
    }
}

/// Who can still use a device through the file that is preserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Somebody has the file, or bound the device by another one.
    Present,
    /// Nobody: only its session has the file, by which the device is bound.
    Gone,
    /// Nobody: only its session has the file, and the device is not bound.
    NeverBound,
}

/// What a device is doing, as far as it matters for a kexec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Activity {
    /// Who can end what it is doing.
    pub(crate) owner: Owner,
    /// Somebody unbinds or resets it.
    pub(crate) going_away: bool,
    /// It may raise interrupts, which the next kernel does not expect.
    pub(crate) interrupts: bool,
    /// Events of user space are written to its BARs.
    pub(crate) ioeventfds: bool,
    /// Others can reach its memory.
    pub(crate) dma_bufs: bool,
    /// It is in power state D0, in which alone it can be stopped and reset.
    pub(crate) in_d0: bool,
    /// It goes on doing DMA, and something that it shares an IOMMU group with does not.
    pub(crate) leaves_group: bool,
    /// It goes on doing DMA, and its IOMMU does not have for it what was preserved.
    pub(crate) lost_translation: bool,
}

/// Why a device is not preserved, or does not get through a kexec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// An operation of user space does not end.
    Operation,
    /// It is being unbound or reset.
    GoingAway,
    /// Interrupts are enabled.
    Interrupts,
    /// Eventfds are connected to it.
    Ioeventfds,
    /// Its memory is exported.
    DmaBufs,
    /// The device is not in D0.
    PowerState,
    /// The device has no owner, and could not be brought to D0.
    Asleep,
    /// Something in its IOMMU group does not go on.
    Group,
    /// Somebody adds or removes PCI devices.
    Topology,
    /// Its translation is not the one that was preserved.
    Translation,
}

impl Refusal {
    /// What is wrong, and what to do about it.
    pub(crate) const fn explain(self) -> &'static str {
        match self {
            Self::Operation => "an operation on a vfio device does not end, try again",
            Self::GoingAway => "it is being unbound or reset, try again or close its session",
            Self::DmaBufs => "its memory is exported, close the dma-bufs",
            Self::Interrupts => "interrupts are enabled, disable them with VFIO_DEVICE_SET_IRQS",
            Self::Ioeventfds => "eventfds are connected, remove them with VFIO_DEVICE_IOEVENTFD",
            Self::PowerState => "it is not in D0, have it leave its low power state",
            Self::Asleep => "its owner is gone, and it cannot be brought to D0, drop its session",
            Self::Group => "its IOMMU group has another device, preserve that with the same HWPT",
            Self::Topology => "PCI devices are being added or removed, try again after that",
            Self::Translation => {
                "its IOMMU has not what was preserved, as a line before this says: preserve it again"
            }
        }
    }
}

/// What is done to a device before it goes through a kexec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// It is left as it is.
    LeftAlone,
    /// What its owner would have turned off is turned off.
    Quiesced {
        /// The owner left interrupts, ioeventfds or a low power state on.
        left_on: bool,
    },
}

/// Decides whether a device may go through a kexec, and what is done to it before.
///
/// What only its owner could end keeps nobody from a kexec once the owner is gone. A device that
/// nobody bound has no interrupts and no ioeventfds, and is woken up when it is shut down.
pub(crate) fn freeze(activity: Activity) -> Result<Treatment, Refusal> {
    let has_owner = activity.owner == Owner::Present;

    if activity.going_away {
        Err(Refusal::GoingAway)
    } else if has_owner && activity.interrupts {
        Err(Refusal::Interrupts)
    } else if has_owner && activity.ioeventfds {
        Err(Refusal::Ioeventfds)
    } else if activity.dma_bufs {
        Err(Refusal::DmaBufs)
    } else if has_owner && !activity.in_d0 {
        Err(Refusal::PowerState)
    } else if activity.leaves_group {
        Err(Refusal::Group)
    } else if activity.lost_translation {
        Err(Refusal::Translation)
    } else {
        Ok(match activity.owner {
            Owner::Present | Owner::NeverBound => Treatment::LeftAlone,
            Owner::Gone => Treatment::Quiesced {
                left_on: activity.interrupts || activity.ioeventfds || !activity.in_d0,
            },
        })
    }
}

/// Why a file cannot be retrieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Its record is not in memory that was handed over.
    Record,
    /// Something follows its record.
    Length,
    /// Its record names an address that there cannot be.
    Address,
    /// There is no device at the address.
    Missing(Address),
    /// The device was not preserved, or for another file.
    NotPreserved(Address),
    /// The device is not bound to vfio-pci.
    NotBound(Address),
    /// No driver may bind to the device before it is finished.
    Barred(Address),
    /// There cannot be another file of the device now.
    NoFile(Address),
    /// The device cannot be opened.
    NotOpened(Address),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record => write!(
                f,
                "its record is not in memory that was handed over, finish the session"
            ),
            Self::Length => write!(
                f,
                "its record is longer than those of its name, finish the session"
            ),
            Self::Address => write!(
                f,
                "its record names an address that there cannot be, finish the session"
            ),
            Self::Missing(address) => write!(
                f,
                "there is no device {address:?}, retrieve it again if it comes, or finish the session"
            ),
            Self::NotPreserved(address) => write!(
                f,
                "{address:?} was not preserved for it, finish the session"
            ),
            Self::NotBound(address) => write!(
                f,
                "{address:?} is not bound, bind it to vfio-pci and retrieve it again"
            ),
            Self::Barred(address) => write!(
                f,
                "no driver may bind to {address:?} before the session is finished, finish it"
            ),
            Self::NoFile(address) => write!(
                f,
                "there cannot be another file of {address:?} now, retrieve it again"
            ),
            Self::NotOpened(address) => {
                write!(f, "{address:?} cannot be opened, finish the session")
            }
        }
    }
}

/// How far the retrieval of a file got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nobody asked for it.
    NotRetrieved,
    /// It was asked for too early, and is to be asked for again.
    Waiting,
    /// It cannot be retrieved, as far as is known.
    Failed,
    /// It was retrieved, and is not bound to an iommufd.
    Unbound,
    /// It was retrieved, and is bound to an iommufd. Its device does DMA since the previous kernel, and nobody
    /// attached it to anything since.
    Unattached,
    /// It was retrieved, and is bound to an iommufd.
    Bound,
}

impl Progress {
    /// Returns what is to be done before the file can be finished, if something is.
    pub(crate) const fn missing(self) -> Option<&'static str> {
        match self {
            Self::NotRetrieved => Some("it was not retrieved"),
            Self::Waiting => Some("it was retrieved too early, retrieve it again"),
            Self::Unbound => Some("it is bound to no iommufd"),
            Self::Unattached => {
                Some("it does DMA, and is attached to nothing since it was retrieved")
            }
            Self::Failed | Self::Bound => None,
        }
    }
}

/// Returns whether user space may finish a file.
///
/// Finishing one that is not bound would leave its device to whoever opens it first, and so would
/// finishing one whose device waits for its driver. One that is not attached would have to be stopped.
pub(crate) fn can_finish(progress: Progress) -> bool {
    progress.missing().is_none()
}
