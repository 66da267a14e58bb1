//! What the kernel knows of an interface.

use std::ffi::c_short;
use std::os::fd::AsRawFd;

/// Whether an interface of the kernel's is up and has its cable in (netdevice(7)); not if there is none of that name.
pub(crate) fn is_running(name: &str) -> bool {
    const BOTH: c_short = (libc::IFF_UP | libc::IFF_RUNNING) as c_short;
    let Some(answer) = ask(name, libc::SIOCGIFFLAGS) else {
        return false;
    };
    // SAFETY: what the kernel has written for this question.
    let flags = unsafe { answer.ifr_ifru.ifru_flags };
    flags & BOTH == BOTH
}

/// The MTU of an interface of the kernel's (netdevice(7)); `None` if there is none of that name.
pub(crate) fn mtu(name: &str) -> Option<u16> {
    let answer = ask(name, libc::SIOCGIFMTU)?;
    // SAFETY: what the kernel has written for this question.
    let mtu = unsafe { answer.ifr_ifru.ifru_mtu };
    Some(u16::try_from(mtu).unwrap_or(u16::MAX))
}

/// What the kernel answers to `question` about an interface.
fn ask(name: &str, question: libc::Ioctl) -> Option<libc::ifreq> {
    // Any socket can ask.
    let socket = std::os::unix::net::UnixDatagram::unbound().ok()?;
    // SAFETY: zeros are such a structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return None;
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    // SAFETY: the request names an interface, by a string that ends with a zero, and takes the answer.
    let asked = unsafe { libc::ioctl(socket.as_raw_fd(), question, &mut request) };
    (asked == 0).then_some(request)
}
