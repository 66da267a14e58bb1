//! The one module that speaks C: crypto_mb, and kernels of our own, behind safe functions of eight
//! lanes.
//!
//! Every function here takes all eight lanes filled. A [`Cpu`] is the proof that the
//! processor has the instructions they use.

#![allow(unsafe_code)]

mod ec;
mod ed25519;
pub(crate) mod edwards;

use crypto_mb_sys as sys;

pub(crate) use crypto_mb_sys::LANES;
pub(crate) use ec::LaneCurve;

/// Stands for a processor that crypto_mb's AVX-512 code, the RSA kernels and those of ML-KEM run on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu(spinlane_rsa52::Cpu, spinlane_mlkem::Cpu);

impl Cpu {
    /// Looks at the processor.
    ///
    /// # Errors
    /// Names what it lacks.
    pub(crate) fn detect() -> Result<Self, &'static str> {
        // crypto_mb also serves CPUs with AVX2 alone, by code slower than the soft device: so
        // look for what its AVX-512 code needs (MBX_AVX512_GENERAL_ISA in cpu_features.h).
        let features = [
            ("AVX512-IFMA", is_x86_feature_detected!("avx512ifma")),
            ("AVX512F", is_x86_feature_detected!("avx512f")),
            ("AVX512DQ", is_x86_feature_detected!("avx512dq")),
            ("AVX512BW", is_x86_feature_detected!("avx512bw")),
            ("AVX512-VBMI2", is_x86_feature_detected!("avx512vbmi2")),
            ("BMI2", is_x86_feature_detected!("bmi2")),
            (
                "a CPU that crypto_mb accepts",
                sys::mbx_is_crypto_mb_applicable(0) == 1,
            ),
        ];
        if let Some((missing, _)) = features.into_iter().find(|(_, present)| !present) {
            return Err(missing);
        }
        Ok(Self(
            spinlane_rsa52::Cpu::detect()?,
            spinlane_mlkem::Cpu::detect()?,
        ))
    }

    /// What the RSA kernels ask for.
    pub(crate) fn for_rsa(self) -> spinlane_rsa52::Cpu {
        self.0
    }

    /// What the ML-KEM kernels ask for.
    pub(crate) fn for_mlkem(self) -> spinlane_mlkem::Cpu {
        self.1
    }

    /// X25519 shared secrets of eight private scalars and peers' public keys, 32 bytes each.
    ///
    /// # Panics
    /// If a length differs.
    pub(crate) fn x25519(
        self,
        private: &Inputs<'_>,
        peer: &Inputs<'_>,
        secret: &mut Outputs<'_>,
    ) -> Status {
        check_len(private, 32);
        check_len(peer, 32);
        check_len(secret, 32);
        // SAFETY: this CPU runs the code (self). All operands have 32 bytes (check_len) and
        // outlive the call; outputs overlap nothing.
        Status(unsafe {
            sys::mbx_x25519_mb8(
                write_ptrs(secret).as_ptr(),
                read_ptrs(private).as_ptr(),
                read_ptrs(peer).as_ptr(),
            )
        })
    }
}

/// What each lane reads.
pub type Inputs<'a> = [&'a [u8]; LANES];
/// Where each lane writes.
pub type Outputs<'a> = [&'a mut [u8]; LANES];

fn read_ptrs(lanes: &Inputs<'_>) -> sys::Inputs {
    lanes.map(<[u8]>::as_ptr)
}

fn write_ptrs(lanes: &mut Outputs<'_>) -> sys::Outputs {
    lanes.each_mut().map(|lane| lane.as_mut_ptr())
}

fn check_len(lanes: &[impl AsRef<[u8]>; LANES], len: usize) {
    assert!(
        lanes.iter().all(|lane| lane.as_ref().len() == len),
        "operands of {len} bytes"
    );
}

/// How each lane ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Status(sys::Status);

impl Status {
    /// The lanes whose result is valid.
    pub(crate) fn ok_lanes(self) -> [bool; LANES] {
        std::array::from_fn(|lane| sys::lane_status(self.0, lane) == sys::STATUS_OK)
    }
}
