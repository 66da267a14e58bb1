//! What a reference in another object is bound to, as that object's own relocation tables have it.
//!
//! dlsym(3) cannot say: it searches as a reference of the caller's would, and an object that was
//! loaded late, with RTLD_LOCAL, finds itself before others find it.

use std::ffi::{CStr, c_char, c_int, c_void};

/// An entry of a dynamic section, of a relocation table, of a symbol table (elf(5)).
#[repr(C)]
struct Dyn {
    tag: i64,
    value: usize,
}
#[repr(C)]
struct Rela {
    offset: usize,
    info: u64,
    addend: i64,
}
#[repr(C)]
struct Sym {
    name: u32,
    rest: [u32; 5],
}

const PT_DYNAMIC: u32 = 2;
const DT_NULL: i64 = 0;
const DT_PLTRELSZ: i64 = 2;
const DT_STRTAB: i64 = 5;
const DT_SYMTAB: i64 = 6;
const DT_RELA: i64 = 7;
const DT_RELASZ: i64 = 8;
const DT_JMPREL: i64 = 23;

/// Types of relocations whose place holds the address of a symbol: R_..._GLOB_DAT and
/// R_..._JUMP_SLOT.
#[cfg(target_arch = "x86_64")]
const ADDRESSES: [u32; 2] = [6, 7];
#[cfg(target_arch = "aarch64")]
const ADDRESSES: [u32; 2] = [1025, 1026];

struct Search<'a> {
    base: usize,
    name: &'a CStr,
    found: Option<*const c_void>,
}

/// What the object loaded at `base` has for `name`. `None` if it does not refer to it, and if it
/// has not been bound yet.
pub(super) fn of(base: usize, name: &CStr) -> Option<*const c_void> {
    let mut search = Search {
        base,
        name,
        found: None,
    };
    // SAFETY: `visit` takes what dl_iterate_phdr(3) gives it, and `search` outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(visit), (&raw mut search).cast()) };
    search.found.filter(|found| super::base_of(*found) != base)
}

/// # Safety
/// Called by dl_iterate_phdr(3), with a [`Search`].
unsafe extern "C" fn visit(
    object: *mut libc::dl_phdr_info,
    _: usize,
    search: *mut c_void,
) -> c_int {
    // SAFETY: by the contract.
    let (object, search) = unsafe { (&*object, &mut *search.cast::<Search<'_>>()) };
    if object.dlpi_addr as usize != search.base {
        return 0;
    }
    // SAFETY: an object's program headers are as many as it says, and stay while it is loaded.
    let headers = unsafe { std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()) };
    if let Some(dynamic) = headers.iter().find(|header| header.p_type == PT_DYNAMIC) {
        let dynamic = search.base + dynamic.p_vaddr as usize;
        // SAFETY: where the object's headers say that its dynamic section is.
        search.found = unsafe { look(search.base, dynamic, search.name) };
    }
    1
}

/// # Safety
/// The object that is loaded at `base` has its dynamic section at `dynamic`.
unsafe fn look(base: usize, dynamic: usize, name: &CStr) -> Option<*const c_void> {
    let (mut strings, mut symbols) = (None, None);
    let mut tables = [(0, 0); 2];
    let mut entry = std::ptr::with_exposed_provenance::<Dyn>(dynamic);
    loop {
        // SAFETY: the section goes on to an entry DT_NULL.
        let Dyn { tag, value } = unsafe { entry.read() };
        // The dynamic linker has made addresses of offsets, but not every one does.
        let address = if value < base { base + value } else { value };
        match tag {
            DT_NULL => break,
            DT_STRTAB => strings = Some(std::ptr::with_exposed_provenance::<c_char>(address)),
            DT_SYMTAB => symbols = Some(std::ptr::with_exposed_provenance::<Sym>(address)),
            DT_RELA => tables[0].0 = address,
            DT_RELASZ => tables[0].1 = value,
            DT_JMPREL => tables[1].0 = address,
            DT_PLTRELSZ => tables[1].1 = value,
            _ => {}
        }
        // SAFETY: not the last one.
        entry = unsafe { entry.add(1) };
    }
    let (strings, symbols) = (strings?, symbols?);
    for (table, size) in tables {
        let table = std::ptr::with_exposed_provenance::<Rela>(table);
        for index in 0..size / size_of::<Rela>() {
            // SAFETY: the table has that size, and a relocation's symbol and its name are in their
            // tables.
            let (relocation, its) = unsafe {
                let relocation = table.add(index).read();
                let symbol = &*symbols.add((relocation.info >> 32) as usize);
                (
                    relocation,
                    CStr::from_ptr(strings.add(symbol.name as usize)),
                )
            };
            if ADDRESSES.contains(&(relocation.info as u32)) && its == name {
                let place =
                    std::ptr::with_exposed_provenance::<*const c_void>(base + relocation.offset);
                // SAFETY: the place of a relocation that holds an address.
                return Some(unsafe { place.read() });
            }
        }
    }
    None
}
