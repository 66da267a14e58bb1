/*
 * spinlane_lcore_add_record_device: records that a device seals, both ends in one thread's memory. Ends with 0 if all is
 * as spinlane.h says.
 *
 *     records cert.pem key.pem
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <spinlane.h>

#define MUST(condition)                                                                      \
    do {                                                                                     \
        if (!(condition)) {                                                                  \
            fprintf(stderr, "line %d: %s; %s\n", __LINE__, #condition, spinlane_last_error()); \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

#define TEXT 1000000
#define CONNS 4

static char text[TEXT];
static spinlane_conn *clients[CONNS], *servers[CONNS];

static void carry(spinlane_conn *from, spinlane_conn *to)
{
    char bytes[4096];
    size_t len;

    while ((len = spinlane_conn_take_output(from, bytes, sizeof(bytes))) != 0)
        MUST(spinlane_conn_push_input(to, bytes, len) == len);
}

static void handshakes(spinlane_lcore *lcore, spinlane_conn_config *of_client, spinlane_conn_config *of_server)
{
    int i, turns, done = 0;

    for (i = 0; i < CONNS; i++) {
        clients[i] = spinlane_conn_create(of_client, "one.test");
        servers[i] = spinlane_conn_create(of_server, NULL);
        MUST(clients[i] != NULL && servers[i] != NULL);
        MUST(spinlane_conn_attach(servers[i], lcore, servers[i]) == 1);
    }
    for (turns = 0; turns < 1000000 && done < 2 * CONNS; turns++) {
        for (i = 0, done = 0; i < CONNS; i++) {
            MUST(spinlane_conn_handshake(clients[i]) != SPINLANE_FAILED);
            carry(clients[i], servers[i]);
            MUST(spinlane_conn_handshake(servers[i]) != SPINLANE_FAILED);
            carry(servers[i], clients[i]);
            done += spinlane_conn_is_established(clients[i]) + spinlane_conn_is_established(servers[i]);
        }
        MUST(spinlane_poll(lcore) >= 0);
    }
    MUST(done == 2 * CONNS);
}

/* The text from each server to its client. */
static void texts(spinlane_lcore *lcore)
{
    static char got[20000];
    size_t written[CONNS] = {0}, read[CONNS] = {0}, count;
    int i, left = CONNS, named = 0;
    void *ready;

    while (left != 0) {
        for (i = 0; i < CONNS; i++)
            while (written[i] < TEXT &&
                   spinlane_conn_write(servers[i], text + written[i], TEXT - written[i], &count) == SPINLANE_DONE)
                written[i] += count;
        MUST(spinlane_poll(lcore) >= 0);
        while (spinlane_next_ready(lcore, &ready))
            named++;
        for (i = 0, left = 0; i < CONNS; i++) {
            carry(servers[i], clients[i]);
            while (spinlane_conn_read(clients[i], got, sizeof(got), &count) == SPINLANE_DONE) {
                MUST(memcmp(got, text + read[i], count) == 0);
                read[i] += count;
                carry(servers[i], clients[i]);
            }
            left += read[i] < TEXT;
        }
    }
    MUST(named >= CONNS);
}

static uint64_t sealed(spinlane_lcore *lcore)
{
    struct spinlane_device_stats device;

    device.size = sizeof(device);
    MUST(spinlane_lcore_device_stats(lcore, 1, &device) == 1);
    MUST(strcmp(device.name, "soft") == 0);
    MUST(device.counts.enqueued == device.counts.completed + device.counts.cancelled + device.in_flight);
    return device.counts.completed;
}

int main(int argc, char **argv)
{
    spinlane_lcore *lcore = spinlane_lcore_create();
    spinlane_device *device = spinlane_device_open("soft"), *without = spinlane_device_open("mb");
    spinlane_conn_config *of_server = spinlane_conn_config_create_server();
    spinlane_conn_config *of_client = spinlane_conn_config_create_client();
    struct spinlane_op_stats op;
    size_t count;
    int i;

    MUST(argc == 3 && lcore != NULL && device != NULL);
    for (i = 0; i < TEXT; i++)
        text[i] = (char)(i * 7 + i / 251);
    MUST(spinlane_lcore_add_device(lcore, device, 0) == 1);
    MUST(spinlane_lcore_add_record_device(lcore, NULL, 0) == 0);
    MUST(spinlane_lcore_add_record_device(NULL, device, 0) == 0);
    if (without != NULL) {
        MUST(spinlane_lcore_add_record_device(lcore, without, 0) == 0);
        MUST(strstr(spinlane_last_error(), "serves no records") != NULL);
        spinlane_device_close(without);
    }
    MUST(spinlane_lcore_add_record_device(lcore, device, 0) == 1);
    spinlane_device_close(device);
    MUST(spinlane_conn_config_add_certificate_files(of_server, argv[1], argv[2]) == SPINLANE_KEY_OFFLOADED);
    MUST(spinlane_conn_config_set_ca_file(of_client, argv[1]) == 1);
    handshakes(lcore, of_client, of_server);
    texts(lcore);
    MUST(sealed(lcore) >= CONNS * TEXT / 16384);
    op.size = sizeof(op);
    MUST(spinlane_lcore_op_stats(lcore, 1, 0, &op) == 1 && strstr(op.name, "aes-") == op.name);

    /* Output that is with the device, and a connection that goes meanwhile. */
    for (i = 0; i < CONNS; i++) {
        MUST(spinlane_conn_write(servers[i], "late", 4, &count) == SPINLANE_DONE && count == 4);
        MUST(spinlane_conn_output_len(servers[i]) > 4);
        MUST(spinlane_conn_take_output(servers[i], text, sizeof(text)) == 0);
        MUST(spinlane_conn_free(servers[i]) == 1 && spinlane_conn_free(clients[i]) == 1);
    }
    MUST(spinlane_poll(lcore) >= 0);
    sealed(lcore);
    spinlane_conn_config_free(of_server);
    spinlane_conn_config_free(of_client);
    MUST(spinlane_lcore_free(lcore) == 1);
    return 0;
}
