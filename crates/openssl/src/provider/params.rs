//! Safe access to `OSSL_PARAM` arrays, OSSL_PARAM(3).

use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr;

use super::error::raise;
use super::ffi::{self, OSSL_PARAM, PARAM_UNMODIFIED};

/// A caller's parameters; empty if the caller passed null.
#[derive(Clone, Copy)]
pub(super) struct Params<'a> {
    first: *const OSSL_PARAM,
    array: PhantomData<&'a [OSSL_PARAM]>,
}

impl<'a> Params<'a> {
    /// No array.
    pub const NONE: Params<'static> = Params {
        first: ptr::null(),
        array: PhantomData,
    };

    /// # Safety
    /// `first` is null or starts an array that a null key ends; the array and what its elements
    /// point to stay unchanged for `'a`, except through the values' own setters.
    pub unsafe fn new(first: *const OSSL_PARAM) -> Self {
        Self {
            first,
            array: PhantomData,
        }
    }

    /// Returns the array as C sees it; may be null.
    pub fn as_ptr(self) -> *const OSSL_PARAM {
        self.first
    }

    /// Returns `true` if the caller passed no array.
    pub fn is_null(self) -> bool {
        self.first.is_null()
    }

    /// Returns every element.
    pub fn iter(self) -> impl Iterator<Item = Param<'a>> {
        let mut next = self.first;
        std::iter::from_fn(move || {
            // SAFETY: `next` is in the array, whose end stops the walk, by the promise of `new`.
            if next.is_null() || unsafe { (*next).key.is_null() } {
                return None;
            }
            let param = Param {
                raw: next.cast_mut(),
                array: PhantomData,
            };
            // SAFETY: as above; the end of the array lies behind this element.
            next = unsafe { next.add(1) };
            Some(param)
        })
    }

    /// Returns the elements, without the end: what they point to stays the caller's.
    pub fn to_vec(self) -> Vec<OSSL_PARAM> {
        // SAFETY: `raw` is an element of the caller's array; an element is plain data.
        self.iter()
            .map(|param| unsafe { ptr::read(param.raw) })
            .collect()
    }

    /// Returns `true` if every element has a value, as what is set must, and every number a digit:
    /// libcrypto reads some unchecked. Leaves an error on the queue if not.
    pub fn have_values(self) -> bool {
        let Some(empty) = self.iter().find(|param| !param.has_value()) else {
            return true;
        };
        raise(format_args!(
            "parameter {:?} has no value; give it one or leave it out",
            empty.key()
        ));
        false
    }

    /// Returns the element called `key`.
    pub fn find(self, key: &CStr) -> Option<Param<'a>> {
        self.iter().find(|param| param.key() == key)
    }
}

/// One parameter.
#[derive(Clone, Copy)]
pub(super) struct Param<'a> {
    raw: *mut OSSL_PARAM,
    array: PhantomData<&'a OSSL_PARAM>,
}

impl<'a> Param<'a> {
    /// Returns the parameter's name.
    pub fn key(self) -> &'a CStr {
        // SAFETY: `iter` yields only elements with a key, which is a C string (OSSL_PARAM(3)).
        unsafe { CStr::from_ptr((*self.raw).key) }
    }

    fn has_value(self) -> bool {
        // SAFETY: `raw` is an element of the caller's array.
        let raw = unsafe { &*self.raw };
        let numbers = [ffi::OSSL_PARAM_INTEGER, ffi::OSSL_PARAM_UNSIGNED_INTEGER];
        let is_number = numbers.iter().any(|number| *number as u32 == raw.data_type);
        !(raw.data.is_null() || is_number && raw.data_size == 0)
    }

    /// Returns the value, if it is an integer that fits.
    pub fn int(self) -> Option<c_int> {
        let mut value = 0;
        // SAFETY: `raw` is an element of the caller's array; libcrypto checks type and size, but
        // looks for a sign in the first byte even where there is none.
        (self
            .bytes_of(&[ffi::OSSL_PARAM_INTEGER, ffi::OSSL_PARAM_UNSIGNED_INTEGER])
            .is_some_and(|bytes| !bytes.is_empty())
            && unsafe { ffi::OSSL_PARAM_get_int(self.raw, &mut value) } == 1)
            .then_some(value)
    }

    /// Writes the value, big-endian, to `out`. Returns `false` if the value is no unsigned number
    /// of that length.
    pub fn unsigned(self, out: &mut [u8]) -> bool {
        let Ok(len) = c_int::try_from(out.len()) else {
            return false;
        };
        if self
            .bytes_of(&[ffi::OSSL_PARAM_UNSIGNED_INTEGER])
            .is_none_or(<[u8]>::is_empty)
        {
            return false;
        }
        let mut number = ptr::null_mut();
        // SAFETY: `raw` is an element of the caller's array with data; `number` receives an owned
        // BIGNUM, freed once; `out` has the length said.
        unsafe {
            let written = ffi::OSSL_PARAM_get_BN(self.raw, &mut number) == 1
                && openssl_sys::BN_bn2binpad(number, out.as_mut_ptr(), len) == len;
            openssl_sys::BN_clear_free(number);
            written
        }
    }

    /// Returns the value, if it is an octet string with data.
    pub fn octets(self) -> Option<&'a [u8]> {
        self.bytes_of(&[ffi::OSSL_PARAM_OCTET_STRING])
    }

    /// Returns the value up to a first NUL, if it is a UTF-8 string with data.
    pub fn text(self) -> Option<&'a [u8]> {
        let bytes = self.bytes_of(&[ffi::OSSL_PARAM_UTF8_STRING])?;
        Some(bytes.split(|byte| *byte == 0).next().unwrap_or_default())
    }

    fn bytes_of(self, types: &[c_int]) -> Option<&'a [u8]> {
        // SAFETY: `raw` is an element of the caller's array.
        let raw = unsafe { &*self.raw };
        let wanted = types.iter().any(|wanted| *wanted as u32 == raw.data_type);
        if !wanted || raw.data.is_null() {
            return None;
        }
        // SAFETY: for these types `data` is `data_size` bytes (OSSL_PARAM(3)), unchanged for `'a`.
        Some(unsafe { std::slice::from_raw_parts(raw.data.cast(), raw.data_size) })
    }

    /// Answers a request for an integer.
    pub fn set_int(self, value: c_int) -> bool {
        // SAFETY: `raw` is an element of the caller's array; libcrypto checks type and size.
        unsafe { ffi::OSSL_PARAM_set_int(self.raw, value) == 1 }
    }

    /// Answers a request for a size.
    pub fn set_size(self, value: usize) -> bool {
        // SAFETY: as in `set_int`.
        unsafe { ffi::OSSL_PARAM_set_size_t(self.raw, value) == 1 }
    }

    /// Answers a request for octets, or for their number if there is no room for them.
    pub fn set_octets(self, value: &[u8]) -> bool {
        // SAFETY: as in `set_int`; `value` is `value.len()` readable bytes.
        unsafe {
            ffi::OSSL_PARAM_set_octet_string(self.raw, value.as_ptr().cast(), value.len()) == 1
        }
    }

    /// Answers a request for a string.
    pub fn set_text(self, value: &CStr) -> bool {
        // SAFETY: as in `set_int`; libcrypto copies the string.
        unsafe { ffi::OSSL_PARAM_set_utf8_string(self.raw, value.as_ptr()) == 1 }
    }

    /// Answers a request for a pointer to a string.
    pub fn set_text_ptr(self, value: &'static CStr) -> bool {
        // SAFETY: as in `set_int`; the string lives for ever.
        unsafe { ffi::OSSL_PARAM_set_utf8_ptr(self.raw, value.as_ptr()) == 1 }
    }
}

