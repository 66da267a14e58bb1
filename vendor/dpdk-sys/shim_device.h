/* The other side, for tests that stand in for a device: what a session is asked to be and what is in an op, as a driver
 * reads it. Included by shim.h; nothing of it is linked into what does not call it. */
#ifndef DPDK_SYS_SHIM_DEVICE_H
#define DPDK_SYS_SHIM_DEVICE_H

#include <rte_cryptodev.h>

struct shim_ec_xform {
    int is_ecdsa, is_ecpm, curve;
    struct shim_bytes secret; /* from 23.11 on; else in the op */
};
void shim_read_xform(const struct rte_crypto_asym_xform* xform, struct shim_ec_xform* out);

struct shim_ecdsa_op {
    int signs;
    struct shim_bytes secret /* before 23.11 */, digest, k, r, s;
};
struct shim_ecpm_op {
    struct shim_bytes scalar, x, y, to_x, to_y;
};
void* shim_session_of(const struct rte_crypto_op* op);
void shim_read_ecdsa(const struct rte_crypto_op* op, struct shim_ecdsa_op* out);
void shim_read_ecpm(const struct rte_crypto_op* op, struct shim_ecpm_op* out);
void shim_ecdsa_wrote(struct rte_crypto_op* op, size_t r, size_t s);
void shim_ecpm_wrote(struct rte_crypto_op* op, size_t x, size_t y);

#endif
