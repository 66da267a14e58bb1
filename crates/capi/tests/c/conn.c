/*
 * spinlane_conn_*, both ends in one thread's memory, with an eye on each promise of spinlane.h. Ends with 0 if
 * all are kept.
 *
 *     conn one.pem one.key two.pem two.key        certificates of one.test and two.test
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <spinlane.h>

#define MUST(condition)                                                                      \
    do {                                                                                     \
        if (!(condition)) {                                                                  \
            fprintf(stderr, "line %d: %s; %s\n", __LINE__, #condition, spinlane_last_error()); \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

/* The last failure's text mentions this. */
#define SAYS(text) MUST(strstr(spinlane_last_error(), text) != NULL)

static char **files; /* one.pem one.key two.pem two.key */
static spinlane_lcore *lcore;
static spinlane_conn *client, *server;
static int paused, refused;

/* ---- two ends ---- */

/* Moves what `from` has to say to `to`, by the functions that copy. */
static void copy(spinlane_conn *from, spinlane_conn *to)
{
    char bytes[4096];
    size_t len;

    while ((len = spinlane_conn_take_output(from, bytes, sizeof(bytes))) != 0)
        MUST(spinlane_conn_push_input(to, bytes, len) == len);
}

struct lent {
    const char *bytes;
    size_t len;
};

static ptrdiff_t fill(void *arg, void *to, size_t len)
{
    struct lent *lent = arg;

    if (len > lent->len)
        len = lent->len;
    memcpy(to, lent->bytes, len);
    lent->bytes += len;
    lent->len -= len;
    return (ptrdiff_t)len;
}

static ptrdiff_t take(void *to, const void *bytes, size_t len)
{
    struct lent lent;

    lent.bytes = bytes;
    lent.len = len;
    while (lent.len != 0 && spinlane_conn_read_input(to, fill, &lent) > 0)
        ;
    return (ptrdiff_t)(len - lent.len);
}

/* The same by those that lend. */
static void lend(spinlane_conn *from, spinlane_conn *to)
{
    while (spinlane_conn_write_output(from, take, to) > 0)
        ;
    MUST(spinlane_conn_output_len(from) == 0);
}

static int drive(spinlane_conn *conn)
{
    int progress = spinlane_conn_handshake(conn);

    paused += progress == SPINLANE_PAUSED;
    refused += progress == SPINLANE_REFUSED;
    return progress;
}

static int step(spinlane_conn *conn)
{
    return spinlane_conn_is_paused(conn) ? SPINLANE_PAUSED : drive(conn);
}

/* One turn of a pipeline. 1 once both handshakes are done, 0 before, -1 once one has failed. */
static int turn(void)
{
    int done = 0, failed = 0;
    void *ready;

    MUST(spinlane_poll(lcore) >= 0);
    while (spinlane_next_ready(lcore, &ready)) {
        MUST(ready == client || ready == server);
        failed |= drive(ready) == SPINLANE_FAILED;
    }
    failed |= step(client) == SPINLANE_FAILED;
    copy(client, server);
    failed |= step(server) == SPINLANE_FAILED;
    lend(server, client);
    done = spinlane_conn_is_established(client) && spinlane_conn_is_established(server);
    return failed ? -1 : done;
}

static int handshake(void)
{
    int i, result = 0;

    for (i = 0; i < 1000000 && result == 0; i++)
        result = turn();
    return result;
}

static spinlane_conn_config *server_config(void)
{
    spinlane_conn_config *config = spinlane_conn_config_create_server();

    MUST(config != NULL);
    MUST(spinlane_conn_config_add_certificate_files(config, files[0], files[1]) == SPINLANE_KEY_OFFLOADED);
    return config;
}

static spinlane_conn_config *client_config(const char *ca)
{
    spinlane_conn_config *config = spinlane_conn_config_create_client();

    MUST(config != NULL && spinlane_conn_config_set_ca_file(config, ca) == 1);
    return config;
}

