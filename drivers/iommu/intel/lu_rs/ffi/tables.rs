// SPDX-License-Identifier: GPL-2.0

//! Tables that units read: pages of quadwords in the direct map.
//!
//! A table is the unit's own, the driver's, or one that was handed over and is checked: none is made of
//! a number.

use super::{
    super::{
        super::{
            entries::{
                PasidDirectory,
                TableAddress, //
            },
            ffi::take_over,
        },
        bits::WORDS,
        plan::{
            self,
            Place, //
        },
    },
    BootUnit, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    error::to_result,
    ffi::c_void,
    page::PAGE_SIZE,
    prelude::*, //
};

/// A page of a table.
///
/// # Invariants
///
/// Points to [`WORDS`] words in the direct map, which are a table for `'a`. Units read them at any time.
pub(crate) struct TablePage<'a> {
    words: NonNull<u64>,
    _table: PhantomData<&'a ()>,
}

// SAFETY: Tables belong to no thread, and words are read and written whole.
unsafe impl Send for TablePage<'_> {}

// SAFETY: As above.
unsafe impl Sync for TablePage<'_> {}

impl TablePage<'_> {
    /// Makes one of a pointer.
    ///
    /// # Safety
    ///
    /// `words` points to a table for as long as the result exists.
    unsafe fn new(words: NonNull<u64>) -> Self {
        // INVARIANT: By function requirement.
        Self {
            words,
            _table: PhantomData,
        }
    }

    /// Makes one of a physical address.
    ///
    /// # Safety
    ///
    /// There is a table for as long as the result exists.
    unsafe fn at(phys: u64) -> Option<Self> {
        // SAFETY: Arithmetic.
        let words = NonNull::new(unsafe { bindings::phys_to_virt(phys) }.cast())?;

        // SAFETY: By function requirement.
        Some(unsafe { Self::new(words) })
    }

    /// Returns a pointer to a word. Indices behind the last word begin again.
    pub(super) fn word(&self, index: usize) -> NonNull<u64> {
        // SAFETY: By the type invariants, within the table.
        unsafe { self.words.add(index % WORDS) }
    }

    /// Reads a word.
    pub(crate) fn load(&self, index: usize) -> u64 {
        // SAFETY: By the type invariants. Volatile, for the unit may write to it.
        unsafe { self.word(index).read_volatile() }
    }

    /// Reads the words of an entry.
    pub(crate) fn entry<const N: usize>(&self, index: usize) -> [u64; N] {
        core::array::from_fn(|word| self.load(index + word))
    }

    /// Writes a word.
    ///
    /// # Safety
    ///
    /// What the word names is a table of the kind that the unit expects there.
    pub(super) unsafe fn store(&self, index: usize, value: u64) {
        // SAFETY: By the type invariants. Volatile, for the unit reads it at any time.
        unsafe { self.word(index).write_volatile(value) };
    }

    /// Returns the physical address.
    pub(crate) fn phys(&self) -> u64 {
        // SAFETY: By the type invariants, in the direct map.
        unsafe { bindings::virt_to_phys(self.words.as_ptr().cast()) }
    }

    fn folio(&self) -> *mut bindings::folio {
        // SAFETY: By the type invariants, in the direct map.
        unsafe { bindings::virt_to_folio(self.words.as_ptr().cast()) }
    }

    /// Preserves the folio that the table is in.
    ///
    /// # Errors
    ///
    /// `ENOMEM` if memory is short.
    pub(crate) fn preserve(&self) -> Result {
        // SAFETY: The folio of a table, which does not move.
        to_result(unsafe { bindings::kho_preserve_folio(self.folio()) })
    }

    /// Unpreserves the folio that the table is in, after [`preserve`](Self::preserve) succeeded.
    pub(crate) fn unpreserve(&self) {
        // SAFETY: The folio of a table.
        unsafe { bindings::kho_unpreserve_folio(self.folio()) };
    }
}

/// A context table of a unit.
pub(crate) type ContextTable<'a> = TablePage<'a>;

/// Returns the context table that a half of a root entry names, if it names one.
///
/// # Safety
///
/// Context tables that `root` names are tables, for `'a`.
unsafe fn context_table<'a>(root: &TablePage<'_>, half: usize) -> Option<ContextTable<'a>> {
    let phys = plan::context_table(root.load(half))?;

    // SAFETY: By function requirement.
    unsafe { TablePage::at(phys) }
}

