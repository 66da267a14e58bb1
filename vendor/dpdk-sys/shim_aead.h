/* AEAD ops and their packet buffers, included by shim.h. */
#ifndef DPDK_SYS_SHIM_AEAD_H
#define DPDK_SYS_SHIM_AEAD_H

#include <rte_cryptodev.h>

/* What an op seals and opens with. */
struct shim_aead_key {
    enum rte_crypto_aead_algorithm algorithm;
    enum rte_crypto_aead_operation operation;
    const uint8_t* secret;
    uint16_t secret_length;
    uint16_t aad_length;
};

/* Bytes of a nonce and of a tag, and most bytes of associated data. */
#define SHIM_AEAD_NONCE 12
#define SHIM_AEAD_TAG 16
#define SHIM_AEAD_MAX_AAD 64

/* The packet buffer of an object: the first cache line of struct rte_mbuf, field by field, and room for the
 * rest. It is never freed by a driver, so that it needs no pool of its own. */
struct shim_packet {
    uint8_t* data;
    uint64_t iova; /* only where SHIM_PACKET_HAS_IOVA says so */
    uint16_t data_offset, references, segments, port;
    uint64_t offloads;
    uint32_t type, length;
    uint16_t segment_length, vlan;
    uint32_t hash[2];
    uint16_t vlan_outer, buffer_length;
    void* pool;
    uint64_t rest[8];
} __rte_cache_aligned;

#if (defined RTE_IOVA_IN_MBUF && RTE_IOVA_IN_MBUF) || (defined RTE_IOVA_AS_PA && RTE_IOVA_AS_PA)
#define SHIM_PACKET_HAS_IOVA 1
#else
#define SHIM_PACKET_HAS_IOVA 0
#endif

/* An object of a pool of symmetric ops: struct rte_crypto_op and struct rte_crypto_sym_op field by field, whose
 * unnamed unions bindgen calls otherwise in every release, and what is ours behind them. That all of it lies
 * where DPDK has it is checked when shim_aead.c is compiled. Objects start at a cache line. */
struct shim_aead_object {
    uint8_t type, status, session_type, rest[5];
    struct rte_mempool* pool;
    rte_iova_t iova; /* of the object */
    struct shim_packet *from, *to;
    void* session;
    uint32_t start, length; /* of the data, in the packet */
    uint8_t* tag;
    rte_iova_t tag_iova;
    uint8_t* aad;
    rte_iova_t aad_iova;
    /* Ours. */
    void* owner;
    uint8_t nonce[16];
    struct shim_packet packet;
    uint8_t aad_copy[SHIM_AEAD_MAX_AAD];
};

/* Bytes of private data that an object needs. */
uint16_t shim_aead_private(void);
/* Whether the device has the algorithm with such a key and such associated data. */
int shim_aead_takes(uint8_t device, const struct shim_aead_key* key);
/* NULL, with rte_errno set, if the device does not take the key. The key's bytes are copied. */
void* shim_aead_session(uint8_t device, struct rte_mempool* pool, const struct shim_aead_key* key);

/* All `count` of a pool made for symmetric ops, or none; returns how many. */
uint16_t shim_sym_op_alloc(struct rte_mempool* pool, struct rte_crypto_op** ops, uint16_t count);
/* Once per object, of a pool made for symmetric ops with that private data: sets all that every op has the
 * same. */
void shim_aead_init(struct shim_aead_object* object);

#endif
