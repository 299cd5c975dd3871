// SPDX-License-Identifier: GPL-2.0

//! What a safe function at the boundary to C must not take: raw pointers and physical addresses.
//!
//! A safe function is sound for every argument that compiles. A pointer or an address can be any
//! number, so that a safe function can do nothing with it but compare or print it. One that follows
//! it takes a reference, a handle with an invariant, or is `unsafe`. Whatever is accepted as any
//! number has a type of its own, which says so: there is no list of exceptions.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{
    File, FnArg, ForeignItemFn, Generics, ImplItemFn, ItemFn, ItemType, Macro, Pat, PatType,
    ReceiverKind, Safety, Signature, TraitItemFn, Type, TypePath, TypePtr,
};

/// What safe functions must not take raw arguments in.
const APPLIES_TO: [&str; 3] = ["drivers", "kernel", "rust/kernel"];

/// Types that are raw pointers, or only behind one.
const POINTERS: [&str; 2] = ["NonNull", "c_void"];

/// Types that are addresses of memory, whatever a parameter of them is called.
const ADDRESSES: [&str; 2] = ["phys_addr_t", "dma_addr_t"];

/// Types that may be addresses, if that is what their parameter is called.
const NUMBERS: [&str; 7] =
    ["u64", "usize", "c_ulong", "NonZeroU64", "NonZeroUsize", "i64", "isize"];

/// Words in the names of parameters that are addresses, or stand for memory or objects of C.
const ADDRESS_WORDS: [&str; 12] = [
    "addr", "address", "handle", "head", "pa", "paddr", "pfn", "phys", "pointer", "ptr", "top",
    "virt",
];

/// A parameter of a safe function.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    line: usize,
    function: String,
    what: &'static str,
}

impl Display for Taken {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { line, function, what } = self;
        write!(f, "{line}: safe `{function}()` takes {what}")
    }
}

/// Whether the rule is for this boundary file, given as it is called in the kernel.
pub fn applies(path: &Path) -> bool {
    APPLIES_TO.iter().any(|dir| path.starts_with(dir))
}

/// The raw parameters of all safe functions of a file, in macros and in functions, too.
pub fn parameters(file: &File) -> Vec<Taken> {
    let mut aliases = Aliases::default();
    // An alias may be of another one.
    while {
        let before = aliases.0.len();
        aliases.visit_file(file);
        aliases.0.len() > before
    } {}
    let mut functions = Functions { aliases, found: Vec::new() };
    functions.visit_file(file);
    functions.found.sort_by_key(|taken| taken.line);
    functions.found
}

/// The names that the file gives to types with raw pointers.
#[derive(Default)]
struct Aliases(BTreeSet<String>);

impl<'ast> Visit<'ast> for Aliases {
    fn visit_item_type(&mut self, alias: &'ast ItemType) {
        if raw_in_type(&alias.ty, false, self).is_some() {
            self.0.insert(alias.ident.to_string());
        }
    }
}

/// Collects what safe functions take.
struct Functions {
    aliases: Aliases,
    found: Vec<Taken>,
}

impl Functions {
    fn look_at(&mut self, signature: &Signature) {
        if matches!(signature.safety, Safety::Unsafe(_)) {
            return;
        }
        let generic = raw_in_generics(&signature.generics, &self.aliases);
        let inputs = signature.inputs.iter().filter_map(|input| match input {
            FnArg::Receiver(receiver) => match &receiver.kind {
                ReceiverKind::Typed(_, ty) => raw_in_type(ty, false, &self.aliases),
                _ => None,
            },
            FnArg::Typed(PatType { pat, ty, .. }) => {
                raw_in_type(ty, names_address(pat), &self.aliases)
            }
        });
        if let Some(what) = generic.into_iter().chain(inputs).next() {
            self.found.push(Taken {
                line: signature.ident.span().start().line,
                function: signature.ident.to_string(),
                what,
            });
        }
    }