/// The root table of a unit.
///
/// # Invariants
///
/// Context tables that it names are this kernel's, and so are PASID directories that those name in scalable
/// mode, each with the table of the first PASIDs. They stay as long as the root table does.
pub(crate) struct RootTable<'a>(TablePage<'a>);

impl<'a> RootTable<'a> {
    /// Makes one of what the driver of a unit has as its root table.
    ///
    /// # Safety
    ///
    /// `words` points to the root table of a unit that is in use, for `'a`.
    pub(super) unsafe fn new(words: NonNull<u64>) -> Self {
        // INVARIANT: By function requirement. Context tables are freed with their unit only, and the driver
        // clears an entry before it frees what that names.
        //
        // SAFETY: By function requirement.
        Self(unsafe { TablePage::new(words) })
    }

    /// Returns the table itself.
    pub(crate) fn page(&self) -> &TablePage<'a> {
        &self.0
    }

    /// Returns the context table that a half of an entry names, if it names one.
    pub(crate) fn context_table(&self, half: usize) -> Option<ContextTable<'a>> {
        // SAFETY: By the type invariants.
        unsafe { context_table(&self.0, half) }
    }

    /// Returns all context tables, each with the half of an entry that names it.
    pub(crate) fn context_tables(&self) -> impl Iterator<Item = (usize, ContextTable<'a>)> + '_ {
        (0..WORDS).filter_map(|half| Some((half, self.context_table(half)?)))
    }

    /// Returns the PASID directory that a context entry names, if it names one. The entry begins at a word of
    /// the context table that a half of a root entry names.
    ///
    /// # Safety
    ///
    /// The tables are of scalable mode, and an entry begins there.
    pub(super) unsafe fn directory(&self, half: usize, word: usize) -> Option<Directory<'a>> {
        let (phys, order) = plan::directory(self.context_table(half)?.load(word))?;
        // SAFETY: Arithmetic.
        let words = NonNull::new(unsafe { bindings::phys_to_virt(phys) }.cast())?;

        // SAFETY: By the type invariants, and by function requirement.
        Some(unsafe { Directory::new(words, order) })
    }
}

/// The root table of a unit, which was handed over, and whose context tables are not checked.
pub(crate) struct UncheckedRoot<'a> {
    unit: BootUnit<'a>,
    root: TablePage<'static>,
}

impl<'a> UncheckedRoot<'a> {
    /// Takes over the root table of a unit at an address, if it was handed over.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it was not.
    pub(crate) fn restore(unit: BootUnit<'a>, address: TableAddress) -> Result<Self> {
        restore(address, 0)?;

        // SAFETY: Just restored. Nobody frees it.
        let root = unsafe { TablePage::at(address.phys()) }.ok_or(EINVAL)?;
        Ok(Self { unit, root })
    }

    /// Takes over the context tables that the root table names, in halves of entries that `is_meant`. Calls
    /// `lose` with each other half that names one, and with those whose table was not handed over, which are
    /// cleared.
    pub(crate) fn take_over(
        self,
        is_meant: impl Fn(usize) -> bool,
        mut lose: impl FnMut(usize),
    ) -> UncheckedEntries<'a> {
        let Self { unit, root } = self;

        for half in 0..WORDS {
            let Some(phys) = plan::context_table(root.load(half)) else {
                continue;
            };

            let restored = phys
                .try_into()
                .is_ok_and(|at| is_meant(half) && restore(at, 0).is_ok());
            if !restored {
                lose(half);
                unit.clear(&root, half, 1);
            }
        }

        // INVARIANT: Those that are left were just restored.
        UncheckedEntries { unit, root }
    }
}

/// The root table of a unit, which was handed over, and whose context entries are not checked.
///
/// # Invariants
///
/// Context tables that it names are this kernel's, and stay.
pub(crate) struct UncheckedEntries<'a> {
    unit: BootUnit<'a>,
    root: TablePage<'static>,
}

/// Why a context entry stays.
pub(crate) enum Stays<'a> {
    /// It names no PASID directory: it is of legacy mode.
    Legacy,
    /// It names this PASID directory.
    Scalable(Directory<'a>),
}

