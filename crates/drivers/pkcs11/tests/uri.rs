//! URIs: those of RFC 7512, those that are none, and all others by chance.

use proptest::prelude::*;
use spinlane_driver_pkcs11::uri::{Attribute, MAX_LEN, Uri, UriError};
use spinlane_driver_pkcs11::{Error, PinSource, Settings, Spec, TokenDevice};

fn parse(text: &str) -> Result<Uri, UriError> {
    text.parse()
}

#[test]
fn examples_of_the_rfc() {
    // Section 3, except for those with pin-value or a command.
    let uri = parse("pkcs11:").unwrap();
    assert_eq!(uri, Uri::default());
    let uri = parse("pkcs11:object=my-pubkey;type=public").unwrap();
    assert_eq!(uri.text(Attribute::Object), Some("my-pubkey"));
    assert_eq!(uri.text(Attribute::Type), Some("public"));
    let uri = parse("pkcs11:object=my-key;type=private?pin-source=file:/etc/token").unwrap();
    assert_eq!(
        PinSource::of(&uri),
        Some(PinSource::File("/etc/token".into()))
    );
    let uri = parse(
        "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;\
         object=my-certificate;type=cert;id=%69%95%3E%5C%F4%BD%EC%91;serial=?pin-source=file:/etc/token_pin",
    )
    .unwrap();
    assert_eq!(
        uri.text(Attribute::Token),
        Some("The Software PKCS#11 Softtoken")
    );
    assert_eq!(uri.text(Attribute::Manufacturer), Some("Snake Oil, Inc."));
    assert_eq!(uri.text(Attribute::Serial), Some(""));
    assert_eq!(uri.id(), Some(&b"\x69\x95\x3e\x5c\xf4\xbd\xec\x91"[..]));
    assert_eq!(uri.text(Attribute::Id), None, "bytes, not text");
    let uri = parse("pkcs11:object=my-sign-key;type=private?module-name=mypkcs11").unwrap();
    assert_eq!(uri.text(Attribute::ModuleName), Some("mypkcs11"));
    let uri = parse("pkcs11:object=my-sign-key;type=private?module-path=/mnt/libmypkcs11.so.1");
    assert_eq!(
        uri.unwrap().text(Attribute::ModulePath),
        Some("/mnt/libmypkcs11.so.1")
    );
    let uri = parse("pkcs11:token=Software%20PKCS%2311%20softtoken;slot-id=327;slot-description=a")
        .unwrap();
    assert_eq!(uri.slot_id(), Some(327));
    let uri = parse("pkcs11:token=my-token%25?pin-source=env:PIN").unwrap();
    assert_eq!(uri.text(Attribute::Token), Some("my-token%"));
    assert_eq!(PinSource::of(&uri), Some(PinSource::Env("PIN".into())));
    let uri = parse("pkcs11:object=%C3%BC?pin-source=file:///etc/pin").unwrap();
    assert_eq!(uri.text(Attribute::Object), Some("ü"));
    assert_eq!(
        PinSource::of(&uri),
        Some(PinSource::File("/etc/pin".into()))
    );
}

