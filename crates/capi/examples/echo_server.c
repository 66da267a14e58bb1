/*
 * A poll-mode TLS echo server: many connections, one thread, no file descriptor for anything but the
 * sockets. It follows the nine steps of SSL_set_async_callback(3), which are numbered below.
 *
 *     cc echo_server.c -lspinlane -lssl -lcrypto -o echo_server
 *     ./echo_server cert.pem key.pem [device [nb_desc [port]]]
 *
 * Prints the port it listens on. SIGTERM ends it; it then prints what it counted.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/async.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <spinlane.h>

#define MAX_CONNS 1024

enum step { HANDSHAKE, READ, WRITE };

struct conn {
    int fd;
    SSL *ssl;
    enum step step; /* the call that is made next, or is paused */
    int paused;     /* on a job: the socket does not matter */
    short events;   /* what of the socket is waited for otherwise */
    int len;
    char data[4096];
};

static struct conn conns[MAX_CONNS];
static struct pollfd fds[MAX_CONNS + 1];
static spinlane_lcore *lcore;
static unsigned long accepted, served, paused, retried, failed;
static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
    (void)signal;
    stop = 1;
}

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, spinlane_last_error());
    ERR_print_errors_fp(stderr);
    exit(1);
}

/*
 * Steps 6 to 9: called within spinlane_poll when the operation has finished, and at once when it
 * could not be submitted. Small and nonblocking: it queues the connection. In the second
 * case drive() does that, once it has the connection back.
 */
static int on_completion(SSL *ssl, void *arg)
{
    int status;

    if (SSL_get_async_status(ssl, &status) && status != ASYNC_STATUS_EAGAIN)
        spinlane_make_ready(lcore, arg);
    return 1;
}

static void close_conn(struct conn *conn)
{
    spinlane_forget(lcore, conn);
    spinlane_ssl_free(conn->ssl); /* whatever is paused in it */
    close(conn->fd);
    memset(conn, 0, sizeof(*conn));
    conn->fd = -1;
}

/* One libssl call; what a retry repeats is the same call with the same arguments. */
static int call(struct conn *conn)
{
    switch (conn->step) {
    case HANDSHAKE:
        return SSL_accept(conn->ssl);
    case READ:
        return SSL_read(conn->ssl, conn->data, sizeof(conn->data));
    default:
        return SSL_write(conn->ssl, conn->data, conn->len);
    }
}

static void drive(struct conn *conn)
{
    int result, status;

    for (;;) {
        ERR_clear_error();
        conn->paused = 0;
        result = call(conn); /* steps 2 and 3 */
        if (result > 0) {
            if (conn->step == HANDSHAKE)
                served++;
            if (conn->step == READ)
                conn->len = result;
            conn->step = conn->step == READ ? WRITE : READ;
            continue;
        }
        switch (SSL_get_error(conn->ssl, result)) {
        case SSL_ERROR_WANT_READ:
            conn->events = POLLIN;
            return;
        case SSL_ERROR_WANT_WRITE:
            conn->events = POLLOUT;
            return;
        case SSL_ERROR_WANT_ASYNC: /* step 4: others can go on meanwhile */
            conn->paused = 1;
            paused++;
            if (!SSL_get_async_status(conn->ssl, &status))
                status = ASYNC_STATUS_ERR;
            if (status == ASYNC_STATUS_EAGAIN) { /* step 9: not submitted, the queue being full */
                retried++;
                spinlane_retry(lcore, conn->ssl, conn);
            }
            return;
        case SSL_ERROR_WANT_ASYNC_JOB: /* no job to be had now: next turn */
            conn->paused = 1;
            spinlane_make_ready(lcore, conn);
            return;
        case SSL_ERROR_ZERO_RETURN:
            SSL_shutdown(conn->ssl);
            close_conn(conn);
            return;
        default:
            if (conn->step == HANDSHAKE)
                failed++;
            close_conn(conn);
            return;
        }
    }
}

static void accept_one(int listener, SSL_CTX *ctx)
{
    struct conn *conn = conns;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);

    if (fd < 0)
        return;
    while (conn < conns + MAX_CONNS && conn->fd >= 0)
        conn++;
    if (conn == conns + MAX_CONNS) {
        close(fd);
        return;
    }
    memset(conn, 0, sizeof(*conn));
    conn->fd = fd;
    conn->ssl = SSL_new(ctx);
    if (conn->ssl == NULL || !SSL_set_fd(conn->ssl, fd))
        die("SSL_new");
    SSL_set_accept_state(conn->ssl);
    /* Step 1, before the first call: libssl copies the callback then. */
    if (!SSL_set_async_callback(conn->ssl, on_completion) || !SSL_set_async_callback_arg(conn->ssl, conn))
        die("SSL_set_async_callback");
    accepted++;
    drive(conn);
}