impl UncheckedEntries<'_> {
    /// Returns the context table that a half of a root entry names, if it names one.
    pub(crate) fn context_table(&self, half: usize) -> Option<ContextTable<'_>> {
        // SAFETY: By the type invariants.
        unsafe { context_table(&self.root, half) }
    }

    /// Clears the entries of all devices but those that `stays` says something of, by their numbers, and has
    /// the driver go on with the root table. Returns whether entries were cleared, which the unit may have
    /// cached still.
    pub(crate) fn adopt<'b>(self, stays: impl Fn(u16) -> Option<Stays<'b>>) -> bool {
        let unit = self.unit;
        let scalable = unit.is_scalable();
        let words = plan::context_words(scalable);
        let mut cleared = false;

        for half in 0..WORDS {
            let Some(context) = self.context_table(half) else {
                continue;
            };

            for word in (0..WORDS).step_by(words) {
                let entry = context.load(word);
                let is_kept = match Place::bdf(half, word, scalable).and_then(&stays) {
                    Some(Stays::Legacy) => !scalable,
                    Some(Stays::Scalable(directory)) => {
                        let named = (directory.first_page().phys(), directory.order);

                        scalable && plan::directory(entry).is_none_or(|names| names == named)
                    }
                    None => false,
                };

                if !is_kept && (0..words).any(|offset| context.load(word + offset) != 0) {
                    unit.clear(&context, word, words);
                    cleared = true;
                }
            }
        }

        // INVARIANT: The entries that are left name directories of this kernel, in scalable mode.
        unit.adopt(&RootTable(self.root));
        cleared
    }
}

/// Takes over a block of `2^order` pages that was handed over.
///
/// # Errors
///
/// `EINVAL` if it was not handed over, or was taken over before.
fn restore(address: TableAddress, order: u32) -> Result {
    // Tables of a unit are flushed where they are written.
    take_over(address, order, false)
}

/// A PASID directory of this kernel.
///
/// # Invariants
///
/// Points to `2^order` pages in the direct map, which are a directory for `'a`. The table of the first PASIDs
/// that it names, if it does, is this kernel's, too.
#[derive(Clone, Copy)]
pub(crate) struct Directory<'a> {
    words: NonNull<u64>,
    order: u32,
    _table: PhantomData<&'a ()>,
}

// SAFETY: Tables belong to no thread, and words are read and written whole.
unsafe impl Send for Directory<'_> {}

// SAFETY: As above.
unsafe impl Sync for Directory<'_> {}

impl<'a> Directory<'a> {
    /// Makes one of what the driver has of a device.
    ///
    /// # Safety
    ///
    /// `words` points to a directory of `2^order` pages that the driver made or took over, for `'a`.
    pub(super) unsafe fn new(words: NonNull<u64>, order: u32) -> Self {
        // INVARIANT: By function requirement. PASID tables are freed with their directory.
        Self {
            words,
            order,
            _table: PhantomData,
        }
    }

    /// Returns its pages, the one with the entry of the first PASIDs first.
    pub(crate) fn pages(self) -> impl Iterator<Item = TablePage<'a>> {
        (0..1usize << self.order).map(move |page| {
            // SAFETY: By the type invariants, within the directory.
            let words = unsafe { self.words.add(page * WORDS) };

            // SAFETY: By the type invariants.
            unsafe { TablePage::new(words) }
        })
    }

    /// Returns its first page.
    pub(crate) fn first_page(self) -> TablePage<'a> {
        // SAFETY: By the type invariants.
        unsafe { TablePage::new(self.words) }
    }

    /// Returns the table of the first PASIDs, if there is one.
    pub(crate) fn first_table(self) -> Option<TablePage<'a>> {
        let phys = plan::pasid_table(self.first_page().load(0))?;

        // SAFETY: By the type invariants.
        unsafe { TablePage::at(phys) }
    }
}

/// A PASID directory that was handed over, and that nobody took over when it was asked for.
///
/// # Invariants
///
/// The previous kernel preserved the directory, so that it is memory.
pub(crate) struct IncomingDirectory<'a>(TablePage<'a>);

impl IncomingDirectory<'_> {
    /// Returns the directory that a record names, if it was handed over and nobody took it over.
    pub(crate) fn at(pasids: &PasidDirectory) -> Option<Self> {
        // INVARIANT: Just asked.
        Some(Self(incoming(pasids.table, pasids.order)?))
    }

    /// Returns the table of the first PASIDs, if there is one that was handed over.
    pub(crate) fn first_table(&self) -> Option<TablePage<'_>> {
        incoming(plan::pasid_table(self.0.load(0))?.try_into().ok()?, 0)
    }
}