/// Returns an integer to pass to libcrypto.
pub(super) fn int(key: &CStr, value: &mut c_int) -> OSSL_PARAM {
    raw(
        key,
        ffi::OSSL_PARAM_INTEGER,
        ptr::from_mut(value).cast(),
        size_of::<c_int>(),
    )
}

/// Returns a string to pass to libcrypto, which only reads it.
pub(super) fn text(key: &CStr, value: &CStr) -> OSSL_PARAM {
    raw(
        key,
        ffi::OSSL_PARAM_UTF8_STRING,
        value.as_ptr().cast_mut().cast(),
        value.count_bytes(),
    )
}

/// Returns a place for a pointer to a string of libcrypto's, null until it is filled.
pub(super) fn text_ptr(key: &CStr, value: &mut *const c_char) -> OSSL_PARAM {
    raw(
        key,
        ffi::OSSL_PARAM_UTF8_PTR,
        ptr::from_mut(value).cast(),
        0,
    )
}

/// Octets to pass to libcrypto, which only reads them.
pub(super) fn octets(key: &CStr, value: &[u8]) -> OSSL_PARAM {
    raw(
        key,
        ffi::OSSL_PARAM_OCTET_STRING,
        value.as_ptr().cast_mut().cast(),
        value.len(),
    )
}

/// Returns an unsigned number in the machine's byte order, to pass to libcrypto, which only reads
/// it.
pub(super) fn unsigned(key: &CStr, value: &[u8]) -> OSSL_PARAM {
    raw(
        key,
        ffi::OSSL_PARAM_UNSIGNED_INTEGER,
        value.as_ptr().cast_mut().cast(),
        value.len(),
    )
}

/// Returns the end of an array.
pub(super) const fn end() -> OSSL_PARAM {
    OSSL_PARAM {
        key: ptr::null(),
        data_type: 0,
        data: ptr::null_mut(),
        data_size: 0,
        return_size: 0,
    }
}

fn raw(key: &CStr, data_type: c_int, data: *mut c_void, data_size: usize) -> OSSL_PARAM {
    OSSL_PARAM {
        key: key.as_ptr(),
        data_type: data_type as u32,
        data,
        data_size,
        return_size: PARAM_UNMODIFIED,
    }
}

/// A static description of parameters, as `gettable` and `settable` functions return it.
#[repr(transparent)]
pub(super) struct Table<const N: usize>([OSSL_PARAM; N]);

// SAFETY: a table is never written, and its pointers lead to static strings.
unsafe impl<const N: usize> Sync for Table<N> {}

impl<const N: usize> Table<N> {
    /// Describes parameters by name and type. The last one given must be [`Table::END`].
    pub const fn new(entries: [(Option<&'static CStr>, c_int); N]) -> Self {
        assert!(N > 0 && entries[N - 1].0.is_none(), "a table ends with END");
        let mut table = [const { end() }; N];
        let mut index = 0;
        while let (true, Some(key)) = (index < N, entries[index].0) {
            table[index].key = key.as_ptr() as *const c_char;
            table[index].data_type = entries[index].1 as u32;
            table[index].return_size = PARAM_UNMODIFIED;
            index += 1;
        }
        Self(table)
    }

    /// The last entry.
    pub const END: (Option<&'static CStr>, c_int) = (None, 0);

    /// Returns the table as C wants it.
    pub fn as_ptr(&'static self) -> *const OSSL_PARAM {
        self.0.as_ptr()
    }
}
