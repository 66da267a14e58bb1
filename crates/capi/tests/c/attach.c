/*
 * spinlane_attach: connections of libssl without a callback, a status test or a retry, through a queue pair for one
 * op; and what the lcore then tells of its device. Ends with 0 if all is as spinlane.h says.
 *
 *     attach cert.pem key.pem
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/ssl.h>
#include <spinlane.h>

#define MUST(condition)                                                                      \
    do {                                                                                     \
        if (!(condition)) {                                                                  \
            fprintf(stderr, "line %d: %s; %s\n", __LINE__, #condition, spinlane_last_error()); \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)
#define SAYS(text) MUST(strstr(spinlane_last_error(), text) != NULL)

#define CONNS 3

struct conn {
    SSL *server, *client;
    int paused, done;
};

static struct conn conns[CONNS];
static int lines, pauses, refusals;

static void log_line(void *arg, int level, const char *line)
{
    MUST(arg == conns && level >= 1 && level <= 4 && *line != '\0');
    lines++;
}

static void drive(struct conn *conn)
{
    int status, result = SSL_do_handshake(conn->server);

    conn->paused = 0;
    if (result == 1) {
        conn->done = 1;
        return;
    }
    switch (SSL_get_error(conn->server, result)) {
    case SSL_ERROR_WANT_ASYNC:
        MUST(SSL_get_async_status(conn->server, &status));
        conn->paused = 1;
        pauses++;
        refusals += status == ASYNC_STATUS_EAGAIN;
        return;
    case SSL_ERROR_WANT_READ:
        return;
    default:
        MUST(!"handshake");
    }
}

static void handshakes(spinlane_lcore *lcore, SSL_CTX *ctx, SSL_CTX *of_client)
{
    int i, turns, done = 0;
    void *ready;
    BIO *ours, *theirs;

    for (i = 0; i < CONNS; i++) {
        conns[i].server = SSL_new(ctx);
        conns[i].client = SSL_new(of_client);
        MUST(BIO_new_bio_pair(&ours, 0, &theirs, 0));
        SSL_set_bio(conns[i].server, ours, ours);
        SSL_set_bio(conns[i].client, theirs, theirs);
        SSL_set_accept_state(conns[i].server);
        SSL_set_connect_state(conns[i].client);
        MUST(spinlane_attach(conns[i].server, lcore, &conns[i]) == 1);
    }
    for (turns = 0; turns < 1000000 && done < 2 * CONNS; turns++) {
        for (i = 0, done = 0; i < CONNS; i++) {
            done += SSL_do_handshake(conns[i].client) == 1;
            if (!conns[i].done && !conns[i].paused)
                drive(&conns[i]);
            done += conns[i].done;
        }
        MUST(spinlane_poll(lcore) >= 0);
        while (spinlane_next_ready(lcore, &ready)) {
            MUST(((struct conn *)ready)->paused);
            drive(ready);
        }
    }
    MUST(done == 2 * CONNS && refusals > 0 && pauses > refusals);
}

static void counters(spinlane_lcore *lcore)
{
    struct spinlane_device_stats device;
    struct spinlane_op_stats op;
    struct spinlane_latency latencies[256];
    uint64_t enqueued = 0, in_buckets = 0;
    size_t count, i;
    unsigned kind;

    device.size = sizeof(device);
    MUST(spinlane_lcore_device_stats(lcore, 0, &device) == 1 && device.size == sizeof(device));
    MUST(strcmp(device.name, "soft") == 0 && device.capacity == 1 && device.in_flight_peak == 1 && device.healthy == 1);
    MUST(device.counts.enqueued == (uint64_t)(pauses - refusals) && device.counts.refused == (uint64_t)refusals);
    MUST(device.counts.completed == device.counts.enqueued && device.in_flight == 0 && device.kinds >= 2);
    for (kind = 0; kind < device.kinds; kind++) {
        op.size = sizeof(op);
        MUST(spinlane_lcore_op_stats(lcore, 0, kind, &op) == 1 && *op.name != '\0');
        enqueued += op.counts.enqueued;
        count = spinlane_lcore_op_latencies(lcore, 0, kind, latencies, 256);
        MUST(count == spinlane_lcore_op_latencies(lcore, 0, kind, NULL, 0) && count <= 256);
        for (i = 0, in_buckets = 0; i < count; i++) {
            MUST(i == 0 || latencies[i].up_to_ns > latencies[i - 1].up_to_ns);
            in_buckets += latencies[i].count;
        }
        MUST(in_buckets == op.counts.enqueued);
        MUST(in_buckets == 0 || (op.p50_ns > 0 && op.p50_ns <= op.p99_ns && op.p99_ns <= op.max_ns));
    }
    MUST(enqueued == device.counts.enqueued);
    MUST(spinlane_lcore_op_stats(lcore, 0, 99, &op) == 0);
    SAYS("op kind 99");
    MUST(spinlane_lcore_device_stats(lcore, 1, &device) == 0);
    SAYS("the lcore has 1");
    device.size = 0;
    MUST(spinlane_lcore_device_stats(lcore, 0, &device) == 0);
    SAYS("sizeof(struct spinlane_device_stats)");
    MUST(spinlane_lcore_device_stats(lcore, 0, NULL) == 0 && spinlane_lcore_op_stats(NULL, 0, 0, &op) == 0);
    MUST(spinlane_lcore_op_latencies(lcore, 0, 0, NULL, 1) == 0);
    SAYS("to is NULL");
    /* A program that was built when the structure was shorter. */
    memset(&device, 0xee, sizeof(device));
    device.size = sizeof(size_t) + sizeof(device.name);
    MUST(spinlane_lcore_device_stats(lcore, 0, &device) == 1 && strcmp(device.name, "soft") == 0);
    MUST(device.counts.enqueued == 0xeeeeeeeeeeeeeeee && device.size == sizeof(size_t) + sizeof(device.name));
}

