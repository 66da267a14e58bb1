//! PKCS#11 URIs: any text is one that reads the same when it is written again, or an error that names what is
//! wrong and shows no PIN.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spinlane_driver_pkcs11::PinSource;
use spinlane_driver_pkcs11::uri::{Attribute, Uri};

fuzz_target!(|text: &str| {
    match text.parse::<Uri>() {
        Ok(uri) => {
            let written = uri.to_string();
            assert!(written.is_ascii());
            assert_eq!(written.parse::<Uri>().as_ref(), Ok(&uri));
            let has_source = uri.text(Attribute::PinSource).is_some();
            assert_eq!(PinSource::of(&uri).is_some(), has_source);
            assert_eq!(uri.slot_id().is_some(), uri.text(Attribute::SlotId).is_some());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
