/*
 * A poll-mode TLS echo server by spinlane_conn_*: many connections, one thread, no libssl, no file descriptor
 * for anything but the sockets.
 *
 *     cc echo_conn.c -lspinlane -o echo_conn
 *     ./echo_conn cert.pem key.pem|pkcs11:URI [device [nb_desc [port]]]
 *
 * Prints the port it listens on. SIGTERM ends it; it then prints what it counted.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <spinlane.h>

#define MAX_PEERS 1024

struct peer {
    int fd; /* -1: free */
    spinlane_conn *conn;
    int waits;        /* for an op or a retry: the socket does not matter */
    int is_served;    /* the handshake is done, and counted */
    int closing;      /* what is to be said is in the output; the rest is over */
    size_t done, len; /* of data, which is to be sent back */
    char data[4096];
};

static struct peer peers[MAX_PEERS];
static spinlane_lcore *lcore;
static unsigned long accepted, served, failed, paused, retried;
static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
    (void)signal;
    stop = 1;
}

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, spinlane_last_error());
    exit(1);
}

static ptrdiff_t fill(void *arg, void *to, size_t len)
{
    return recv(((struct peer *)arg)->fd, to, len, 0);
}

static ptrdiff_t take(void *arg, const void *bytes, size_t len)
{
    return send(((struct peer *)arg)->fd, bytes, len, MSG_NOSIGNAL);
}

/* While it is paused too: its op then comes back to nobody. */
static void close_peer(struct peer *peer)
{
    if (!spinlane_conn_free(peer->conn))
        die("spinlane_conn_free");
    close(peer->fd);
    peer->fd = -1;
}

/* Sends what there is. 0 if the socket is full, -1 if it is broken. */
static int flush(struct peer *peer)
{
    while (spinlane_conn_output_len(peer->conn) != 0)
        if (spinlane_conn_write_output(peer->conn, take, peer) < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -1;
    return 1;
}

/* The next call: what was read goes back before more is read. */
static int call(struct peer *peer)
{
    size_t count;
    int progress;

    if (peer->done < peer->len) {
        progress = spinlane_conn_write(peer->conn, peer->data + peer->done, peer->len - peer->done, &count);
        peer->done += count;
    } else {
        progress = spinlane_conn_read(peer->conn, peer->data, sizeof(peer->data), &count);
        peer->done = 0;
        peer->len = count;
    }
    if (!peer->is_served && spinlane_conn_is_established(peer->conn)) {
        peer->is_served = 1;
        served++;
    }
    return progress;
}

/* Goes on until there is something to wait for. */
static void drive(struct peer *peer)
{
    ptrdiff_t came;
    int room;

    peer->waits = 0;
    for (;;) {
        room = flush(peer);
        if (room < 0 || (room && peer->closing)) {
            close_peer(peer);
            return;
        }
        if (peer->closing)
            return;
        switch (call(peer)) {
        case SPINLANE_DONE:
            continue;
        case SPINLANE_WANT_INPUT:
            came = spinlane_conn_read_input(peer->conn, fill, peer);
            if (came > 0)
                continue;
            if (came < 0 && (errno == EAGAIN || errno == EINTR)) {
                flush(peer); /* the reply to what came */
                return;
            }
            peer->closing = 1; /* the end, without a proper close: what came before it may have been cut short */
            continue;
        case SPINLANE_WANT_OUTPUT:
            if (!room)
                return;
            continue;
        case SPINLANE_PAUSED:
            paused++;
            peer->waits = 1;
            return;
        case SPINLANE_REFUSED: /* comes back in its turn */
            paused++;
            retried++;
            peer->waits = 1;
            return;
        case SPINLANE_NO_JOBS:
            peer->waits = 1;
            spinlane_make_ready(lcore, peer); /* in the next turn */
            return;
        case SPINLANE_CLOSED:
            spinlane_conn_shutdown(peer->conn);
            peer->closing = 1;
            continue;
        default: /* the alert that says why is in the output */
            failed += !peer->is_served;
            peer->closing = 1;
        }
    }
}

static void accept_one(int listener, spinlane_conn_config *config)
{
    struct peer *peer = peers;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);

    if (fd < 0)
        return;
    while (peer < peers + MAX_PEERS && peer->fd >= 0)
        peer++;
    if (peer == peers + MAX_PEERS) {
        close(fd);
        return;
    }
    memset(peer, 0, sizeof(*peer));
    peer->fd = fd;
    peer->conn = spinlane_conn_create(config, NULL);
    if (peer->conn == NULL || !spinlane_conn_attach(peer->conn, lcore, peer))
        die("spinlane_conn_create");
    accepted++;
    drive(peer);
}