static void ends(spinlane_conn_config *of_client, spinlane_conn_config *of_server, const char *name)
{
    client = spinlane_conn_create(of_client, name);
    MUST(client != NULL);
    server = spinlane_conn_create(of_server, NULL);
    MUST(server != NULL);
    MUST(!spinlane_conn_is_offloaded(server));
    MUST(spinlane_conn_attach(client, lcore, client) == 1 && spinlane_conn_attach(server, lcore, server) == 1);
    MUST(spinlane_conn_is_offloaded(server));
}

static void free_ends(void)
{
    MUST(spinlane_conn_free(client) == 1 && spinlane_conn_free(server) == 1);
}

static void echo(const char *text)
{
    char back[64];
    size_t count = 0;

    MUST(spinlane_conn_write(client, text, strlen(text), &count) == SPINLANE_DONE && count == strlen(text));
    copy(client, server);
    MUST(spinlane_conn_read(server, back, sizeof(back), &count) == SPINLANE_DONE && count == strlen(text));
    MUST(memcmp(back, text, count) == 0);
    MUST(spinlane_conn_write(server, back, count, &count) == SPINLANE_DONE);
    copy(server, client);
    MUST(spinlane_conn_read(client, back, sizeof(back), &count) == SPINLANE_DONE);
    MUST(memcmp(back, text, count) == 0 && count == strlen(text));
    MUST(spinlane_conn_read(client, back, sizeof(back), &count) == SPINLANE_WANT_INPUT && count == 0);
}

/* ---- what is tested ---- */

static ptrdiff_t two_at_a_time(void *to, const void *bytes, size_t len)
{
    char **at = to;

    (void)len;
    memcpy(*at, bytes, 2);
    *at += 2;
    return 2;
}

static void texts_without_copies(void)
{
    char sealed[256], text[5], *end = text;
    size_t count, filled;

    MUST(spinlane_conn_write_into(server, "four", 4, sealed, sizeof(sealed), &count, &filled) == SPINLANE_DONE);
    MUST(count == 4 && filled > 4 && spinlane_conn_output_len(server) == 0);
    MUST(spinlane_conn_push_input(client, sealed, filled) == filled);
    MUST(spinlane_conn_read_with(client, two_at_a_time, &end, &count) == SPINLANE_DONE && count == 2);
    MUST(spinlane_conn_pending(client) == 2 && !spinlane_conn_has_input_room(client));
    MUST(spinlane_conn_read_with(client, two_at_a_time, &end, &count) == SPINLANE_DONE && end == text + 4);
    MUST(memcmp(text, "four", 4) == 0 && spinlane_conn_has_input_room(client));
    MUST(spinlane_conn_refresh_keys(client) == SPINLANE_DONE);
    echo("under new keys");
}

