//! Lists of strings in the form `execve` takes them.

use std::ffi::{CStr, CString, NulError, c_char};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Strings, and pointers to them that end with a null pointer.
#[derive(Debug)]
pub(crate) struct Strings {
    strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl Strings {
    /// Takes copies.
    ///
    /// # Errors
    /// A string holds a zero byte.
    pub(crate) fn new<S: AsRef<[u8]>>(
        strings: impl IntoIterator<Item = S>,
    ) -> Result<Self, NulError> {
        let strings = strings
            .into_iter()
            .map(|string| CString::new(string.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        let pointers = strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([ptr::null()])
            .collect();
        Ok(Self { strings, pointers })
    }

    pub(crate) fn get(&self, index: usize) -> Option<&CStr> {
        self.strings.get(index).map(CString::as_c_str)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &CStr> {
        self.strings.iter().map(CString::as_c_str)
    }

    /// Valid as long as `self`; moving `self` does not move the strings.
    pub(super) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

/// The arguments of the launcher: a file that is decided on later, and the arguments of that.
#[derive(Debug)]
pub(crate) struct ProgramArguments {
    /// What the pointers lead to.
    _arguments: Strings,
    /// One for the file, those of the arguments, a null pointer.
    pointers: Vec<AtomicPtr<c_char>>,
}

impl ProgramArguments {
    pub(crate) fn new(arguments: Strings) -> Self {
        let pointers = [ptr::null()]
            .into_iter()
            .chain(arguments.pointers.iter().copied())
            .map(|pointer| AtomicPtr::new(pointer.cast_mut()))
            .collect();
        Self {
            _arguments: arguments,
            pointers,
        }
    }

    /// Valid as long as `self` and `file`, until the next call.
    pub(super) fn with(&self, file: &CStr) -> *const *const c_char {
        if let Some(first) = self.pointers.first() {
            first.store(file.as_ptr().cast_mut(), Ordering::Relaxed);
        }
        self.pointers.as_ptr().cast()
    }
}