    /// Looks at what reads like safe functions in what a macro is given, or expands to.
    fn look_at_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        // Whether the qualifiers before this token make a function unsafe.
        let mut is_unsafe = false;
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => self.look_at_tokens(group.stream()),
                TokenTree::Ident(word) if word == "unsafe" => is_unsafe = true,
                TokenTree::Ident(word) if word == "fn" && !is_unsafe => {
                    self.look_at_function(&tokens[at + 1..]);
                }
                TokenTree::Ident(word) if word == "extern" => {}
                TokenTree::Literal(_) => {}
                _ => is_unsafe = false,
            }
        }
    }

    /// Looks at a function of which the macro has the tokens after `fn`.
    fn look_at_function(&mut self, tokens: &[TokenTree]) {
        // A type has no name.
        let Some(TokenTree::Ident(name)) = tokens.first() else {
            return;
        };
        let parameters = tokens.iter().find_map(|token| match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => {
                Some(group.stream())
            }
            _ => None,
        });
        if parameters.is_some_and(|parameters| has_pointer(parameters, &self.aliases)) {
            self.found.push(Taken {
                line: name.span().start().line,
                function: name.to_string(),
                what: POINTER,
            });
        }
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.look_at(&function.sig);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.look_at(&function.sig);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        self.look_at(&function.sig);
        visit::visit_trait_item_fn(self, function);
    }

    /// What is declared of C is unsafe to call, unless it says otherwise.
    fn visit_foreign_item_fn(&mut self, function: &'ast ForeignItemFn) {
        if matches!(function.sig.safety, Safety::Safe(_)) {
            self.look_at(&function.sig);
        }
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        self.look_at_tokens(called.tokens.clone());
    }
}

const POINTER: &str = "a raw pointer";
const ADDRESS: &str = "an address";

/// Whether a parameter is called like an address.
fn names_address(pattern: &Pat) -> bool {
    match pattern {
        Pat::Ident(pattern) => {
            let name = pattern.ident.to_string();
            name.split('_').any(|word| ADDRESS_WORDS.contains(&word))
        }
        _ => false,
    }
}

/// What is raw in a type, in any depth, of a parameter that is called like an address, or not.
fn raw_in_type(ty: &Type, is_address: bool, aliases: &Aliases) -> Option<&'static str> {
    let mut types = Types { is_address, aliases, found: None };
    types.visit_type(ty);
    types.found
}

/// What is raw in the bounds of type parameters.
fn raw_in_generics(generics: &Generics, aliases: &Aliases) -> Option<&'static str> {
    let mut types = Types { is_address: false, aliases, found: None };
    types.visit_generics(generics);
    types.found
}

/// Looks for what is raw in types.
struct Types<'a> {
    is_address: bool,
    aliases: &'a Aliases,
    found: Option<&'static str>,
}

impl<'ast> Visit<'ast> for Types<'_> {
    fn visit_type_ptr(&mut self, _: &'ast TypePtr) {
        self.found = Some(POINTER);
    }

    fn visit_type_path(&mut self, path: &'ast TypePath) {
        if let Some(last) = path.path.segments.last() {
            let name = last.ident.to_string();
            if POINTERS.contains(&name.as_str()) || self.aliases.0.contains(&name) {
                self.found = Some(POINTER);
            } else if ADDRESSES.contains(&name.as_str())
                || self.is_address && NUMBERS.contains(&name.as_str())
            {
                self.found = self.found.or(Some(ADDRESS));
            }
        }
        visit::visit_type_path(self, path);
    }
}