static void a_connection_and_what_it_tells(void)
{
    spinlane_conn_config *of_server = server_config(), *of_client = client_config(files[0]);
    char text[64], der[4096];
    size_t count;

    MUST(spinlane_conn_config_add_alpn(of_server, "h2") == 1 && spinlane_conn_config_add_alpn(of_server, "echo") == 1);
    MUST(spinlane_conn_config_add_alpn(of_client, "echo") == 1);
    ends(of_client, of_server, "one.test");
    MUST(spinlane_conn_version(server) == 0 && spinlane_conn_suite(server, NULL, 0) == 0);
    paused = 0;
    MUST(handshake() == 1 && paused == 4); /* the client's two of a key exchange, the server's, its signature */
    MUST(spinlane_conn_version(server) == 0x0304 && spinlane_conn_version(client) == 0x0304);
    MUST(spinlane_conn_suite(server, text, sizeof(text)) == strlen(text) && strcmp(text, "TLS_AES_128_GCM_SHA256") == 0);
    MUST(spinlane_conn_group(client, text, sizeof(text)) != 0 && strstr(text, "25519") != NULL);
    MUST(spinlane_conn_alpn(server, text, sizeof(text)) == 4 && strcmp(text, "echo") == 0);
    MUST(spinlane_conn_alpn(client, text, 3) == 4 && strcmp(text, "ec") == 0);
    MUST(spinlane_conn_server_name(server, text, sizeof(text)) == 8 && strcmp(text, "one.test") == 0);
    MUST(spinlane_conn_server_name(client, text, sizeof(text)) == 0 && *text == '\0');
    MUST((count = spinlane_conn_peer_certificate(client, 0, NULL, 0)) > 200 && count < sizeof(der));
    MUST(spinlane_conn_peer_certificate(client, 0, der, sizeof(der)) == count && der[0] == 0x30);
    MUST(spinlane_conn_peer_certificate(client, 1, der, sizeof(der)) == 0);
    MUST(spinlane_conn_peer_certificate(server, 0, der, sizeof(der)) == 0);
    MUST(!spinlane_conn_is_resumed(server) && *spinlane_conn_error(server) == '\0' && spinlane_conn_alert(server) == -1);
    echo("once around");
    texts_without_copies();
    MUST(spinlane_conn_shutdown(client) == 1);
    MUST(spinlane_conn_write(client, "x", 1, &count) == SPINLANE_CLOSED && count == 0);
    copy(client, server);
    MUST(spinlane_conn_read(server, text, sizeof(text), &count) == SPINLANE_CLOSED);
    free_ends();

    /* The next one of the same client resumes. */
    ends(of_client, of_server, "one.test");
    MUST(handshake() == 1 && spinlane_conn_is_resumed(client) && spinlane_conn_is_resumed(server));
    MUST(spinlane_conn_server_name(server, text, sizeof(text)) == 8 && strcmp(text, "one.test") == 0);
    free_ends();
    spinlane_conn_config_free(of_server);
    spinlane_conn_config_free(of_client);
}

static char *contents(const char *path, size_t *len)
{
    static char bytes[2][8192];
    static int next;
    FILE *file = fopen(path, "r");

    MUST(file != NULL);
    next ^= 1;
    *len = fread(bytes[next], 1, sizeof(bytes[next]), file);
    fclose(file);
    return bytes[next];
}

static void certificates_by_name_from_memory(void)
{
    spinlane_conn_config *of_server = server_config(), *of_client = client_config(files[2]), *strict;
    size_t chain_len, key_len;
    char *chain = contents(files[2], &chain_len), *key = contents(files[3], &key_len);

    MUST(spinlane_conn_config_add_certificate(of_server, chain, chain_len, key, key_len) == SPINLANE_KEY_OFFLOADED);
    ends(of_client, of_server, "two.test");
    MUST(handshake() == 1);
    free_ends();

    /* This server shows the other certificate, which this client does not believe, and says so. */
    ends(of_client, of_server, "one.test");
    MUST(handshake() == -1);
    copy(client, server);
    MUST(spinlane_conn_handshake(server) == SPINLANE_FAILED);
    MUST(strstr(spinlane_conn_error(client), "certificate") != NULL);
    MUST(spinlane_conn_alert(server) == 48 && spinlane_conn_alert(client) == -1); /* unknown_ca */
    SAYS(spinlane_conn_error(server));
    free_ends();
    MUST(spinlane_conn_config_dangerously_accept_any_certificate(of_client) == 1);
    ends(of_client, of_server, "one.test");
    MUST(handshake() == 1);
    free_ends();
    MUST(spinlane_conn_config_set_ca(of_client, chain, chain_len) == 1); /* which ends that */
    ends(of_client, of_server, "one.test");
    MUST(handshake() == -1);
    free_ends();

    /* A server that wants to see a certificate, and a client that has it. */
    strict = spinlane_conn_config_copy(of_server);
    MUST(strict != NULL && spinlane_conn_config_set_ca(strict, chain, chain_len) == 1);
    ends(of_client, strict, "two.test");
    MUST(handshake() == -1);
    free_ends();
    MUST(spinlane_conn_config_add_certificate(of_client, chain, chain_len, key, key_len) == SPINLANE_KEY_OFFLOADED);
    MUST(spinlane_conn_config_add_certificate(of_client, chain, chain_len, key, key_len) == 0);
    SAYS("a client has one certificate");
    ends(of_client, strict, "two.test");
    MUST(handshake() == 1 && spinlane_conn_peer_certificate(server, 0, NULL, 0) > 200);
    free_ends();
    spinlane_conn_config_free(strict);
    spinlane_conn_config_free(of_server);
    spinlane_conn_config_free(of_client);
}

