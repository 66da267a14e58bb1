//! The arithmetic of the device that stands in, by OpenSSL, and the numbers as a card writes them.

use std::ffi::c_int;

use dpdk_sys as sys;
use openssl::bn::{BigNum, BigNumContext, BigNumRef};
use openssl::ec::{EcGroup, EcPoint};
use openssl::nid::Nid;

use super::{Answer, Device, Form, Session};

/// A curve, as TLS and DPDK number it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    P256 = 23,
    P384 = 24,
}

impl Curve {
    pub fn numbered(number: c_int) -> Option<Self> {
        [Self::P256, Self::P384]
            .into_iter()
            .find(|curve| *curve as c_int == number)
    }

    fn len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    fn group(self) -> EcGroup {
        let nid = match self {
            Self::P256 => Nid::X9_62_PRIME256V1,
            Self::P384 => Nid::SECP384R1,
        };
        EcGroup::from_curve_name(nid).expect("OpenSSL has it")
    }
}

/// The bytes of a number in an op.
///
/// # Safety
/// They are there.
pub unsafe fn read(bytes: sys::shim_bytes) -> Vec<u8> {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(bytes.data, bytes.length) }.to_vec()
}

/// Computes `op`; false if it cannot be. What is wrong with it goes to the complaints.
///
/// # Safety
/// It is an op for the session.
pub unsafe fn run(
    op: *mut sys::rte_crypto_op,
    session: &Session,
    device: &mut Device,
    answer: Answer,
) -> bool {
    // SAFETY: the caller's promise.
    let done = unsafe {
        match session.signs {
            true => sign(op, session, device, answer),
            false => multiply(op, session, device, answer),
        }
    };
    let curve_fails = session.curve == Curve::P384 && !device.nature.ops_p384;
    match done {
        Ok(()) if !curve_fails => {
            // SAFETY: an op starts so.
            unsafe {
                (*op.cast::<sys::shim_op_head>()).status = sys::RTE_CRYPTO_OP_STATUS_SUCCESS as u8;
            }
            true
        }
        Ok(()) => false,
        Err(complaint) => {
            device.seen.complaints.push(complaint);
            false
        }
    }
}

/// # Safety
/// As for [`run`].
unsafe fn sign(
    op: *mut sys::rte_crypto_op,
    session: &Session,
    device: &mut Device,
    answer: Answer,
) -> Result<(), String> {
    let mut read_op = sys::shim_ecdsa_op::default();
    // SAFETY: the caller's promise.
    unsafe { sys::shim_read_ecdsa(op, &mut read_op) };
    device.seen.signatures += 1;
    if read_op.signs != 1 {
        return Err("no op that signs".to_owned());
    }
    let (group, len) = (session.curve.group(), session.curve.len());
    let in_session = sys::SHIM_EC_KEY_IN_SESSION != 0;
    if in_session != (session.secret.len() == len) {
        return Err("the key is not where the release has it".to_owned());
    }
    // SAFETY: the op's numbers.
    let [digest, nonce] = unsafe { [read_op.digest, read_op.k].map(|bytes| read(bytes)) };
    let secret = match in_session {
        true => session.secret.clone(),
        // SAFETY: as above.
        false => unsafe { read(read_op.secret) },
    };
    for number in [read_op.digest, read_op.k, read_op.r, read_op.s] {
        device.see(number);
    }
    device.seen.nonces.push(nonce.clone());
    let lengths = [&digest, &nonce, &secret].map(Vec::len);
    if lengths != [len; 3] || read_op.r.length != len || read_op.s.length != len {
        return Err(format!("lengths {lengths:?}"));
    }
    let mut context = BigNumContext::new().unwrap();
    let order = {
        let mut order = BigNum::new().unwrap();
        group.order(&mut order, &mut context).unwrap();
        order
    };
    let [e, k, mut d] = [&digest, &nonce, &secret].map(|bytes| BigNum::from_slice(bytes).unwrap());
    if k.num_bits() == 0 || k >= order || d.num_bits() == 0 || d >= order || e >= order {
        return Err("a number out of range".to_owned());
    }
    if device.nature.loses_keys {
        d = BigNum::from_u32(7).unwrap();
    }
    let mut point = EcPoint::new(&group).unwrap();
    point.mul_generator2(&group, &k, &mut context).unwrap();
    let [x, _] = coordinates(&group, &point, &mut context);
    // r = x mod n, s = (e + r d) / k mod n (FIPS 186-5, section 6.4.1).
    let [mut r, mut product, mut sum, mut inverse, mut s] =
        std::array::from_fn(|_| BigNum::new().unwrap());
    r.nnmod(&x, &order, &mut context).unwrap();
    product.mod_mul(&r, &d, &order, &mut context).unwrap();
    sum.mod_add(&product, &e, &order, &mut context).unwrap();
    inverse.mod_inverse(&k, &order, &mut context).unwrap();
    s.mod_mul(&sum, &inverse, &order, &mut context).unwrap();
    let wrote = device.write([&r, &s], [read_op.r, read_op.s], len, answer);
    // SAFETY: the caller's promise.
    unsafe { sys::shim_ecdsa_wrote(op, wrote[0], wrote[1]) };
    Ok(())
}

