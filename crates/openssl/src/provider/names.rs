//! Names of parameters, as in `<openssl/core_names.h>`.

use std::ffi::CStr;

/// Names of the header, and under test the list to compare with it.
macro_rules! header_names {
    ($($name:ident = $header:ident $value:literal;)*) => {
        $(pub(super) const $name: &CStr = $value;)*
        #[cfg(test)]
        pub(super) const CONSTANTS: &[(&str, &str)] = &[$((stringify!($header), {
            match $value.to_str() { Ok(text) => text, Err(_) => "" }
        })),*];
    };
}

/// Settings of the provider's own; see [`super::Settings`].
pub(super) const PAUSE_WITHOUT_CALLBACK: &CStr = c"pause-without-callback";
pub(super) const LCORE: &CStr = c"lcore";
pub(super) const DEVICE: &CStr = c"device";

/// Of keys, ours alone: whether the private part stays here. [`super::bind`] imports with it.
pub(super) const BOUND: &CStr = c"spinlane-bound";
/// Of keys, ours alone: the private part is a device's own. [`super::bind_remote`] imports with it.
pub(super) const REMOTE: &CStr = c"spinlane-remote";

header_names! {
    PROVIDER_NAME = OSSL_PROV_PARAM_NAME c"name";
    PROVIDER_VERSION = OSSL_PROV_PARAM_VERSION c"version";
    PROVIDER_BUILDINFO = OSSL_PROV_PARAM_BUILDINFO c"buildinfo";
    PROVIDER_STATUS = OSSL_PROV_PARAM_STATUS c"status";
    BITS = OSSL_PKEY_PARAM_BITS c"bits";
    SECURITY_BITS = OSSL_PKEY_PARAM_SECURITY_BITS c"security-bits";
    MAX_SIZE = OSSL_PKEY_PARAM_MAX_SIZE c"max-size";
    GROUP = OSSL_PKEY_PARAM_GROUP_NAME c"group";
    PUB = OSSL_PKEY_PARAM_PUB_KEY c"pub";
    PRIV = OSSL_PKEY_PARAM_PRIV_KEY c"priv";
    ENCODED_PUB = OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY c"encoded-pub-key";
    ENCODING = OSSL_PKEY_PARAM_EC_ENCODING c"encoding";
    POINT_FORMAT = OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT c"point-format";
    DECODED_FROM_EXPLICIT = OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS c"decoded-from-explicit";
    RSA_N = OSSL_PKEY_PARAM_RSA_N c"n";
    RSA_E = OSSL_PKEY_PARAM_RSA_E c"e";
    RSA_D = OSSL_PKEY_PARAM_RSA_D c"d";
    RSA_FACTOR1 = OSSL_PKEY_PARAM_RSA_FACTOR1 c"rsa-factor1";
    RSA_FACTOR2 = OSSL_PKEY_PARAM_RSA_FACTOR2 c"rsa-factor2";
    RSA_FACTOR3 = OSSL_PKEY_PARAM_RSA_FACTOR3 c"rsa-factor3";
    RSA_EXPONENT1 = OSSL_PKEY_PARAM_RSA_EXPONENT1 c"rsa-exponent1";
    RSA_EXPONENT2 = OSSL_PKEY_PARAM_RSA_EXPONENT2 c"rsa-exponent2";
    RSA_COEFFICIENT1 = OSSL_PKEY_PARAM_RSA_COEFFICIENT1 c"rsa-coefficient1";
    GEN_POTENTIAL = OSSL_GEN_PARAM_POTENTIAL c"potential";
    GEN_ITERATION = OSSL_GEN_PARAM_ITERATION c"iteration";
    DIGEST = OSSL_SIGNATURE_PARAM_DIGEST c"digest";
    PROPERTIES = OSSL_SIGNATURE_PARAM_PROPERTIES c"properties";
    PAD_MODE = OSSL_SIGNATURE_PARAM_PAD_MODE c"pad-mode";
    SALTLEN = OSSL_SIGNATURE_PARAM_PSS_SALTLEN c"saltlen";
    MGF1_DIGEST = OSSL_SIGNATURE_PARAM_MGF1_DIGEST c"mgf1-digest";
    MGF1_PROPERTIES = OSSL_SIGNATURE_PARAM_MGF1_PROPERTIES c"mgf1-properties";
    TLS_CLIENT_VERSION = OSSL_ASYM_CIPHER_PARAM_TLS_CLIENT_VERSION c"tls-client-version";
    TLS_NEGOTIATED_VERSION = OSSL_ASYM_CIPHER_PARAM_TLS_NEGOTIATED_VERSION c"tls-negotiated-version";
    KDF_MODE = OSSL_KDF_PARAM_MODE c"mode";
    KDF_KEY = OSSL_KDF_PARAM_KEY c"key";
    KDF_SALT = OSSL_KDF_PARAM_SALT c"salt";
    KDF_PREFIX = OSSL_KDF_PARAM_PREFIX c"prefix";
    KDF_LABEL = OSSL_KDF_PARAM_LABEL c"label";
    KDF_DATA = OSSL_KDF_PARAM_DATA c"data";
    KDF_SIZE = OSSL_KDF_PARAM_SIZE c"size";
    RAND_STATE = OSSL_RAND_PARAM_STATE c"state";
    RAND_STRENGTH = OSSL_RAND_PARAM_STRENGTH c"strength";
    RAND_MAX_REQUEST = OSSL_RAND_PARAM_MAX_REQUEST c"max_request";
    TLS_GROUP_ALG = OSSL_CAPABILITY_TLS_GROUP_ALG c"tls-group-alg";
}

/// OSSL_ASYM_CIPHER_PARAM_IMPLICIT_REJECTION of OpenSSL 3.2 and later.
pub(super) const IMPLICIT_REJECTION: &CStr = c"implicit-rejection";
/// OSSL_SIGNATURE_PARAM_TLS_VERSION of OpenSSL 4.0: the version that libssl signs a handshake of.
/// Only SM2 signs by it; the default provider's RSA, ECDSA and Ed25519 do not look at it.
pub(super) const TLS_VERSION: &CStr = c"tls-version";
