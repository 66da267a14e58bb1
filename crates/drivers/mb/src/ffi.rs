//! The one module that speaks C: crypto_mb behind safe functions of eight lanes.
//!
//! Every function here takes all eight lanes filled. A [`Cpu`] is the proof that the
//! processor has the instructions they use.

#![allow(unsafe_code)]

mod ec;
mod ed25519;
mod stack;

use std::ffi::c_int;

use crypto_mb_sys as sys;
use spinlane_cryptodev::RsaKey;
use zeroize::Zeroize;

pub(crate) use crypto_mb_sys::LANES;
pub(crate) use ec::LaneCurve;

/// RSA modulus sizes in use.
const RSA_BITS: [c_int; 3] = [2048, 3072, 4096];

/// Stands for a processor that crypto_mb's AVX-512 code runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu(());

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
        let null = |bits| {
            sys::mbx_RSA_private_crt_Method(bits).is_null()
                || sys::mbx_RSA_pub65537_Method(bits).is_null()
        };
        if RSA_BITS.into_iter().any(null) {
            return Err("a crypto_mb with RSA of 2048, 3072 and 4096 bits");
        }
        Ok(Self(()))
    }

    /// RSA private operation of eight blocks, each with its own key. Results are not checked
    /// here.
    ///
    /// # Panics
    /// If the keys, `from` and `to` are not all of one size.
    pub(crate) fn rsa_private(
        self,
        keys: &[&RsaKey; LANES],
        from: &Inputs<'_>,
        to: &mut Outputs<'_>,
        work: &mut WorkBuffer,
    ) -> Status {
        let bits = check_rsa(keys, from, to);
        let method = sys::mbx_RSA_private_crt_Method(bits);
        let work = work.for_method(method);
        let limbs = |part: for<'k> fn(&'k RsaKey) -> &'k [u64]| keys.map(|key| part(key).as_ptr());
        // SAFETY: this CPU runs the code (self). All blocks have bits / 8 bytes (check_rsa), an
        // RsaKey's parts bits / 128 limbs, and `work` what the method asks for. All outlive the
        // call; outputs overlap nothing, being exclusive borrows.
        Status(unsafe {
            stack::private_crt(bits)(
                read_ptrs(from).as_ptr(),
                write_ptrs(to).as_ptr(),
                limbs(RsaKey::p_limbs).as_ptr(),
                limbs(RsaKey::q_limbs).as_ptr(),
                limbs(RsaKey::dp_limbs).as_ptr(),
                limbs(RsaKey::dq_limbs).as_ptr(),
                limbs(RsaKey::qinv_limbs).as_ptr(),
                bits,
                method,
                work,
            )
        })
    }

    /// RSA public operation of eight blocks with exponent 65537, whatever the key's own.
    ///
    /// # Panics
    /// If the keys, `from` and `to` are not all of one size.
    pub(crate) fn rsa_public(
        self,
        keys: &[&RsaKey; LANES],
        from: &Inputs<'_>,
        to: &mut Outputs<'_>,
        work: &mut WorkBuffer,
    ) -> Status {
        let bits = check_rsa(keys, from, to);
        let method = sys::mbx_RSA_pub65537_Method(bits);
        let work = work.for_method(method);
        let n = keys.map(|key| key.n_limbs().as_ptr());
        // SAFETY: as in `rsa_private`; an RsaKey's n has bits / 64 limbs.
        Status(unsafe {
            sys::mbx_rsa_public_mb8(
                read_ptrs(from).as_ptr(),
                write_ptrs(to).as_ptr(),
                n.as_ptr(),
                bits,
                method,
                work,
            )
        })
    }

    /// X25519 public keys of eight private scalars, 32 bytes each.
    ///
    /// # Panics
    /// If a length differs.
    pub(crate) fn x25519_public(self, private: &Inputs<'_>, public: &mut Outputs<'_>) -> Status {
        check_len(private, 32);
        check_len(public, 32);
        // SAFETY: this CPU runs the code (self). All operands have 32 bytes (check_len) and
        // outlive the call; outputs overlap nothing.
        Status(unsafe {
            sys::mbx_x25519_public_key_mb8(write_ptrs(public).as_ptr(), read_ptrs(private).as_ptr())
        })
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
        // SAFETY: as in `x25519_public`.
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
pub(crate) type Inputs<'a> = [&'a [u8]; LANES];
/// Where each lane writes.
pub(crate) type Outputs<'a> = [&'a mut [u8]; LANES];

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

/// The one size of all keys and blocks, in bits.
fn check_rsa(keys: &[&RsaKey; LANES], from: &Inputs<'_>, to: &Outputs<'_>) -> c_int {
    let bits = keys[0].bits();
    assert!(
        keys.iter().all(|key| key.bits() == bits),
        "keys of {bits} bits"
    );
    check_len(from, bits / 8);
    check_len(to, bits / 8);
    bits as c_int
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

/// Where crypto_mb keeps intermediate values of RSA. Secret after a private operation.
pub(crate) struct WorkBuffer(Box<[Line]>);

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u64; 8]);

impl WorkBuffer {
    /// One large enough for every RSA function.
    pub(crate) fn new(_: Cpu) -> Self {
        let bytes = RSA_BITS
            .into_iter()
            .flat_map(|bits| {
                [
                    sys::mbx_RSA_private_crt_Method(bits),
                    sys::mbx_RSA_pub65537_Method(bits),
                ]
            })
            .map(buffer_len)
            .max()
            .unwrap_or(0);
        Self(vec![Line([0; 8]); bytes.div_ceil(64)].into_boxed_slice())
    }

    fn for_method(&mut self, method: *const sys::RsaMethod) -> *mut u8 {
        assert!(
            buffer_len(method) <= size_of_val(&*self.0),
            "made for the largest method"
        );
        self.0.as_mut_ptr().cast()
    }

    /// Forgets everything: some 100 KB in words of 8 bytes, which takes 3 microseconds.
    pub(crate) fn wipe(&mut self) {
        self.0.iter_mut().for_each(|line| line.0.zeroize());
    }
}

/// Bytes of work buffer for `method`, which is one of the library's own.
fn buffer_len(method: *const sys::RsaMethod) -> usize {
    assert!(!method.is_null(), "Cpu::detect found every method");
    // SAFETY: the library's methods are static, and this one is not null.
    usize::try_from(unsafe { sys::mbx_RSA_Method_BufSize(method) }).unwrap_or(0)
}

impl Drop for WorkBuffer {
    fn drop(&mut self) {
        self.wipe();
    }
}
