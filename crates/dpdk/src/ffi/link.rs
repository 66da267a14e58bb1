//! What the kernel knows of an interface.

use std::ffi::c_short;
use std::os::fd::AsRawFd;

/// Whether an interface of the kernel's is up and has its cable in (netdevice(7)); not if there is none of that name.
pub(crate) fn is_running(name: &str) -> bool {
    const BOTH: c_short = (libc::IFF_UP | libc::IFF_RUNNING) as c_short;
    // Any socket can ask.
    let Ok(socket) = std::os::unix::net::UnixDatagram::unbound() else {
        return false;
    };
    // SAFETY: zeros are such a structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return false;
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the request names an interface, by a string that ends with a zero, and takes the flags.
    let asked = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request) };
    // SAFETY: the kernel has written the flags, or left zeros.
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    asked == 0 && flags & BOTH == BOTH
}
