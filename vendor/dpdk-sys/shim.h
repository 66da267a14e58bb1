/* What bindgen reads: DPDK's headers, and the shim's own functions, which stand for static inlines
 * and for structures whose fields moved between releases. */
#ifndef DPDK_SYS_SHIM_H
#define DPDK_SYS_SHIM_H

#include <rte_cryptodev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_version.h>

/* A big-endian number, or a place for one. */
struct shim_bytes {
    uint8_t* data;
    rte_iova_t iova;
    size_t length;
};

#include "shim_aead.h"
#include "shim_ec.h"
#include "shim_device.h"
#include "shim_port.h"

/* The first bytes of struct rte_crypto_op, which has them in unnamed unions. */
struct shim_op_head {
    uint8_t type;
    uint8_t status;
};

/* An RSA key in quintuple format. */
struct shim_rsa_key {
    struct shim_bytes n, e, p, q, dp, dq, qinv;
};

/* rte_errno of the calling thread. */
int shim_errno(void);
void shim_clear_errno(void);
/* rte_lcore_id() of the calling thread. */
unsigned shim_lcore_id(void);

/* Whether a queue pair may have callbacks, which the two functions below call. */
#ifdef RTE_CRYPTO_CALLBACKS
#define SHIM_CALLBACKS 1
#else
#define SHIM_CALLBACKS 0
#endif
uint16_t shim_enqueue_burst(uint8_t device, uint16_t queue_pair, struct rte_crypto_op** ops, uint16_t count);
uint16_t shim_dequeue_burst(uint8_t device, uint16_t queue_pair, struct rte_crypto_op** ops, uint16_t count);

/* All `count` or none; returns how many. */
uint16_t shim_op_alloc(struct rte_mempool* pool, struct rte_crypto_op** ops, uint16_t count);
void shim_op_free(struct rte_crypto_op** ops, uint16_t count);
/* Physical (or virtual, as EAL has it) address of `at`, which lies in the memory of `op`. */
rte_iova_t shim_op_iova(const struct rte_crypto_op* op, const void* at);

/* 0, or a negative errno. The key's numbers must outlive the session. */
int shim_rsa_session(uint8_t device, struct rte_mempool* pool, const struct shim_rsa_key* key, void** session);
int shim_modexp_session(uint8_t device, struct rte_mempool* pool, struct shim_bytes modulus,
                        struct shim_bytes exponent, void** session);

/* A session of the NULL cipher, null if there is none; an op with it, without packet: crypto_null touches
 * none. */
void* shim_null_session(uint8_t device, struct rte_mempool* pool);
void shim_set_null(struct rte_crypto_op* op, void* session);

/* Make `op` one that is not processed yet: without padding, to the power of the private exponent. */
void shim_set_rsa(struct rte_crypto_op* op, void* session, struct shim_bytes from, struct shim_bytes to);
void shim_set_modexp(struct rte_crypto_op* op, void* session, struct shim_bytes from, struct shim_bytes to);
/* Asks for another operation, a constant of enum rte_crypto_asym_op_type. */
void shim_set_rsa_type(struct rte_crypto_op* op, int type);
/* Bytes that the device wrote. */
size_t shim_modexp_written(const struct rte_crypto_op* op);

/* For pipelines. */
uint16_t shim_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf** packets, uint16_t count);
uint16_t shim_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf** packets, uint16_t count);
void shim_mbuf_free(struct rte_mbuf* packet);

#endif
