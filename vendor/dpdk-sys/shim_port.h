/* Packets of a port: what is a static inline, or lies in structures whose fields moved between releases. */
#ifndef DPDK_SYS_SHIM_PORT_H
#define DPDK_SYS_SHIM_PORT_H

#include <rte_ethdev.h>
#include <rte_mbuf.h>

/* A packet that has come, in one piece; `data` is null if it has several. */
struct shim_frame {
    const uint8_t* data;
    uint32_t len;
    /* The port has found the checksums of IPv4 (or there is none: IPv6) and TCP to be right. */
    uint32_t checked;
};

/* What a port can compute on transmission, and check on reception: both IPv4's header and TCP, for both families. */
#define SHIM_TX_CHECKSUMS (RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM)
#define SHIM_RX_CHECKSUMS (RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM)
static const uint64_t SHIM_PORT_TX_CHECKSUMS = SHIM_TX_CHECKSUMS;
static const uint64_t SHIM_PORT_RX_CHECKSUMS = SHIM_RX_CHECKSUMS;

/* Looks at `count` packets. */
void shim_frames(struct rte_mbuf** packets, uint16_t count, struct shim_frame* frames);
/* All `count` or none; 0, or a negative errno. */
int shim_mbuf_alloc_bulk(struct rte_mempool* pool, struct rte_mbuf** packets, unsigned count);
void shim_mbuf_free_bulk(struct rte_mbuf** packets, unsigned count);
/* Makes a fresh packet `len` bytes long and returns where they stand; null if it has no room for them. */
uint8_t* shim_mbuf_begin(struct rte_mbuf* packet, uint16_t len);
/* The port is to compute the checksums of the TCP segment behind an IP header of `l3` bytes. */
void shim_mbuf_checksums(struct rte_mbuf* packet, int is_v4, uint16_t l3);
/* Whether the link is up, by what is known without waiting. */
int shim_link_is_up(uint16_t port);
/* Sets the queues up to share connections by their addresses and ports, as far as the port can. */
void shim_spread(struct rte_eth_conf* conf, const struct rte_eth_dev_info* info);

#endif
