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

/* Where an op works: `length` bytes from `start` on, and the tag behind them. */
struct shim_aead_work {
    uint8_t* buffer;
    rte_iova_t buffer_iova;
    uint16_t start, length;
    uint16_t aad_length;
    const uint8_t* nonce;
    const uint8_t* aad;
};

/* Bytes of a nonce and of a tag, and most bytes of associated data. */
#define SHIM_AEAD_NONCE 12
#define SHIM_AEAD_TAG 16
#define SHIM_AEAD_MAX_AAD 64

/* Bytes of private data that an op needs. */
uint16_t shim_aead_private(void);
/* Whether the device has the algorithm with such a key and such associated data. */
int shim_aead_takes(uint8_t device, const struct shim_aead_key* key);
/* NULL, with rte_errno set, if the device does not take the key. The key's bytes are copied. */
void* shim_aead_session(uint8_t device, struct rte_mempool* pool, const struct shim_aead_key* key);

/* All `count` of a pool made for symmetric ops, or none; returns how many. */
uint16_t shim_sym_op_alloc(struct rte_mempool* pool, struct rte_crypto_op** ops, uint16_t count);
/* Once per op, which is of a pool made for symmetric ones with that private data. */
void shim_aead_init(struct rte_crypto_op* op, uint32_t index);
/* Makes `op` one that is not processed yet. The nonce and the associated data are copied. */
void shim_aead_set(struct rte_crypto_op* op, void* session, const struct shim_aead_work* work);
/* How many bytes behind the start of an op the number lies that shim_aead_init was told. */
size_t shim_aead_index_at(void);

#endif