static void sockets(int listener, spinlane_conn_config *config)
{
    static struct pollfd fds[MAX_PEERS + 1];
    static struct peer *polled[MAX_PEERS];
    nfds_t count = 1, i;
    struct peer *peer;

    fds[0].fd = listener;
    fds[0].events = POLLIN;
    for (peer = peers; peer < peers + MAX_PEERS; peer++)
        if (peer->fd >= 0 && !peer->waits) {
            polled[count - 1] = peer;
            fds[count].fd = peer->fd;
            fds[count++].events = spinlane_conn_output_len(peer->conn) != 0 ? POLLOUT : POLLIN;
        }
    if (poll(fds, count, 0) <= 0)
        return;
    for (i = 1; i < count; i++)
        if (fds[i].revents)
            drive(polled[i - 1]);
    if (fds[0].revents)
        accept_one(listener, config);
}

static int make_listener(int port)
{
    struct sockaddr_in address;
    socklen_t len = sizeof(address);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    memset(&address, 0, sizeof(address));
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((unsigned short)port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 512)
        || getsockname(fd, (struct sockaddr *)&address, &len)) {
        perror("listen");
        exit(1);
    }
    printf("listening on %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    struct spinlane_stats stats;
    spinlane_conn_config *config;
    spinlane_device *device, *token = NULL;
    struct peer *peer;
    void *ready;
    int listener;

    if (argc < 3) {
        fprintf(stderr, "usage: %s cert.pem key.pem|pkcs11:URI [device [nb_desc [port]]]\n", argv[0]);
        return 2;
    }
    signal(SIGTERM, on_signal);
    if ((device = spinlane_device_open(argc > 3 ? argv[3] : "auto")) == NULL)
        die("device");
    if ((lcore = spinlane_lcore_create()) == NULL
        || !spinlane_lcore_add_device(lcore, device, argc > 4 ? (unsigned)atoi(argv[4]) : 0))
        die("lcore");
    config = spinlane_conn_config_create_server();
    if (strncmp(argv[2], "pkcs11:", 7) == 0
        && ((token = spinlane_device_open(argv[2])) == NULL || !spinlane_lcore_add_device(lcore, token, 0)))
        die("token");
    switch (token != NULL ? spinlane_conn_config_add_certificate_uri(config, argv[1], token, argv[2])
                          : spinlane_conn_config_add_certificate_files(config, argv[1], argv[2])) {
    case SPINLANE_KEY_OFFLOADED:
        break;
    case SPINLANE_KEY_NOT_OFFLOADED:
        fprintf(stderr, "%s: %s\n", argv[2], spinlane_last_error());
        break;
    default:
        die("certificate");
    }
    for (peer = peers; peer < peers + MAX_PEERS; peer++)
        peer->fd = -1;
    listener = make_listener(argc > 5 ? atoi(argv[5]) : 0);

    while (!stop) {
        if (spinlane_poll(lcore) < 0)
            die("spinlane_poll");
        while (spinlane_next_ready(lcore, &ready))
            drive(ready);
        sockets(listener, config);
    }

    for (peer = peers; peer < peers + MAX_PEERS; peer++)
        if (peer->fd >= 0)
            close_peer(peer);
    stats.size = sizeof(stats);
    if (!spinlane_lcore_stats(lcore, &stats))
        die("spinlane_lcore_stats");
    printf("accepted %lu served %lu failed %lu paused %lu retried %lu\n", accepted, served, failed, paused, retried);
    printf("enqueued %llu completed %llu refused %llu callbacks %llu inline %llu\n",
           (unsigned long long)stats.enqueued, (unsigned long long)stats.completed,
           (unsigned long long)stats.refused, (unsigned long long)stats.callbacks,
           (unsigned long long)stats.inline_ops);
    spinlane_conn_config_free(config);
    if (!spinlane_lcore_free(lcore))
        die("spinlane_lcore_free");
    spinlane_device_close(device);
    spinlane_device_close(token);
    close(listener);
    return 0;
}
