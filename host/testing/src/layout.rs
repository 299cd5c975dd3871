// SPDX-License-Identifier: GPL-2.0

//! The layout of what is handed over, told by three witnesses that have to agree: the Rust views,
//! the committed dump, and the C header as a C compiler sees it.

use std::{
    collections::BTreeSet,
    env,
    fmt,
    fs,
    io::Write,
    mem::size_of,
    process::{
        Command,
        Stdio, //
    }, //
};

/// What a header below `include/linux/kho/abi` agrees on, or a part of that, as Rust sees it.
pub struct Contract {
    /// The name of the header, without `.h`.
    pub header: &'static str,
    /// The name with the version. It is that of the dump.
    pub name: String,
    /// The macros that name the contract.
    pub constants: Vec<(&'static str, Constant)>,
    /// The structures that it is made of. Contracts of one header may share some.
    pub structs: Vec<Struct>,
}

/// The value of a macro.
pub enum Constant {
    /// A number.
    Number(u64),
    /// A string, without escapes.
    Text(&'static str),
}

/// A structure.
pub struct Struct {
    /// Its name in C.
    pub name: &'static str,
    /// The name of its view in Rust.
    pub view: &'static str,
    /// In bytes.
    pub size: usize,
    /// In the order of Rust.
    pub fields: Vec<Field>,
}

/// A field of a structure.
pub struct Field {
    /// Its name, in C and in Rust, where keywords have an underscore at their end.
    pub name: &'static str,
    /// Its type in Rust, without the modules that it is in.
    pub kind: &'static str,
    /// In bytes from the beginning of the structure.
    pub offset: usize,
    /// In bytes.
    pub size: usize,
}

impl Field {
    /// Describes a field that `get` borrows.
    pub fn new<S, F>(name: &'static str, offset: usize, _get: fn(&S) -> *const F) -> Self {
        let kind = std::any::type_name::<F>();

        Self {
            name: name.trim_end_matches('_'),
            kind: kind.rsplit("::").next().unwrap_or(kind),
            offset,
            size: size_of::<F>(),
        }
    }
}

/// Describes a Rust view of a C structure.
///
/// All fields have to be named.
///
/// # Examples
///
/// ```
/// #[repr(C)]
/// struct RawBlock {
///     next: u64,
///     count: u32,
///     reserved: u32,
/// }
///
/// let block = testing::layout!(RawBlock as block_ser { next, count, reserved });
///
/// assert_eq!((block.size, block.fields[1].offset), (16, 8));
/// ```
///
/// ```compile_fail,E0027
/// # #[repr(C)]
/// # struct RawBlock {
/// #     next: u64,
/// #     count: u32,
/// #     reserved: u32,
/// # }
/// testing::layout!(RawBlock as block_ser { next, count });
/// ```
#[macro_export]
macro_rules! layout {
    ($rust:ident as $c:ident { $($field:ident),+ $(,)? }) => {{
        // A pattern that leaves a field out does not compile.
        let _ = |$rust { $($field: _),+ }: &$rust| ();

        $crate::layout::Struct {
            name: ::core::stringify!($c),
            view: ::core::stringify!($rust),
            size: ::core::mem::size_of::<$rust>(),
            fields: ::std::vec![$($crate::layout::Field::new(
                ::core::stringify!($field),
                ::core::mem::offset_of!($rust, $field),
                |view: &$rust| &raw const view.$field,
            )),+],
        }
    }};
}

impl Contract {
    /// Checks that the layout is the one that was committed for this version.
    ///
    /// # Panics
    ///
    /// If it is another one, or if there is none. With `BLESS=1` in the environment writes it if
    /// there is none, but never replaces one: some kernel may have handed that over.
    pub fn assert_is_committed(&self) {
        let path = crate::abi()
            .join("layouts")
            .join(format!("{}.txt", self.name));

        match fs::read_to_string(&path) {
            Ok(committed) => assert!(
                committed == self.to_string(),
                "{} is another layout than that of the code:\n{self}\n\
                 Raise the version, and have BLESS=1 cargo test write the layout of the new one. \
                 Only if no kernel ever handed the old one over, remove the file first.",
                path.display(),
            ),
            Err(_) if env::var_os("BLESS").is_some_and(|bless| bless == "1") => {
                fs::write(&path, self.to_string()).unwrap();
            }
            Err(err) => panic!(
                "{}: {err}\nBLESS=1 cargo test writes it:\n{self}",
                path.display()
            ),
        }
    }

