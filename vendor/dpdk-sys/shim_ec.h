/* Ops on elliptic curves, included by shim.h. */
#ifndef DPDK_SYS_SHIM_EC_H
#define DPDK_SYS_SHIM_EC_H

#include <rte_cryptodev.h>
#include <rte_version.h>

/* Whether the private key of ECDSA stands in the session, or in each op. */
#if RTE_VERSION >= RTE_VERSION_NUM(23, 11, 0, 0)
#define SHIM_EC_KEY_IN_SESSION 1
#else
#define SHIM_EC_KEY_IN_SESSION 0
#endif

/* A key for signing: the private scalar, and the public point. */
struct shim_ec_key {
    struct shim_bytes secret, x, y;
};

/* Whether the device lists ECDSA, or the multiplication of points, among what it does. */
int shim_ecdsa_listed(uint8_t device);
int shim_ecpm_listed(uint8_t device);

/* 0, or a negative errno. `curve` is one of enum rte_crypto_curve_id. The key's numbers must outlive the session. */
int shim_ecdsa_session(uint8_t device, struct rte_mempool* pool, int curve, const struct shim_ec_key* key,
                       void** session);
int shim_ecpm_session(uint8_t device, struct rte_mempool* pool, int curve, void** session);

/* Makes `op` one that signs `digest` with the nonce `k`, and is not processed yet. `secret` is that of the session;
 * it stands in the op before 23.11. */
void shim_set_ecdsa(struct rte_crypto_op* op, void* session, struct shim_bytes secret, struct shim_bytes digest,
                    struct shim_bytes k, struct shim_bytes r, struct shim_bytes s);
/* One that multiplies the point (x, y). */
void shim_set_ecpm(struct rte_crypto_op* op, void* session, struct shim_bytes scalar, struct shim_bytes x,
                   struct shim_bytes y, struct shim_bytes to_x, struct shim_bytes to_y);
/* Bytes that the device wrote: of r and s; of x and y. */
void shim_ecdsa_written(const struct rte_crypto_op* op, size_t written[2]);
void shim_ecpm_written(const struct rte_crypto_op* op, size_t written[2]);

#endif
