#include "shim.h"

#include <string.h>

static rte_crypto_param param(struct shim_bytes bytes) {
    return (rte_crypto_param){.data = bytes.data, .iova = bytes.iova, .length = bytes.length};
}

static int listed(uint8_t device, enum rte_crypto_asym_xform_type type) {
    const struct rte_cryptodev_asym_capability_idx index = {.type = type};
    return rte_cryptodev_asym_capability_get(device, &index) != NULL;
}

int shim_ecdsa_listed(uint8_t device) { return listed(device, RTE_CRYPTO_ASYM_XFORM_ECDSA); }

int shim_ecpm_listed(uint8_t device) { return listed(device, RTE_CRYPTO_ASYM_XFORM_ECPM); }

int shim_ecdsa_session(uint8_t device, struct rte_mempool* pool, int curve, const struct shim_ec_key* key,
                       void** session) {
    struct rte_crypto_asym_xform xform;
    memset(&xform, 0, sizeof xform);
    xform.xform_type = RTE_CRYPTO_ASYM_XFORM_ECDSA;
    xform.ec.curve_id = (enum rte_crypto_curve_id)curve;
#if SHIM_EC_KEY_IN_SESSION
    xform.ec.pkey = param(key->secret);
    xform.ec.q.x = param(key->x);
    xform.ec.q.y = param(key->y);
#else
    (void)key;
#endif
    return rte_cryptodev_asym_session_create(device, &xform, pool, session);
}

int shim_ecpm_session(uint8_t device, struct rte_mempool* pool, int curve, void** session) {
    struct rte_crypto_asym_xform xform;
    memset(&xform, 0, sizeof xform);
    xform.xform_type = RTE_CRYPTO_ASYM_XFORM_ECPM;
    xform.ec.curve_id = (enum rte_crypto_curve_id)curve;
    return rte_cryptodev_asym_session_create(device, &xform, pool, session);
}

static void reset(struct rte_crypto_op* op, void* session) {
    __rte_crypto_op_reset(op, RTE_CRYPTO_OP_TYPE_ASYMMETRIC);
    op->sess_type = RTE_CRYPTO_OP_WITH_SESSION;
    op->asym->session = session;
    op->asym->flags = 0;
}

void shim_set_ecdsa(struct rte_crypto_op* op, void* session, struct shim_bytes secret, struct shim_bytes digest,
                    struct shim_bytes k, struct shim_bytes r, struct shim_bytes s) {
    reset(op, session);
    op->asym->ecdsa.op_type = RTE_CRYPTO_ASYM_OP_SIGN;
#if SHIM_EC_KEY_IN_SESSION
    (void)secret;
#else
    op->asym->ecdsa.pkey = param(secret);
#endif
    op->asym->ecdsa.message = param(digest);
    op->asym->ecdsa.k = param(k);
    op->asym->ecdsa.r = param(r);
    op->asym->ecdsa.s = param(s);
}

void shim_set_ecpm(struct rte_crypto_op* op, void* session, struct shim_bytes scalar, struct shim_bytes x,
                   struct shim_bytes y, struct shim_bytes to_x, struct shim_bytes to_y) {
    reset(op, session);
    op->asym->ecpm.scalar = param(scalar);
    op->asym->ecpm.p.x = param(x);
    op->asym->ecpm.p.y = param(y);
    op->asym->ecpm.r.x = param(to_x);
    op->asym->ecpm.r.y = param(to_y);
}

void shim_ecdsa_written(const struct rte_crypto_op* op, size_t written[2]) {
    written[0] = op->asym->ecdsa.r.length;
    written[1] = op->asym->ecdsa.s.length;
}

void shim_ecpm_written(const struct rte_crypto_op* op, size_t written[2]) {
    written[0] = op->asym->ecpm.r.x.length;
    written[1] = op->asym->ecpm.r.y.length;
}