static void versions_groups_suites_tickets(void)
{
    spinlane_conn_config *of_server = server_config(), *of_client = client_config(files[0]), *other;
    uint64_t now = (uint64_t)time(NULL);
    uint8_t secret[32] = {7};
    char text[64];

    MUST(spinlane_conn_config_set_versions(of_server, 0x0303, 0x0303) == 1);
    ends(of_client, of_server, "one.test");
    MUST(handshake() == 1 && spinlane_conn_version(client) == 0x0303);
    echo("by TLS 1.2");
    free_ends();
    MUST(spinlane_conn_config_set_versions(of_server, 0x0303, 0x0304) == 1);
    MUST(spinlane_conn_config_set_groups(of_server, "P-384") == 1);
    MUST(spinlane_conn_config_set_suites(of_client, "TLS_CHACHA20_POLY1305_SHA256") == 1);
    ends(of_client, of_server, "one.test");
    MUST(handshake() == 1 && spinlane_conn_group(server, text, sizeof(text)) == 5 && strcmp(text, "P-384") == 0);
    MUST(spinlane_conn_suite(client, text, sizeof(text)) && strcmp(text, "TLS_CHACHA20_POLY1305_SHA256") == 0);
    free_ends();
    /* The server's order of suites counts, which is AES-128 first unless set. */
    MUST(spinlane_conn_config_set_suites(of_client, "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256") == 1);
    ends(of_client, of_server, "one.test");
    MUST(handshake() == 1 && spinlane_conn_suite(client, text, sizeof(text)));
    MUST(strcmp(text, "TLS_AES_128_GCM_SHA256") == 0);
    free_ends();
    MUST(spinlane_conn_config_set_suites(of_server, "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256") == 1);
    ends(of_client, of_server, "one.test");
    MUST(handshake() == 1 && spinlane_conn_suite(client, text, sizeof(text)));
    MUST(strcmp(text, "TLS_AES_256_GCM_SHA384") == 0);
    free_ends();
    MUST(spinlane_conn_config_set_suites(of_server, "TLS_AES_128_GCM_SHA256") == 1);
    MUST(spinlane_conn_config_set_groups(of_server, "P-256:P-257") == 0);
    SAYS("\"P-257\"; there are: ");
    SAYS("X25519MLKEM768");
    MUST(spinlane_conn_config_set_suites(of_server, "AES") == 0);
    SAYS("TLS_AES_128_GCM_SHA256");
    MUST(spinlane_conn_config_set_versions(of_server, 0x0301, 0x0302) == 0);
    SAYS("0x0303");

    /* Two servers that agree on a secret open each other's tickets. */
    other = server_config();
    MUST(spinlane_conn_config_set_ticket_secret(of_server, secret, now - 10, 3600) == 1);
    ends(of_client, of_server, "one.test");
    MUST(handshake() == 1);
    echo("tickets come with this");
    free_ends();
    MUST(spinlane_conn_config_set_ticket_secret(other, secret, now - 10, 3600) == 1);
    ends(of_client, other, "one.test");
    MUST(handshake() == 1 && spinlane_conn_is_resumed(server));
    free_ends();
    secret[0] = 8;
    MUST(spinlane_conn_config_set_ticket_secret(other, secret, now - 10, 3600) == 1);
    ends(of_client, other, "one.test");
    MUST(handshake() == 1 && !spinlane_conn_is_resumed(server));
    free_ends();
    MUST(spinlane_conn_config_set_ticket_secret(other, secret, now + 100, 3600) == 0);
    SAYS("before now");
    MUST(spinlane_conn_config_set_tickets(other, 17, 3600) == 0 && spinlane_conn_config_set_tickets(other, 1, 0) == 0);
    MUST(spinlane_conn_config_set_tickets(other, 0, 0) == 1);
    ends(of_client, other, "one.test");
    MUST(handshake() == 1);
    free_ends();
    ends(of_client, other, "one.test");
    MUST(handshake() == 1 && !spinlane_conn_is_resumed(server));
    free_ends();
    spinlane_conn_config_free(other);
    spinlane_conn_config_free(of_server);
    spinlane_conn_config_free(of_client);
}