/// # Safety
/// As for [`run`].
unsafe fn multiply(
    op: *mut sys::rte_crypto_op,
    session: &Session,
    device: &mut Device,
    answer: Answer,
) -> Result<(), String> {
    let mut read_op = sys::shim_ecpm_op::default();
    // SAFETY: the caller's promise.
    unsafe { sys::shim_read_ecpm(op, &mut read_op) };
    device.seen.products += 1;
    let (group, len) = (session.curve.group(), session.curve.len());
    // SAFETY: the op's numbers.
    let [scalar, x, y] = unsafe { [read_op.scalar, read_op.x, read_op.y].map(|bytes| read(bytes)) };
    let mut context = BigNumContext::new().unwrap();
    let [generator_x, _] = coordinates(&group, group.generator_opt().unwrap(), &mut context);
    let generator_x = generator_x.to_vec_padded(len as i32).unwrap();
    for number in [read_op.scalar, read_op.to_x, read_op.to_y] {
        device.see(number);
    }
    if x != generator_x {
        device.see(read_op.x);
        device.see(read_op.y);
    }
    let lengths = [&scalar, &x, &y].map(Vec::len);
    if lengths != [len; 3] || read_op.to_x.length != len || read_op.to_y.length != len {
        return Err(format!("lengths {lengths:?}"));
    }
    let [scalar, x, y] = [&scalar, &x, &y].map(|bytes| BigNum::from_slice(bytes).unwrap());
    let mut point = EcPoint::new(&group).unwrap();
    point
        .set_affine_coordinates_gfp(&group, &x, &y, &mut context)
        .map_err(|_| "a point that is not on the curve".to_owned())?;
    let mut product = EcPoint::new(&group).unwrap();
    product.mul2(&group, &point, &scalar, &mut context).unwrap();
    if product.is_infinity(&group) {
        return Err("a scalar out of range".to_owned());
    }
    let [x, y] = coordinates(&group, &product, &mut context);
    let wrote = device.write([&x, &y], [read_op.to_x, read_op.to_y], len, answer);
    // SAFETY: the caller's promise.
    unsafe { sys::shim_ecpm_wrote(op, wrote[0], wrote[1]) };
    Ok(())
}

fn coordinates(
    group: &EcGroup,
    point: &openssl::ec::EcPointRef,
    context: &mut BigNumContext,
) -> [BigNum; 2] {
    let [mut x, mut y] = [BigNum::new().unwrap(), BigNum::new().unwrap()];
    point
        .affine_coordinates_gfp(group, &mut x, &mut y, context)
        .unwrap();
    [x, y]
}

impl Device {
    fn see(&mut self, place: sys::shim_bytes) {
        self.seen.places.push((place.data.addr(), place.length));
    }

    /// Writes two numbers as `answer` has it; how long they are said to be.
    fn write(
        &self,
        numbers: [&BigNumRef; 2],
        places: [sys::shim_bytes; 2],
        len: usize,
        answer: Answer,
    ) -> [usize; 2] {
        let form = match answer {
            Answer::Failed | Answer::Nothing => return [len; 2],
            Answer::Empty => return [0; 2],
            Answer::TooLong => Form::Long,
            _ => self.nature.form,
        };
        let bytes = [0, 1].map(|index| {
            let mut bytes = match form {
                Form::Full => numbers[index].to_vec_padded(len as i32).unwrap(),
                Form::Short => numbers[index].to_vec(),
                Form::Long => numbers[index].to_vec_padded(64).unwrap(),
            };
            match answer {
                Answer::Flipped(at) if at == index => *bytes.last_mut().unwrap() ^= 1,
                Answer::TooLong => bytes[0] = 1,
                _ => {}
            }
            // SAFETY: a number's place in an area has a line of 64 bytes.
            let place = unsafe { std::slice::from_raw_parts_mut(places[index].data, bytes.len()) };
            place.copy_from_slice(&bytes);
            bytes.len()
        });
        match answer {
            Answer::Endless => [usize::MAX; 2],
            _ => bytes,
        }
    }
}
