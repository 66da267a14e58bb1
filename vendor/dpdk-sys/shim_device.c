#include "shim.h"

#include <string.h>

static struct shim_bytes bytes(rte_crypto_param param) {
    return (struct shim_bytes){.data = param.data, .iova = param.iova, .length = param.length};
}

void shim_read_xform(const struct rte_crypto_asym_xform* xform, struct shim_ec_xform* out) {
    memset(out, 0, sizeof *out);
    out->is_ecdsa = xform->xform_type == RTE_CRYPTO_ASYM_XFORM_ECDSA;
    out->is_ecpm = xform->xform_type == RTE_CRYPTO_ASYM_XFORM_ECPM;
    if (!out->is_ecdsa && !out->is_ecpm) return;
    out->curve = xform->ec.curve_id;
#if SHIM_EC_KEY_IN_SESSION
    out->secret = bytes(xform->ec.pkey);
#endif
}

void* shim_session_of(const struct rte_crypto_op* op) { return op->asym->session; }

void shim_read_ecdsa(const struct rte_crypto_op* op, struct shim_ecdsa_op* out) {
    memset(out, 0, sizeof *out);
    out->signs = op->asym->ecdsa.op_type == RTE_CRYPTO_ASYM_OP_SIGN;
#if !SHIM_EC_KEY_IN_SESSION
    out->secret = bytes(op->asym->ecdsa.pkey);
#endif
    out->digest = bytes(op->asym->ecdsa.message);
    out->k = bytes(op->asym->ecdsa.k);
    out->r = bytes(op->asym->ecdsa.r);
    out->s = bytes(op->asym->ecdsa.s);
}

void shim_read_ecpm(const struct rte_crypto_op* op, struct shim_ecpm_op* out) {
    out->scalar = bytes(op->asym->ecpm.scalar);
    out->x = bytes(op->asym->ecpm.p.x);
    out->y = bytes(op->asym->ecpm.p.y);
    out->to_x = bytes(op->asym->ecpm.r.x);
    out->to_y = bytes(op->asym->ecpm.r.y);
}

void shim_ecdsa_wrote(struct rte_crypto_op* op, size_t r, size_t s) {
    op->asym->ecdsa.r.length = r;
    op->asym->ecdsa.s.length = s;
}

void shim_ecpm_wrote(struct rte_crypto_op* op, size_t x, size_t y) {
    op->asym->ecpm.r.x.length = x;
    op->asym->ecpm.r.y.length = y;
}
