#include "shim.h"

#include <string.h>

/* Behind the op, in its private data. The packet buffer is never freed by a driver, so that it needs no pool
 * of its own. */
struct area {
    struct rte_mbuf mbuf;
    uint8_t nonce[16];
    uint8_t aad[SHIM_AEAD_MAX_AAD];
    uint32_t index;
} __rte_cache_aligned;

/* Objects of a pool start at a cache line. */
#define AREA_AT RTE_CACHE_LINE_ROUNDUP(sizeof(struct rte_crypto_op) + sizeof(struct rte_crypto_sym_op))
#define NONCE_AT (AREA_AT + offsetof(struct area, nonce))

static struct area* area_of(const struct rte_crypto_op* op) { return RTE_PTR_ADD(op, AREA_AT); }

uint16_t shim_aead_private(void) {
    return AREA_AT + sizeof(struct area) - sizeof(struct rte_crypto_op) - sizeof(struct rte_crypto_sym_op);
}

int shim_aead_takes(uint8_t device, const struct shim_aead_key* key) {
    struct rte_cryptodev_sym_capability_idx index = {.type = RTE_CRYPTO_SYM_XFORM_AEAD, .algo.aead = key->algorithm};
    const struct rte_cryptodev_symmetric_capability* capability = rte_cryptodev_sym_capability_get(device, &index);
    return capability != NULL && rte_cryptodev_sym_capability_check_aead(capability, key->secret_length, SHIM_AEAD_TAG,
                                                                         key->aad_length, SHIM_AEAD_NONCE) == 0;
}

void* shim_aead_session(uint8_t device, struct rte_mempool* pool, const struct shim_aead_key* key) {
    struct rte_crypto_sym_xform xform;
    memset(&xform, 0, sizeof xform);
    xform.type = RTE_CRYPTO_SYM_XFORM_AEAD;
    xform.aead.op = key->operation;
    xform.aead.algo = key->algorithm;
    xform.aead.key.data = key->secret;
    xform.aead.key.length = key->secret_length;
    xform.aead.iv.offset = NONCE_AT;
    xform.aead.iv.length = SHIM_AEAD_NONCE;
    xform.aead.digest_length = SHIM_AEAD_TAG;
    xform.aead.aad_length = key->aad_length;
    rte_errno = 0;
    return rte_cryptodev_sym_session_create(device, &xform, pool);
}

uint16_t shim_sym_op_alloc(struct rte_mempool* pool, struct rte_crypto_op** ops, uint16_t count) {
    return rte_crypto_op_bulk_alloc(pool, RTE_CRYPTO_OP_TYPE_SYMMETRIC, ops, count);
}

void shim_aead_init(struct rte_crypto_op* op, uint32_t index) {
    struct area* area = area_of(op);
    memset(area, 0, sizeof *area);
    area->index = index;
    area->mbuf.nb_segs = 1;
    rte_mbuf_refcnt_set(&area->mbuf, 1);
    __rte_crypto_op_reset(op, RTE_CRYPTO_OP_TYPE_SYMMETRIC);
    op->sess_type = RTE_CRYPTO_OP_WITH_SESSION;
    op->sym->m_src = &area->mbuf;
    op->sym->aead.aad.data = area->aad;
    op->sym->aead.aad.phys_addr = op->phys_addr + AREA_AT + offsetof(struct area, aad);
}

void shim_aead_set(struct rte_crypto_op* op, void* session, const struct shim_aead_work* work) {
    struct area* area = area_of(op);
    uint16_t end = work->start + work->length;
    area->mbuf.buf_addr = work->buffer;
    rte_mbuf_iova_set(&area->mbuf, work->buffer_iova);
    area->mbuf.buf_len = area->mbuf.data_len = area->mbuf.pkt_len = end + SHIM_AEAD_TAG;
    memcpy(area->nonce, work->nonce, SHIM_AEAD_NONCE);
    memcpy(area->aad, work->aad, work->aad_length);
    op->status = RTE_CRYPTO_OP_STATUS_NOT_PROCESSED;
    op->sym->session = session;
    op->sym->aead.data.offset = work->start;
    op->sym->aead.data.length = work->length;
    op->sym->aead.digest.data = work->buffer + end;
    op->sym->aead.digest.phys_addr = work->buffer_iova + end;
}

size_t shim_aead_index_at(void) { return AREA_AT + offsetof(struct area, index); }