static int calls, eagain;

static int on_event(spinlane_conn *conn, void *arg)
{
    int status = -1;
    size_t count;

    MUST(spinlane_conn_get_async_status(conn, &status) == 1);
    calls++;
    if (status == ASYNC_STATUS_EAGAIN) {
        eagain++;
        MUST(spinlane_conn_read(conn, NULL, 0, &count) == SPINLANE_FAILED);
        SAYS("within a call on it");
        MUST(spinlane_conn_free(conn) == 0);
    } else {
        MUST(status == ASYNC_STATUS_OK);
        spinlane_make_ready(lcore, arg);
    }
    return 0;
}

/* Two servers and room for one op: the second is refused, and both are told. */
static void callbacks(spinlane_device *device)
{
    spinlane_conn_config *of_server = server_config(), *of_client = client_config(files[0]);
    spinlane_conn *clients[2], *servers[2];
    int i, turns, status, done = 0;
    void *ready;

    MUST(spinlane_lcore_free(lcore) == 1 && (lcore = spinlane_lcore_create()) != NULL);
    MUST(spinlane_lcore_add_device(lcore, device, 1) == 1);
    calls = eagain = refused = paused = 0;
    for (i = 0; i < 2; i++) {
        clients[i] = spinlane_conn_create(of_client, "one.test");
        servers[i] = spinlane_conn_create(of_server, NULL);
        MUST(spinlane_conn_retry(servers[i]) == 0);
        SAYS("attached to no lcore");
        MUST(spinlane_conn_set_async_callback(servers[i], on_event) == 1);
        MUST(spinlane_conn_set_async_callback_arg(servers[i], servers[i]) == 1);
        MUST(spinlane_conn_attach(servers[i], lcore, servers[i]) == 1);
    }
    for (turns = 0; turns < 100000 && done != 2; turns++) {
        for (i = 0, done = 0; i < 2; i++) {
            MUST(spinlane_conn_handshake(clients[i]) != SPINLANE_FAILED);
            copy(clients[i], servers[i]);
            if (step(servers[i]) == SPINLANE_REFUSED) {
                MUST(spinlane_conn_get_async_status(servers[i], &status) == 1 && status == ASYNC_STATUS_EAGAIN);
                MUST(spinlane_conn_retry(servers[i]) == 1 && spinlane_conn_retry(servers[i]) == 1);
            }
            copy(servers[i], clients[i]);
            done += spinlane_conn_is_established(servers[i]);
        }
        MUST(spinlane_poll(lcore) >= 0);
        while (spinlane_next_ready(lcore, &ready)) {
            if (drive(ready) == SPINLANE_REFUSED)
                MUST(spinlane_conn_retry(ready) == 1);
        }
    }
    MUST(done == 2 && refused > 0);
    MUST(eagain == refused && calls == paused + refused);
    for (i = 0; i < 2; i++)
        MUST(spinlane_conn_free(clients[i]) == 1 && spinlane_conn_free(servers[i]) == 1);
    spinlane_conn_config_free(of_server);
    spinlane_conn_config_free(of_client);
}