#[test]
fn what_is_wrong_is_named() {
    for (text, named) in [
        ("", "begins with"),
        ("PKCS11:token=a", "begins with"),
        ("pkcs11:token", "\"token\" has no value"),
        ("pkcs11:token=a;", "\"\" has no value"),
        (
            "pkcs11:tokn=a",
            "the path has no attribute \"tokn\"; there is token, manu",
        ),
        (
            "pkcs11:pin-source=file:/a",
            "the path has no attribute \"pin-source\"",
        ),
        (
            "pkcs11:?token=a",
            "the query, after '?', has no attribute \"token\"; there is pin-source",
        ),
        ("pkcs11:token=a;token=b", "token is given twice"),
        (
            "pkcs11:token=a/b",
            "token has the character '/' in it; write it as %2F",
        ),
        ("pkcs11:token=a b", "'"),
        ("pkcs11:token=ü", "write it as %C3%BC"),
        ("pkcs11:token=%4", "token has a '%' without"),
        ("pkcs11:token=%zz", "token has a '%' without"),
        ("pkcs11:token=%+1", "token has a '%' without"),
        ("pkcs11:token=%ü1", "token has a '%' without"),
        ("pkcs11:token=%ff", "token is no UTF-8"),
        (
            "pkcs11:token=%00",
            "token is \"\\0\", must be without zero bytes",
        ),
        (
            "pkcs11:type=key",
            "type is \"key\", must be public, private",
        ),
        ("pkcs11:slot-id=-1", "slot-id is \"-1\", must be a decimal"),
        ("pkcs11:slot-id=", "slot-id is \"\", must be a decimal"),
        (
            "pkcs11:slot-id=18446744073709551616",
            "must be a decimal number of 64 bits",
        ),
        ("pkcs11:?pin-source=|/bin/pin", "commands are not run"),
        ("pkcs11:?pin-source=secret", "must be file:/PATH"),
        ("pkcs11:?pin-source=file:pin", "must be file:/PATH"),
        ("pkcs11:?pin-source=env:", "must be file:/PATH or env:NAME"),
        ("pkcs11:?module-path=softhsm", "must be an absolute path"),
        ("pkcs11:?module-name=/a/b", "module-path takes a path"),
    ] {
        let error = parse(text).expect_err(text).to_string();
        assert!(error.contains(named), "{text}: {error}");
    }
    let long = format!("pkcs11:token={}", "a".repeat(MAX_LEN));
    assert!(matches!(parse(&long), Err(UriError::TooLong { .. })));
}

#[test]
fn a_pin_in_the_uri_is_refused_and_not_shown() {
    for text in [
        "pkcs11:?pin-value=4711",
        "pkcs11:pin-value=4711",
        "pkcs11:token=a?pin-value=47%311",
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error, UriError::PinValue);
        assert!(!error.to_string().contains("47"), "{error}");
        assert!(error.to_string().contains("pin-source=file:"), "{error}");
    }
}

#[test]
fn what_one_uri_leaves_open_another_may_say() {
    let key = parse("pkcs11:object=a;token=t").unwrap();
    let spec = parse("pkcs11:token=u?module-name=m").unwrap();
    let both = key.or(&spec);
    assert_eq!(both.to_string(), "pkcs11:token=t;object=a?module-name=m");
}

#[test]
fn keys_of_one_token_have_its_uri_in_common() {
    let one = parse("pkcs11:object=a;token=t;type=private?module-name=m").unwrap();
    let other = parse("pkcs11:id=%01;token=t?module-name=m").unwrap();
    assert_eq!(one.token(), other.token());
    assert_eq!(one.token().to_string(), "pkcs11:token=t?module-name=m");
}

#[test]
fn specs_name_a_token_and_its_sessions() {
    let spec: Spec = "/m.so,token=a b,serial=1,slot-id=7,sessions=3,pin-file=/p,verify=off"
        .parse()
        .unwrap();
    assert_eq!(
        spec.uri.to_string(),
        "pkcs11:token=a%20b;serial=1;slot-id=7?pin-source=file:/p&module-path=/m.so"
    );
    assert_eq!((spec.settings.sessions, spec.settings.verify), (3, false));
    let spec: Spec = "softhsm2,pin-env=PIN".parse().unwrap();
    assert_eq!(
        spec.uri.to_string(),
        "pkcs11:?pin-source=env:PIN&module-name=softhsm2"
    );
    for (text, named) in [
        ("", "no module"),
        ("m,tokn=a", "\"tokn=a\" is no option"),
        ("m,sessions=x", "sessions is \"x\""),
        ("m,verify=maybe", "verify is \"maybe\""),
        ("m,slot-id=x", "slot-id is \"x\""),
        ("m,pin=4711", "is no option"),
        ("m,pin-file=p", "must be file:/PATH"),
    ] {
        let error = text.parse::<Spec>().expect_err(text).to_string();
        assert!(error.contains(named), "{text}: {error}");
        assert!(!error.contains("4711"), "{error}");
    }
}

