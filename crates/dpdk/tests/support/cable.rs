//! A pair of virtual cables with a network namespace at the far end. Used by path in `tests` as well.

use std::process::Command;

/// A cable from here to a namespace, whose end has the addresses 10.77.0.1/24 and fd77::1/64.
pub struct Cable {
    pub ours: String,
    pub theirs: String,
    namespace: String,
}

fn ip(args: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(args).output();
    let output = output.map_err(|error| format!("ip: {error}; install iproute2"))?;
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() {
        Ok(())
    } else {
        Err(text)
    }
}

impl Cable {
    /// Lays a cable for `test`; `None`, having said why, if this process may not.
    pub fn new(test: &str, number: u32) -> Option<Self> {
        let id = std::process::id();
        let cable = Self {
            ours: format!("slo{number}.{id}"),
            theirs: format!("slt{number}.{id}"),
            namespace: format!("spinlane-{number}-{id}"),
        };
        match cable.lay() {
            Ok(()) => Some(cable),
            Err(why) => {
                eprintln!(
                    "SKIPPED {test}: no network namespace with a virtual cable (CAP_NET_ADMIN is needed): {why}"
                );
                None
            }
        }
    }

    fn lay(&self) -> Result<(), String> {
        let Self {
            ours,
            theirs,
            namespace,
            ..
        } = self;
        ip(&["netns", "add", namespace])?;
        ip(&["link", "add", ours, "type", "veth", "peer", "name", theirs])?;
        for name in [ours, theirs] {
            compute_checksums(name)?;
        }
        ip(&["link", "set", "dev", theirs, "netns", namespace])?;
        let inside = |args: &[&str]| ip(&[&["-n", namespace], args].concat());
        inside(&["link", "set", "dev", "lo", "up"])?;
        inside(&["addr", "add", "10.77.0.1/24", "dev", theirs])?;
        // No detection of duplicates, for which all would have to wait.
        inside(&["addr", "add", "fd77::1/64", "dev", theirs, "nodad"])?;
        inside(&["link", "set", "dev", theirs, "up"])?;
        ip(&["link", "set", "dev", ours, "up"])
    }

    /// A program in the namespace.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, program]);
        command
    }

    pub fn run(&self, program: &str, args: &[&str]) -> String {
        let output = self.command(program).args(args).output().unwrap();
        assert!(output.status.success(), "{program} {args:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // With the namespace goes its end of the cable, and with that ours.
        let _ = ip(&["link", "del", "dev", &self.ours]);
        let _ = ip(&["netns", "del", &self.namespace]);
    }
}

/// Lets the kernel compute checksums and cut segments itself: on a virtual cable it leaves that to nobody (what `ethtool -K … tx off`
/// does).
fn compute_checksums(name: &str) -> Result<(), String> {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    const OFF: [u32; 3] = [0x17, 0x1f, 0x24]; // ETHTOOL_STXCSUM, STSO, SGSO
    // SAFETY: makes a descriptor, closed below.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0) };
    let mut result = Ok(());
    for command in OFF {
        let mut value = [command, 0];
        // SAFETY: zeros are such a structure.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
        // SAFETY: the request names an interface and points to a command and its value.
        if unsafe { libc::ioctl(socket, SIOCETHTOOL, &mut request) } != 0 {
            result = Err(std::io::Error::last_os_error().to_string());
        }
    }
    // SAFETY: ours.
    unsafe { libc::close(socket) };
    result
}