static void *on_another_thread(void *conn)
{
    MUST(spinlane_conn_handshake(conn) == SPINLANE_FAILED);
    SAYS("another thread's");
    MUST(spinlane_conn_free(conn) == 0 && spinlane_conn_error(conn)[0] == '\0');
    return NULL;
}

static void freed_while_paused(void)
{
    spinlane_conn_config *of_server = server_config(), *of_client = client_config(files[0]);
    pthread_t thread;
    void *ready;
    int i;

    for (i = 0; i < 100; i++) {
        ends(of_client, of_server, "one.test");
        do {
            MUST(turn() == 0);
        } while (!spinlane_conn_is_paused(server));
        MUST(spinlane_in_flight(lcore) > 0 && spinlane_conn_output_len(server) == 0);
        if (i == 0)
            MUST(pthread_create(&thread, NULL, on_another_thread, server) == 0 && pthread_join(thread, NULL) == 0);
        if (i % 2) /* its op has ended, and its name waits in the ready queue */
            MUST(spinlane_poll(lcore) >= 0);
        free_ends();
        while (spinlane_in_flight(lcore) > 0)
            MUST(spinlane_poll(lcore) >= 0);
        MUST(spinlane_next_ready(lcore, &ready) == 0 && spinlane_ready(lcore) == 0);
    }
    spinlane_conn_config_free(of_server);
    spinlane_conn_config_free(of_client);
}

static ptrdiff_t fails(void *arg, void *to, size_t len)
{
    (void)arg, (void)to, (void)len;
    return -1;
}

static ptrdiff_t lies(void *arg, const void *bytes, size_t len)
{
    (void)arg, (void)bytes;
    return (ptrdiff_t)len + 1;
}

