#include "shim.h"

#include <string.h>

void shim_frames(struct rte_mbuf** packets, uint16_t count, struct shim_frame* frames) {
    for (uint16_t i = 0; i < count; i++) {
        const struct rte_mbuf* packet = packets[i];
        const uint64_t l4 = packet->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
        const uint64_t ip = packet->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK;
        /* A port that knows of no sum in an IPv6 header says "unknown", or "good". */
        const int is_v6 = RTE_ETH_IS_IPV6_HDR(packet->packet_type) != 0;
        frames[i].data = packet->nb_segs == 1 ? rte_pktmbuf_mtod(packet, const uint8_t*) : NULL;
        frames[i].len = rte_pktmbuf_data_len(packet);
        frames[i].checked = l4 == RTE_MBUF_F_RX_L4_CKSUM_GOOD && (ip == RTE_MBUF_F_RX_IP_CKSUM_GOOD || is_v6);
    }
}

int shim_mbuf_alloc_bulk(struct rte_mempool* pool, struct rte_mbuf** packets, unsigned count) {
    return rte_pktmbuf_alloc_bulk(pool, packets, count);
}

void shim_mbuf_free_bulk(struct rte_mbuf** packets, unsigned count) { rte_pktmbuf_free_bulk(packets, count); }

uint8_t* shim_mbuf_begin(struct rte_mbuf* packet, uint16_t len) { return (uint8_t*)rte_pktmbuf_append(packet, len); }

void shim_mbuf_checksums(struct rte_mbuf* packet, int is_v4, uint16_t l3) {
    packet->l2_len = RTE_ETHER_HDR_LEN;
    packet->l3_len = l3;
    packet->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM;
    packet->ol_flags |= is_v4 ? RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM : RTE_MBUF_F_TX_IPV6;
}

int shim_link_is_up(uint16_t port) {
    struct rte_eth_link link;
    memset(&link, 0, sizeof link);
    return rte_eth_link_get_nowait(port, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

void shim_spread(struct rte_eth_conf* conf, const struct rte_eth_dev_info* info) {
    const uint64_t wanted = RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV6_TCP;
    const uint64_t has = info->flow_type_rss_offloads & wanted;
    if (!has) return;
    conf->rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf->rx_adv_conf.rss_conf.rss_hf = has;
}
