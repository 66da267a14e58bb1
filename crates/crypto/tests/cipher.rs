//! A key for the CPU: both ways of sealing, and opening.

use spinlane_crypto::aead::{Algorithm, Cipher, NONCE_LEN, TAG_LEN};

#[test]
fn one_pass_seals_what_two_buffers_would_and_opening_undoes_it() {
    let plain: Vec<u8> = (0..16_400_u32).map(|index| index as u8).collect();
    for algorithm in Algorithm::ALL {
        let secret = [9; 32];
        let cipher = Cipher::new(algorithm, &secret[..algorithm.key_len()]).unwrap();
        let (nonce, aad) = ([3; NONCE_LEN], [5; 13]);
        for len in [0, 1, 15, 16, 17, 255, 1024, 16_383, 16_384, 16_400] {
            for last in [&[][..], &[23]] {
                let mut data = [&plain[..len], last].concat();
                let mut out = vec![0; data.len() + TAG_LEN];
                assert!(cipher.seal_into(&nonce, &aad, &plain[..len], last, &mut out));
                let mut tag = [0; TAG_LEN];
                assert!(cipher.seal(&nonce, &aad, &mut data, &mut tag));
                assert_eq!(out, [&data[..], &tag].concat(), "{algorithm}, {len}");
                assert!(cipher.open(&nonce, &aad, &mut data, &tag));
                assert_eq!(data, [&plain[..len], last].concat());
            }
        }
    }
}

#[test]
fn a_wrong_tag_shows_nothing() {
    let cipher = Cipher::new(Algorithm::Aes256Gcm, &[1; 32]).unwrap();
    let mut out = [0; 5 + TAG_LEN];
    assert!(cipher.seal_into(&[2; NONCE_LEN], b"", b"plain", b"", &mut out));
    out[20] ^= 1;
    let (data, tag) = out.split_at_mut(5);
    assert!(!cipher.open(&[2; NONCE_LEN], b"", data, tag.first_chunk().unwrap()));
    assert_eq!(data, [0; 5]);
}

#[test]
fn a_key_of_another_length_is_refused() {
    assert!(Cipher::new(Algorithm::Aes128Gcm, &[0; 32]).is_err());
}