    /// Checks that a C compiler sees the same layout in the header.
    ///
    /// That it sees no other structures there is checked by [`assert_names_all_structs`].
    ///
    /// # Panics
    ///
    /// If it does not, or if there is no compiler. It is `cc`, or the one that `CC` names.
    ///
    /// A field that only the header has is found by the size: the Rust view has no padding
    /// (otherwise it would not be `IntoBytes`) where it could hide.
    pub fn assert_is_that_of_c(&self) {
        let compiler = env::var("CC").unwrap_or_else(|_| "cc".into());
        let include = crate::checkout().join("include");
        let source = self.assertions();

        // Nothing but the stand-ins and our header: what the system has is not the kernel's.
        let mut child = Command::new(&compiler)
            .args([
                "-std=gnu11",
                "-nostdinc",
                "-Wall",
                "-Werror",
                "-fsyntax-only",
            ])
            .arg("-I")
            .arg(crate::abi().join("c"))
            .arg("-I")
            .arg(include)
            .args(["-x", "c", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|err| {
                panic!("the layout cannot be checked without a C compiler: {compiler}: {err}")
            });

        child
            .stdin
            .take()
            .unwrap()
            .write_all(source.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();

        assert!(
            output.status.success(),
            "{compiler} sees another layout in C:\n{}",
            String::from_utf8_lossy(&output.stderr),
        );
    }

    /// Returns the name of a type of Rust, or of the structure in C that it is the view of.
    fn known_as(&self, kind: &str) -> String {
        match self.structs.iter().find(|known| known.view == kind) {
            Some(known) => format!("struct {}", known.name),
            None => kind.into(),
        }
    }

    /// Writes down in C what Rust sees.
    fn assertions(&self) -> String {
        let mut claims = Vec::new();

        for (name, value) in &self.constants {
            claims.push(match value {
                Constant::Number(number) => format!("{name} == {number}"),
                Constant::Text(text) => format!("!__builtin_strcmp({name}, \"{text}\")"),
            });
        }
        for Struct {
            name, size, fields, ..
        } in &self.structs
        {
            claims.push(format!("sizeof(struct {name}) == {size}"));

            for field in fields {
                let (offset, size) = (field.offset, field.size);
                let (kind, field) = (field.kind, field.name);
                let value = format!("((struct {name} *)0)->{field}");

                claims.push(format!("offsetof(struct {name}, {field}) == {offset}"));
                claims.push(format!("sizeof({value}) == {size}"));
                claims.push(format!(
                    "__builtin_types_compatible_p(typeof({value}), {})",
                    in_c(&self.known_as(kind))
                ));
            }
        }

        let mut source = format!("#include <linux/kho/abi/{}.h>\n", self.header);
        for claim in claims {
            source.push_str(&format!("static_assert({claim});\n"));
        }
        source
    }
}

/// Returns the type of C that a type of Rust is the view of.
fn in_c(kind: &str) -> String {
    let array = kind
        .strip_prefix('[')
        .and_then(|kind| kind.strip_suffix(']'))
        .and_then(|kind| kind.split_once("; "));

    match array {
        // As in the kernel, where `c_char` is `u8`.
        Some(("u8", length)) => format!("char[{length}]"),
        Some((kind, length)) => format!("{kind}[{length}]"),
        None => kind.into(),
    }
}

/// Checks that there is no structure in a header that is not a part of one of its contracts.
///
/// # Panics
///
/// If there is one, or if a contract has a structure that is not in the header.
pub fn assert_names_all_structs(header: &str, contracts: &[Contract]) {
    let path = crate::checkout().join(format!("include/linux/kho/abi/{header}.h"));
    let text = fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));

    let in_c: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("struct ")?.strip_suffix(" {"))
        .collect();
    let in_rust: BTreeSet<&str> = contracts
        .iter()
        .flat_map(|contract| &contract.structs)
        .map(|view| view.name)
        .collect();

    assert_eq!(in_c, in_rust, "structures of C and of Rust");
}

/// As in the committed dump: fields with their type, offset and size.
impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# SPDX-License-Identifier: GPL-2.0")?;

        for (name, value) in &self.constants {
            match value {
                Constant::Number(number) => writeln!(f, "{name} {number}")?,
                Constant::Text(text) => writeln!(f, "{name} \"{text}\"")?,
            }
        }
        for Struct {
            name, size, fields, ..
        } in &self.structs
        {
            writeln!(f, "\nstruct {name}, {size} bytes")?;

            for field in fields {
                let (offset, size) = (field.offset, field.size);

                writeln!(
                    f,
                    "\t{}: {} at {offset}, {size} bytes",
                    field.name,
                    self.known_as(field.kind)
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_an_array_of_char_in_c() {
        for (rust, c) in [
            ("u16", "u16"),
            ("[u8; 48]", "char[48]"),
            ("[u32; 2]", "u32[2]"),
        ] {
            assert_eq!(in_c(rust), c);
        }
    }
}