static void wrong_calls(void)
{
    spinlane_conn_config *config = server_config(), *of_client = client_config(files[0]), *empty;
    size_t count, len;
    void *ready;
    char byte;

    MUST(spinlane_conn_create(NULL, NULL) == NULL);
    SAYS("config is NULL");
    MUST(spinlane_conn_create(of_client, NULL) == NULL && spinlane_conn_create(config, "one.test") == NULL);
    SAYS("client's");
    MUST(spinlane_conn_create(of_client, "a b") == NULL);
    SAYS("neither a DNS name nor an IP address");
    empty = spinlane_conn_config_create_server();
    MUST(spinlane_conn_config_check(empty) == 0);
    SAYS("there is no certificate");
    MUST(spinlane_conn_config_check(config) == 1);
    MUST(spinlane_conn_config_set_versions(config, 0x0303, 0x0303) == 1);
    MUST(spinlane_conn_config_set_suites(config, "TLS_AES_128_GCM_SHA256") == 1);
    MUST(spinlane_conn_config_check(config) == 0);
    SAYS("do not go together");
    MUST(spinlane_conn_config_set_versions(config, 0x0303, 0x0304) == 1 && spinlane_conn_config_check(config) == 1);
    MUST(spinlane_conn_config_add_certificate_files(empty, files[0], files[3]) == 0);
    SAYS("do not match");
    MUST(spinlane_conn_config_add_certificate_files(empty, "/no/such", files[1]) == 0);
    SAYS("/no/such");
    MUST(spinlane_conn_config_add_certificate(empty, "x", 1, "y", 1) == 0);
    MUST(spinlane_conn_config_set_ca(empty, NULL, 5) == 0);
    SAYS("pem is NULL");
    MUST(spinlane_conn_config_set_ca(empty, "x", 1) == 0 && spinlane_conn_config_set_ca_file(empty, NULL) == 0);
    MUST(spinlane_conn_config_add_alpn(empty, "") == 0 && spinlane_conn_config_add_alpn(NULL, "h2") == 0);
    MUST(spinlane_conn_config_set_groups(empty, NULL) == 0 && spinlane_conn_config_set_suites(empty, "\xff") == 0);
    MUST(spinlane_conn_config_set_ticket_secret(empty, NULL, 0, 1) == 0);
    MUST(spinlane_conn_config_dangerously_accept_any_certificate(empty) == 0);
    MUST(spinlane_conn_config_copy(NULL) == NULL && spinlane_conn_free(NULL) == 1);
    spinlane_conn_config_free(NULL);
    spinlane_conn_config_free(empty);

    MUST(spinlane_conn_handshake(NULL) == SPINLANE_FAILED && spinlane_conn_push_input(NULL, "x", 1) == 0);
    MUST(spinlane_conn_version(NULL) == 0 && spinlane_conn_alert(NULL) == -1 && *spinlane_conn_error(NULL) == '\0');
    MUST(spinlane_conn_attach(NULL, lcore, NULL) == 0 && spinlane_conn_suite(NULL, NULL, 0) == 0);
    ends(of_client, config, "one.test");
    MUST(spinlane_conn_attach(server, NULL, NULL) == 0);
    SAYS("lcore is NULL");
    MUST(spinlane_conn_push_input(server, NULL, 1) == 0 && spinlane_conn_push_input(server, NULL, 0) == 0);
    len = (size_t)-1;
    MUST(spinlane_conn_push_input(server, &byte, len) == 0);
    SAYS("is the length negative?");
    MUST(spinlane_conn_read(server, &byte, 1, NULL) == SPINLANE_FAILED);
    SAYS("count is NULL");
    count = 1, len = 1; /* 0 whatever is wrong */
    MUST(spinlane_conn_read(server, NULL, 1, &count) == SPINLANE_FAILED && count == 0);
    count = 1;
    MUST(spinlane_conn_write_into(NULL, "x", 1, &byte, 1, &count, &len) == SPINLANE_FAILED && count == 0 && len == 0);
    MUST(spinlane_conn_read_input(server, NULL, NULL) == -1 && spinlane_conn_read_input(server, fails, NULL) == -1);
    SAYS("negative");
    MUST(spinlane_conn_handshake(server) == SPINLANE_WANT_INPUT);
    while (!spinlane_conn_output_len(client)) {
        MUST(step(client) != SPINLANE_FAILED && spinlane_poll(lcore) >= 0);
        while (spinlane_next_ready(lcore, &ready))
            MUST(spinlane_conn_handshake(ready) != SPINLANE_FAILED);
    }
    count = spinlane_conn_output_len(client);
    MUST(spinlane_conn_write_output(client, lies, NULL) > (ptrdiff_t)count);
    MUST(spinlane_conn_output_len(client) == count); /* what says that it took more than there is took nothing */
    MUST(spinlane_conn_push_input(server, "GET / HTTP/1.0\r\n\r\n", 18) == 18);
    MUST(spinlane_conn_handshake(server) == SPINLANE_FAILED && *spinlane_conn_error(server) != '\0');
    MUST(spinlane_conn_handshake(server) == SPINLANE_FAILED);
    free_ends();
    spinlane_conn_config_free(config);
    spinlane_conn_config_free(of_client);
}

int main(int argc, char **argv)
{
    spinlane_device *device;

    MUST(argc == 5);
    files = argv + 1;
    MUST((device = spinlane_device_open("auto")) != NULL);
    MUST((lcore = spinlane_lcore_create()) != NULL && spinlane_lcore_add_device(lcore, device, 0) == 1);
    a_connection_and_what_it_tells();
    certificates_by_name_from_memory();
    versions_groups_suites_tickets();
    freed_while_paused();
    wrong_calls();
    callbacks(device);
    MUST(spinlane_lcore_free(lcore) == 1);
    spinlane_device_close(device);
    return 0;
}
