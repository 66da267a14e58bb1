/* Fails to compile where crypto_mb's headers and the declarations of src/lib.rs part.
 * One line per declaration there, in its order. */
#include <crypto_mb/cpu_features.h>
#include <crypto_mb/ec_nistp256.h>
#include <crypto_mb/ec_nistp384.h>
#include <crypto_mb/ed25519.h>
#include <crypto_mb/rsa.h>
#include <crypto_mb/status.h>
#include <crypto_mb/x25519.h>

#define SAME(function, ...) \
    _Static_assert(__builtin_types_compatible_p(__typeof__(&function), __VA_ARGS__), #function)

_Static_assert(sizeof(int8u) == 1 && (int8u)-1 > 0, "int8u is u8");
_Static_assert(sizeof(int64u) == 8 && (int64u)-1 > 0, "int64u is u64");
_Static_assert(sizeof(mbx_status) == 4 && (mbx_status)-1 > 0, "mbx_status is u32");
_Static_assert(sizeof(int) == 4, "int is i32");
_Static_assert(MBX_STATUS_OK == 0, "MBX_STATUS_OK");
_Static_assert(MBX_STATUS_LOW_ORDER_ERR == 4, "MBX_STATUS_LOW_ORDER_ERR");

typedef const int8u* const* in;
typedef int8u* const* out;
typedef const int64u* const* limbs;
typedef int64u** limbs_out;

_Static_assert(sizeof(int32u) == 4 && (int32u)-1 > 0, "int32u is u32");
_Static_assert(sizeof(ed25519_sign_component) == 32, "ed25519_sign_component is [u8; 32]");
_Static_assert(sizeof(ed25519_private_key) == 32, "ed25519_private_key is [u8; 32]");
_Static_assert(sizeof(ed25519_public_key) == 32, "ed25519_public_key is [u8; 32]");

SAME(mbx_is_crypto_mb_applicable, int (*)(int64u));
SAME(mbx_RSA_pub65537_Method, const mbx_RSA_Method* (*)(int));
SAME(mbx_RSA_private_crt_Method, const mbx_RSA_Method* (*)(int));
SAME(mbx_RSA_Method_BufSize, int (*)(const mbx_RSA_Method*));
SAME(mbx_rsa_public_mb8, mbx_status (*)(in, out, limbs, int, const mbx_RSA_Method*, int8u*));
SAME(mbx_rsa_private_crt_mb8,
     mbx_status (*)(in, out, limbs, limbs, limbs, limbs, limbs, int, const mbx_RSA_Method*, int8u*));
SAME(mbx_nistp256_ecdsa_sign_mb8, mbx_status (*)(int8u**, int8u**, in, limbs, limbs, int8u*));
SAME(mbx_nistp384_ecdsa_sign_mb8, mbx_status (*)(int8u**, int8u**, in, limbs, limbs, int8u*));
SAME(mbx_nistp256_ecpublic_key_mb8,
     mbx_status (*)(limbs_out, limbs_out, limbs_out, limbs, int8u*));
SAME(mbx_nistp384_ecpublic_key_mb8,
     mbx_status (*)(limbs_out, limbs_out, limbs_out, limbs, int8u*));
SAME(mbx_nistp256_ecdh_mb8, mbx_status (*)(int8u**, limbs, limbs, limbs, limbs, int8u*));
SAME(mbx_nistp384_ecdh_mb8, mbx_status (*)(int8u**, limbs, limbs, limbs, limbs, int8u*));
SAME(mbx_ed25519_sign_mb8,
     mbx_status (*)(ed25519_sign_component**, ed25519_sign_component**, in, const int32u*,
                    const ed25519_private_key* const*, const ed25519_public_key* const*));
SAME(mbx_x25519_mb8, mbx_status (*)(out, in, in));
