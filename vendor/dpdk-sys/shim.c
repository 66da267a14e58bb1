#include "shim.h"

#include <stddef.h>
#include <string.h>

_Static_assert(offsetof(struct rte_crypto_op, type) == offsetof(struct shim_op_head, type), "type");
_Static_assert(offsetof(struct rte_crypto_op, status) == offsetof(struct shim_op_head, status), "status");

int shim_errno(void) { return rte_errno; }

void shim_clear_errno(void) { rte_errno = 0; }

unsigned shim_lcore_id(void) { return rte_lcore_id(); }

uint16_t shim_enqueue_burst(uint8_t device, uint16_t queue_pair, struct rte_crypto_op** ops, uint16_t count) {
    return rte_cryptodev_enqueue_burst(device, queue_pair, ops, count);
}

uint16_t shim_dequeue_burst(uint8_t device, uint16_t queue_pair, struct rte_crypto_op** ops, uint16_t count) {
    return rte_cryptodev_dequeue_burst(device, queue_pair, ops, count);
}

uint16_t shim_op_alloc(struct rte_mempool* pool, struct rte_crypto_op** ops, uint16_t count) {
    return rte_crypto_op_bulk_alloc(pool, RTE_CRYPTO_OP_TYPE_UNDEFINED, ops, count);
}

void shim_op_free(struct rte_crypto_op** ops, uint16_t count) {
    for (uint16_t i = 0; i < count; i++) rte_crypto_op_free(ops[i]);
}

rte_iova_t shim_op_iova(const struct rte_crypto_op* op, const void* at) {
    return op->phys_addr + (rte_iova_t)((const uint8_t*)at - (const uint8_t*)op);
}

static rte_crypto_param param(struct shim_bytes bytes) {
    return (rte_crypto_param){.data = bytes.data, .iova = bytes.iova, .length = bytes.length};
}

int shim_rsa_session(uint8_t device, struct rte_mempool* pool, const struct shim_rsa_key* key, void** session) {
    struct rte_crypto_asym_xform xform;
    memset(&xform, 0, sizeof xform);
    xform.xform_type = RTE_CRYPTO_ASYM_XFORM_RSA;
    xform.rsa.n = param(key->n);
    xform.rsa.e = param(key->e);
    xform.rsa.key_type = RTE_RSA_KEY_TYPE_QT;
    xform.rsa.qt.p = param(key->p);
    xform.rsa.qt.q = param(key->q);
    xform.rsa.qt.dP = param(key->dp);
    xform.rsa.qt.dQ = param(key->dq);
    xform.rsa.qt.qInv = param(key->qinv);
#if RTE_VERSION >= RTE_VERSION_NUM(24, 11, 0, 0)
    xform.rsa.padding.type = RTE_CRYPTO_RSA_PADDING_NONE;
#endif
    return rte_cryptodev_asym_session_create(device, &xform, pool, session);
}

int shim_modexp_session(uint8_t device, struct rte_mempool* pool, struct shim_bytes modulus,
                        struct shim_bytes exponent, void** session) {
    struct rte_crypto_asym_xform xform;
    memset(&xform, 0, sizeof xform);
    xform.xform_type = RTE_CRYPTO_ASYM_XFORM_MODEX;
    xform.modex.modulus = param(modulus);
    xform.modex.exponent = param(exponent);
    return rte_cryptodev_asym_session_create(device, &xform, pool, session);
}

void* shim_null_session(uint8_t device, struct rte_mempool* pool) {
    struct rte_crypto_sym_xform xform;
    memset(&xform, 0, sizeof xform);
    xform.type = RTE_CRYPTO_SYM_XFORM_CIPHER;
    xform.cipher.op = RTE_CRYPTO_CIPHER_OP_ENCRYPT;
    xform.cipher.algo = RTE_CRYPTO_CIPHER_NULL;
    return rte_cryptodev_sym_session_create(device, &xform, pool);
}

void shim_set_null(struct rte_crypto_op* op, void* session) {
    __rte_crypto_op_reset(op, RTE_CRYPTO_OP_TYPE_SYMMETRIC);
    op->sess_type = RTE_CRYPTO_OP_WITH_SESSION;
    op->sym->session = session;
}

static void reset(struct rte_crypto_op* op, void* session) {
    __rte_crypto_op_reset(op, RTE_CRYPTO_OP_TYPE_ASYMMETRIC);
    op->sess_type = RTE_CRYPTO_OP_WITH_SESSION;
    op->asym->session = session;
}

void shim_set_rsa(struct rte_crypto_op* op, void* session, struct shim_bytes from, struct shim_bytes to) {
    reset(op, session);
    op->asym->rsa.op_type = RTE_CRYPTO_ASYM_OP_SIGN;
    op->asym->rsa.message = param(from);
    op->asym->rsa.sign = param(to);
#if RTE_VERSION < RTE_VERSION_NUM(24, 11, 0, 0)
    op->asym->rsa.padding.type = RTE_CRYPTO_RSA_PADDING_NONE;
#endif
}

void shim_set_rsa_type(struct rte_crypto_op* op, int type) { op->asym->rsa.op_type = type; }

void shim_set_modexp(struct rte_crypto_op* op, void* session, struct shim_bytes from, struct shim_bytes to) {
    reset(op, session);
    op->asym->modex.base = param(from);
    op->asym->modex.result = param(to);
}

size_t shim_modexp_written(const struct rte_crypto_op* op) { return op->asym->modex.result.length; }

uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf** packets, uint16_t count) {
    return rte_eth_rx_burst(port, queue, packets, count);
}

uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf** packets, uint16_t count) {
    return rte_eth_tx_burst(port, queue, packets, count);
}

void shim_mbuf_free(struct rte_mbuf* packet) { rte_pktmbuf_free(packet); }