fn open(uri: &str) -> String {
    let opened = TokenDevice::open(&parse(uri).unwrap(), Settings::default());
    opened
        .err()
        .map_or(String::new(), |error| error.to_string())
}

#[test]
fn modules_that_are_not_there_are_named() {
    assert!(open("pkcs11:token=a").contains("pkcs11:token=a names no module; add ?module-path="));
    let error = open("pkcs11:token=a?module-path=/nowhere.so");
    assert!(error.contains("PKCS#11 module /nowhere.so:"), "{error}");
    let error = open("pkcs11:token=a?module-name=nothing-of-the-kind");
    assert!(
        error.contains("no PKCS#11 module \"nothing-of-the-kind\" in /usr/lib"),
        "{error}"
    );
    // A library that is no module.
    let error = open("pkcs11:token=a?module-name=m");
    assert!(
        error.contains("C_GetFunctionList") || error.contains("module"),
        "{error}"
    );
    for sessions in [0, 257] {
        let settings = Settings {
            sessions,
            ..Settings::default()
        };
        let error = TokenDevice::open(&Uri::default(), settings).err().unwrap();
        assert!(
            matches!(
                error,
                Error::Setting {
                    setting: "sessions",
                    ..
                }
            ),
            "{error}"
        );
    }
}

/// A value that `attribute` may have.
fn value(attribute: Attribute) -> BoxedStrategy<Vec<u8>> {
    let text = |text: &str| Just(text.as_bytes().to_vec()).boxed();
    match attribute {
        Attribute::Id => prop::collection::vec(any::<u8>(), 0..40).boxed(),
        Attribute::Type => prop_oneof![
            text("public"),
            text("private"),
            text("cert"),
            text("secret-key"),
            text("data")
        ]
        .boxed(),
        Attribute::SlotId => any::<u64>()
            .prop_map(|id| id.to_string().into_bytes())
            .boxed(),
        Attribute::PinSource => "(file:/|env:a)[^\0=]*".prop_map(String::into_bytes).boxed(),
        Attribute::ModulePath => "/[^\0]*".prop_map(String::into_bytes).boxed(),
        Attribute::ModuleName => "[^\0/]+".prop_map(String::into_bytes).boxed(),
        _ => "[^\0]*".prop_map(String::into_bytes).boxed(),
    }
}

fn uri() -> impl Strategy<Value = (Uri, Vec<(Attribute, Vec<u8>)>)> {
    use Attribute::*;
    let all = [
        Token,
        Manufacturer,
        Serial,
        Model,
        LibraryManufacturer,
        LibraryVersion,
        LibraryDescription,
        Object,
        Type,
        Id,
        SlotManufacturer,
        SlotDescription,
        SlotId,
        PinSource,
        ModuleName,
        ModulePath,
    ];
    let chosen = prop::sample::subsequence(all.to_vec(), 0..=all.len());
    let values = chosen.prop_flat_map(|chosen| {
        let values: Vec<_> = chosen.iter().map(|attribute| value(*attribute)).collect();
        (Just(chosen), values)
    });
    values.prop_map(|(chosen, values)| {
        let mut uri = Uri::default();
        let pairs: Vec<_> = chosen.into_iter().zip(values).collect();
        for (attribute, value) in &pairs {
            uri.set(*attribute, value).unwrap();
        }
        (uri, pairs)
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read((uri, pairs) in uri()) {
        let text = uri.to_string();
        prop_assert!(text.is_ascii());
        let read = parse(&text).unwrap();
        prop_assert_eq!(&read, &uri);
        prop_assert_eq!(read.to_string(), text);
        for (attribute, value) in pairs {
            match attribute {
                Attribute::Id => prop_assert_eq!(read.id(), Some(&value[..])),
                _ => prop_assert_eq!(read.text(attribute).map(str::as_bytes), Some(&value[..])),
            }
        }
    }

    #[test]
    fn any_text_is_a_uri_or_an_error(text in "(pkcs11:)?([a-z-]{0,12}[=;&?%]?[^;&]{0,6}){0,8}") {
        if let Ok(uri) = parse(&text) {
            prop_assert_eq!(parse(&uri.to_string()), Ok(uri));
        }
    }
}