/// Returns the first page of a block of `2^order` pages that was handed over, and that nobody took over.
pub(super) fn incoming<'a>(address: TableAddress, order: u32) -> Option<TablePage<'a>> {
    // SAFETY: Accepts any address.
    if !unsafe { bindings::kho_is_preserved(address.phys(), order) } {
        return None;
    }
    // SAFETY: What was preserved is memory, and stays mapped.
    unsafe { TablePage::at(address.phys()) }
}

/// A PASID directory that was taken over, with the table of the first PASIDs. Both are freed with this,
/// unless the driver got them.
///
/// # Invariants
///
/// `directory` was restored, and so was its first table; nobody else frees them.
pub(crate) struct OwnedDirectory(Directory<'static>);

impl OwnedDirectory {
    /// Takes over the PASID directory that a record names.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it, or the table of the first PASIDs, was not handed over.
    pub(crate) fn restore(pasids: &PasidDirectory) -> Result<Self> {
        let table = IncomingDirectory::at(pasids)
            .and_then(|directory| Some(directory.first_table()?.phys()))
            .ok_or(EINVAL)?;

        restore(pasids.table, pasids.order)?;
        restore(table.try_into().map_err(|_| EINVAL)?, 0)?;

        // SAFETY: Arithmetic.
        let words = unsafe { bindings::phys_to_virt(pasids.table.phys()) };
        let words = NonNull::new(words.cast()).ok_or(EINVAL)?;

        // INVARIANT: Just restored.
        //
        // SAFETY: As above, and it is this object's.
        Ok(Self(unsafe { Directory::new(words, pasids.order) }))
    }

    /// Returns the directory.
    pub(crate) fn get(&self) -> Directory<'_> {
        self.0
    }

    /// Gives the directory to the driver, which frees it.
    pub(crate) fn into_raw(self) -> *mut c_void {
        ManuallyDrop::new(self).0.words.as_ptr().cast()
    }
}

impl Drop for OwnedDirectory {
    fn drop(&mut self) {
        if let Some(table) = self.0.first_table() {
            // SAFETY: By the type invariants, it is ours. No entry leads to it any more.
            unsafe { bindings::iommu_free_pages(table.words.as_ptr().cast()) };
        }
        // SAFETY: By the type invariants, it is ours. No entry leads to it any more.
        unsafe { bindings::iommu_free_pages(self.0.words.as_ptr().cast()) };
    }
}

/// How many pages an interrupt remapping table has, as log2: 64 Ki entries of 16 bytes.
pub(crate) const IRQ_TABLE_ORDER: u32 = 8;

static_assert!(
    // CAST: lossless, a small number.
    (PAGE_SIZE << IRQ_TABLE_ORDER) / size_of::<bindings::irte>()
        == bindings::INTR_REMAP_TABLE_ENTRIES as usize
);

/// An interrupt remapping table of this kernel.
///
/// # Invariants
///
/// Points to `2^IRQ_TABLE_ORDER` pages in the direct map, which are such a table for `'a`.
pub(crate) struct IrqTable<'a> {
    words: NonNull<u64>,
    _table: PhantomData<&'a ()>,
}

impl<'a> IrqTable<'a> {
    /// Makes one of what the driver of a unit has.
    ///
    /// # Safety
    ///
    /// `words` points to the interrupt remapping table of a unit, for `'a`.
    pub(super) unsafe fn new(words: NonNull<u64>) -> Self {
        // INVARIANT: By function requirement.
        Self {
            words,
            _table: PhantomData,
        }
    }

    /// Returns its pages.
    pub(crate) fn pages(&self) -> impl Iterator<Item = TablePage<'a>> + '_ {
        (0..1usize << IRQ_TABLE_ORDER).map(|page| {
            // SAFETY: By the type invariants, within the table.
            let words = unsafe { self.words.add(page * WORDS) };

            // SAFETY: By the type invariants.
            unsafe { TablePage::new(words) }
        })
    }

    /// Returns its first page. All of it is one folio.
    pub(crate) fn first_page(&self) -> TablePage<'a> {
        // SAFETY: By the type invariants.
        unsafe { TablePage::new(self.words) }
    }
}

static_assert!(PAGE_SIZE == WORDS * size_of::<u64>());