/* What programs give that were built with an older header, with a newer one, and with none in mind. */
static void settings_of_other_versions(void)
{
    struct {
        struct spinlane_lcore_settings known;
        unsigned char newer[16];
    } settings;
    spinlane_lcore *lcore;

    memset(&settings, 0, sizeof(settings));
    MUST(spinlane_lcore_create_with(NULL) == NULL);
    SAYS("settings is NULL");
    MUST(spinlane_lcore_create_with(&settings.known) == NULL);
    SAYS("sizeof(struct spinlane_lcore_settings)");
    settings.known.size = (size_t)-1;
    MUST(spinlane_lcore_create_with(&settings.known) == NULL);
    SAYS("sizeof(struct spinlane_lcore_settings)");
    settings.known.size = sizeof(settings);
    MUST((lcore = spinlane_lcore_create_with(&settings.known)) != NULL && spinlane_lcore_free(lcore) == 1);
    settings.newer[15] = 1;
    MUST(spinlane_lcore_create_with(&settings.known) == NULL);
    SAYS("set to 0 what is newer");
    settings.known.size = offsetof(struct spinlane_lcore_settings, max_errors);
    MUST((lcore = spinlane_lcore_create_with(&settings.known)) != NULL && spinlane_lcore_free(lcore) == 1);
}

int main(int argc, char **argv)
{
    struct spinlane_lcore_settings settings;
    spinlane_device *device;
    spinlane_lcore *lcore;
    SSL_CTX *ctx, *of_client;
    char text[1024];
    size_t count;
    int i;

    MUST(argc == 3);
    MUST(spinlane_set_log(0, log_line, conns) == 0 && spinlane_set_log(3, NULL, NULL) == 0);
    MUST(spinlane_set_log(4, log_line, conns) == 1 && spinlane_set_log(4, log_line, conns) == 0);
    SAYS("has a log already");
    for (count = 0; spinlane_device_spec((unsigned)count) != NULL; count++)
        ;
    MUST(count == 3 && strcmp(spinlane_device_spec(2), "soft") == 0);
    MUST((device = spinlane_device_open("soft")) != NULL);
    MUST(spinlane_device_describe(NULL, NULL, 0) == 0);
    MUST(spinlane_device_describe(device, text, sizeof(text)) == strlen(text) && strncmp(text, "soft rsa2048 ", 13) == 0);

    settings_of_other_versions();
    memset(&settings, 0, sizeof(settings));
    settings.size = sizeof(settings);
    settings.op_deadline_ns = 2000000000;
    MUST((lcore = spinlane_lcore_create_with(&settings)) != NULL && spinlane_lcore_create_with(&settings) == NULL);
    MUST(spinlane_lcore_add_device(lcore, device, 1) == 1);
    MUST(spinlane_note_work(NULL) == 0 && spinlane_note_work(lcore) == 1);

    MUST((ctx = SSL_CTX_new_ex(spinlane_libctx(), SPINLANE_PROPERTY_QUERY, TLS_server_method())) != NULL);
    MUST(SSL_CTX_use_certificate_chain_file(ctx, argv[1]) == 1);
    MUST(spinlane_ssl_ctx_use_private_key_file(ctx, argv[2]) == SPINLANE_KEY_OFFLOADED);
    MUST((of_client = SSL_CTX_new(TLS_client_method())) != NULL);
    MUST(spinlane_attach(NULL, lcore, NULL) == 0);
    SAYS("ssl is NULL");
    handshakes(lcore, ctx, of_client);
    counters(lcore);
    for (i = 0; i < CONNS; i++) {
        spinlane_ssl_free(conns[i].server);
        SSL_free(conns[i].client);
    }
    MUST(spinlane_lcore_free(lcore) == 1);
    MUST(lines > 0);
    spinlane_device_close(device);
    SSL_CTX_free(ctx);
    SSL_CTX_free(of_client);
    return 0;
}