static void sockets(int listener, SSL_CTX *ctx)
{
    struct conn *polled[MAX_CONNS];
    nfds_t count = 1, i;
    struct conn *conn;

    fds[0].fd = listener;
    fds[0].events = POLLIN;
    for (conn = conns; conn < conns + MAX_CONNS; conn++)
        if (conn->fd >= 0 && !conn->paused) {
            polled[count - 1] = conn;
            fds[count].fd = conn->fd;
            fds[count++].events = conn->events;
        }
    if (poll(fds, count, 0) <= 0)
        return;
    for (i = 1; i < count; i++)
        if (fds[i].revents)
            drive(polled[i - 1]);
    if (fds[0].revents)
        accept_one(listener, ctx);
}

/* token is the device that key is on, if key is a URI: it stays there. */
static SSL_CTX *make_ctx(const char *cert, const char *key, const spinlane_device *token)
{
    SSL_CTX *ctx = SSL_CTX_new_ex(spinlane_libctx(), SPINLANE_PROPERTY_QUERY, TLS_server_method());

    if (ctx == NULL)
        die("SSL_CTX_new_ex");
    SSL_CTX_set_mode(ctx, SSL_MODE_ASYNC); /* step 2 */
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
    if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
        die(cert);
    switch (token != NULL ? spinlane_ssl_ctx_use_private_key_uri(ctx, token, key)
                          : spinlane_ssl_ctx_use_private_key_file(ctx, key)) {
    case SPINLANE_KEY_OFFLOADED:
        return ctx;
    case SPINLANE_KEY_NOT_OFFLOADED:
        fprintf(stderr, "%s: %s\n", key, spinlane_last_error());
        return ctx;
    default:
        die(key);
    }
    return NULL;
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
    spinlane_device *device, *token = NULL;
    struct conn *conn;
    SSL_CTX *ctx;
    void *ready;
    int listener;

    if (argc < 3) {
        fprintf(stderr, "usage: %s cert.pem key.pem|pkcs11:URI [device [nb_desc [port]]]\n", argv[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, on_signal);
    if (!spinlane_verify_binding())
        die("binding");
    if ((device = spinlane_device_open(argc > 3 ? argv[3] : "auto")) == NULL)
        die("device");
    if ((lcore = spinlane_lcore_create()) == NULL
        || !spinlane_lcore_add_device(lcore, device, argc > 4 ? (unsigned)atoi(argv[4]) : 0))
        die("lcore");
    if (strncmp(argv[2], "pkcs11:", 7) == 0
        && ((token = spinlane_device_open(argv[2])) == NULL || !spinlane_lcore_add_device(lcore, token, 0)))
        die("token");
    ctx = make_ctx(argv[1], argv[2], token);
    for (conn = conns; conn < conns + MAX_CONNS; conn++)
        conn->fd = -1;
    listener = make_listener(argc > 5 ? atoi(argv[5]) : 0);

    while (!stop) {
        if (spinlane_poll(lcore) < 0) /* step 5 */
            die("spinlane_poll");
        while (spinlane_next_ready(lcore, &ready)) /* step 8 */
            drive(ready);
        sockets(listener, ctx);
    }

    for (conn = conns; conn < conns + MAX_CONNS; conn++)
        if (conn->fd >= 0)
            close_conn(conn);
    stats.size = sizeof(stats);
    if (!spinlane_lcore_stats(lcore, &stats))
        die("spinlane_lcore_stats");
    printf("accepted %lu served %lu failed %lu paused %lu retried %lu\n", accepted, served, failed, paused, retried);
    printf("enqueued %llu completed %llu refused %llu callbacks %llu inline %llu\n",
           (unsigned long long)stats.enqueued, (unsigned long long)stats.completed,
           (unsigned long long)stats.refused, (unsigned long long)stats.callbacks,
           (unsigned long long)stats.inline_ops);
    if (!spinlane_lcore_free(lcore))
        die("spinlane_lcore_free");
    spinlane_device_close(device);
    spinlane_device_close(token);
    SSL_CTX_free(ctx);
    close(listener);
    return 0;
}