/// Whether there is a raw pointer in what reads like parameters.
fn has_pointer(tokens: TokenStream, aliases: &Aliases) -> bool {
    let mut after_star = false;
    tokens.into_iter().any(|token| {
        let was_after_star = std::mem::take(&mut after_star);
        match token {
            TokenTree::Group(group) => has_pointer(group.stream(), aliases),
            TokenTree::Punct(punct) => {
                after_star = punct.as_char() == '*';
                false
            }
            TokenTree::Ident(word) => {
                let word = word.to_string();
                was_after_star && (word == "mut" || word == "const")
                    || POINTERS.contains(&word.as_str())
                    || aliases.0.contains(&word)
            }
            TokenTree::Literal(_) => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let file = syn::parse_file(text).expect(text);
        parameters(&file).iter().map(Taken::to_string).collect()
    }

    #[test]
    fn safe_function_takes_no_raw_pointer() {
        for ty in [
            "*mut pci_dev",
            "*const u8",
            "NonNull<bindings::file>",
            "core::ptr::NonNull<T>",
            "Option<NonNull<T>>",
            "&[*mut T]",
            "&c_void",
            "impl Into<*mut T>",
            "(u32, *const T)",
            "fn(*mut T)",
            "unsafe extern \"C\" fn(*mut T) -> R",
        ] {
            let text = format!("fn f(a: {ty}) {{}}");
            assert_eq!(found(&text), ["1: safe `f()` takes a raw pointer"], "{ty}");
            assert_eq!(found(&format!("unsafe fn f(a: {ty}) {{}}")), [""; 0], "{ty}");
        }
    }

    #[test]
    fn each_kind_of_function_is_looked_at() {
        for text in [
            "impl A { fn f(&self, a: *mut T) {} }",
            "impl A { pub(crate) const fn f(a: *mut T) -> Self {} }",
            "impl From<*mut T> for A { fn f(a: *mut T) -> Self {} }",
            "trait A { fn f(a: *mut T); }",
            "mod a { fn f(a: *mut T) {} }",
            "fn g() { fn f(a: *mut T) {} }",
            "extern \"C\" fn f(a: *mut T) {}",
            "fn f<F: FnOnce(*mut T)>(a: F) {}",
            "fn f<F>(a: F) where F: FnOnce(*mut T) {}",
            "fn f(self: NonNull<Self>) {}",
            "type B = *mut T; fn f(a: B) {}",
            "fn f(a: C) {} type B = NonNull<T>; type C = Option<B>;",
            "#[cfg(test)] mod tests { fn f(a: *mut T) {} }",
            "macro_rules! m { () => { fn f($a: *mut T) {} }; }",
            "m! { unsafe fn g(a: *mut T); fn f(a: NonNull<T>); }",
            "fn g() { m!(fn f(a: *const T) {}); }",
            "unsafe extern \"C\" { safe fn f(a: *const T); }",
        ] {
            assert_eq!(found(text), ["1: safe `f()` takes a raw pointer"], "{text}");
        }
    }

    #[test]
    fn safe_function_takes_no_number_that_is_an_address() {
        for parameter in [
            "phys: u64",
            "phys: usize",
            "top_of_table: u64",
            "mut address: Option<u64>",
            "handle: NonZero<u64>",
            "handle: NonZeroU64",
            "next_pa: &mut u64",
            "at: phys_addr_t",
            "at: bindings::dma_addr_t",
            "first_pfn: c_ulong",
        ] {
            let text = format!("fn f({parameter}) {{}}");
            assert_eq!(found(&text), ["1: safe `f()` takes an address"], "{parameter}");
            assert_eq!(found(&format!("unsafe fn f({parameter}) {{}}")), [""; 0], "{parameter}");
        }
    }

    #[test]
    fn others_are_let_through() {
        for text in [
            "fn f(a: &T, b: &mut [u8], c: u64, handle: Handle, address: Address, top: Frame) {}",
            "fn f(iova: u64, token: u64, topology: u64, physical: u32) {}",
            "fn f() -> *mut T {}",
            "fn f(&self) -> Option<NonNull<T>> {}",
            "fn f(a: PhantomData<T>) { let b: *mut T = g(); }",
            "extern \"C\" { fn f(a: *mut T); }",
            "unsafe extern \"C\" fn f(a: *mut T, phys: u64) {}",
            "m! { unsafe extern \"C\" fn f(a: *mut T); }",
            "struct A { b: *mut T, c: unsafe fn(*mut T) }",
            "const A: u64 = m!(b as *const u8);",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn applies_to_boundaries_of_leaves() {
        assert!(applies(Path::new("drivers/pci/liveupdate_rs/ffi.rs")));
        assert!(applies(Path::new("kernel/liveupdate/luo_rs/exports.rs")));
        assert!(applies(Path::new("rust/kernel/liveupdate/kho/memory.rs")));
        assert!(applies(Path::new("rust/kernel/liveupdate.rs")));
        assert!(!applies(Path::new("rust/helpers/liveupdate.rs")));
    }
}
