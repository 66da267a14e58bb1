#include "shim.h"

#include <string.h>

#define SYM_AT sizeof(struct rte_crypto_op)
#define SAME(at, type, field, ours)                                                                               \
    _Static_assert((at) + offsetof(struct type, field) == offsetof(struct shim_aead_object, ours) &&              \
                       sizeof(((struct type*)0)->field) == sizeof(((struct shim_aead_object*)0)->ours),           \
                   #field " of struct " #type " is not where it was")
#define OP(field, ours) SAME(0, rte_crypto_op, field, ours)
#define SYM(field, ours) SAME(SYM_AT, rte_crypto_sym_op, field, ours)
#define MBUF(field, ours) SAME(offsetof(struct shim_aead_object, packet), rte_mbuf, field, packet.ours)
OP(type, type);
OP(status, status);
OP(sess_type, session_type);
OP(mempool, pool);
OP(phys_addr, iova);
SYM(m_src, from);
SYM(m_dst, to);
SYM(session, session);
SYM(aead.data.offset, start);
SYM(aead.data.length, length);
SYM(aead.digest.data, tag);
SYM(aead.digest.phys_addr, tag_iova);
SYM(aead.aad.data, aad);
SYM(aead.aad.phys_addr, aad_iova);
MBUF(buf_addr, data);
MBUF(data_off, data_offset);
MBUF(refcnt, references);
MBUF(nb_segs, segments);
MBUF(port, port);
MBUF(ol_flags, offloads);
MBUF(packet_type, type);
MBUF(pkt_len, length);
MBUF(data_len, segment_length);
MBUF(buf_len, buffer_length);
#if SHIM_PACKET_HAS_IOVA
MBUF(buf_iova, iova);
#endif
_Static_assert(sizeof(struct rte_mbuf) == sizeof(struct shim_packet), "a packet buffer has another size");
_Static_assert(SYM_AT + sizeof(struct rte_crypto_sym_op) <= offsetof(struct shim_aead_object, owner), "ours is theirs");

uint16_t shim_aead_private(void) {
    return sizeof(struct shim_aead_object) - sizeof(struct rte_crypto_op) - sizeof(struct rte_crypto_sym_op);
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
    xform.aead.iv.offset = offsetof(struct shim_aead_object, nonce);
    xform.aead.iv.length = SHIM_AEAD_NONCE;
    xform.aead.digest_length = SHIM_AEAD_TAG;
    xform.aead.aad_length = key->aad_length;
    rte_errno = 0;
    return rte_cryptodev_sym_session_create(device, &xform, pool);
}

uint16_t shim_sym_op_alloc(struct rte_mempool* pool, struct rte_crypto_op** ops, uint16_t count) {
    return rte_crypto_op_bulk_alloc(pool, RTE_CRYPTO_OP_TYPE_SYMMETRIC, ops, count);
}

void shim_aead_init(struct shim_aead_object* object) {
    struct rte_crypto_op* op = (struct rte_crypto_op*)object;
    struct rte_mbuf* packet = (struct rte_mbuf*)&object->packet;
    memset((uint8_t*)object + SYM_AT, 0, sizeof *object - SYM_AT);
    __rte_crypto_op_reset(op, RTE_CRYPTO_OP_TYPE_SYMMETRIC);
    op->sess_type = RTE_CRYPTO_OP_WITH_SESSION;
    op->sym->m_src = packet;
    packet->nb_segs = 1;
    rte_mbuf_refcnt_set(packet, 1);
}
