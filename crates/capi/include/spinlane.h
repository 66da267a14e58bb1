/*
 * spinlane.h - poll-mode TLS crypto offload behind OpenSSL's asynchronous interface, and TLS connections of its own.
 *
 * Whoever has no libssl yet takes spinlane_conn_*, further down: it is several times as fast. This is for libssl.
 *
 * Link libspinlane ahead of libcrypto (-lspinlane -lssl -lcrypto), or preload it: libssl's calls
 * of ASYNC_start_job(3) and its relatives are then answered by it, with the return values that
 * their man pages promise. (So is OSSL_LIB_CTX_set0_default(3), which it passes on: a job and its
 * caller each have a default library context.) The rest is libssl's own interface, SSL_set_async_callback(3):
 *
 *     lcore = spinlane_lcore_create();                          one per thread
 *     spinlane_lcore_add_device(lcore, spinlane_device_open("auto"), 0);
 *     ctx = SSL_CTX_new_ex(spinlane_libctx(), SPINLANE_PROPERTY_QUERY, TLS_server_method());
 *     SSL_CTX_set_mode(ctx, SSL_MODE_ASYNC);
 *     SSL_CTX_use_certificate_chain_file(ctx, "cert.pem");
 *     spinlane_ssl_ctx_use_private_key_file(ctx, "key.pem");
 *     SSL_CTX_set_async_callback(ctx, callback);               spinlane_make_ready(lcore, conn) and no more
 *     for (;;) {
 *         spinlane_poll(lcore);
 *         while (spinlane_next_ready(lcore, &conn))
 *             ... call the SSL function of conn again ...
 *         ... sockets ...
 *     }
 *
 * SSL_CTX_set_ciphersuites(3) with TLS_AES_128_GCM_SHA256 first and SSL_OP_CIPHER_SERVER_PREFERENCE have a server take
 * AES-128 from clients that list AES-256 first: a tenth more handshakes.
 *
 * Conventions
 *  - Functions that return int return 1 on success and 0 on failure unless said otherwise; those
 *    that return a pointer return NULL on failure. spinlane_last_error() then says what is wrong
 *    and what to do about it. No argument may be NULL unless said so; a NULL is a failure, not a
 *    crash.
 *  - Ownership: what a ..._create or ..._open returns belongs to the caller, who gives it back by
 *    ..._free or ..._close. Other pointers returned belong to the library.
 *  - Threads: an lcore, and every SSL whose calls pause on it, is used on the thread that created
 *    the lcore. A call from another thread is a failure. Devices may be shared.
 *    Freeing is not: SSL_free(3) and ASYNC_WAIT_CTX_free(3) of a connection whose call is paused are safe on
 *    another thread, unless a callback is being made for it just then. The connection's thread ends the paused
 *    call when it starts its next, or ends itself; no callback is made any more. A connection in no call may
 *    go to another thread.
 *  - Callbacks: one that frees the lcore which makes it fails to; it may free and finish connections, its own
 *    included.
 *  - The end: everything works in destructors of a thread's data, in handlers of exit(3) and in destructors of
 *    static data. Operations complete in place there, on a thread whose lcore on demand has gone. pthread_exit(3)
 *    in a job ends the thread and the job.
 *  - Processes: fork first, then create lcores. An lcore of the parent's is of no use in a child;
 *    using it there is a failure. One that was made on demand is made again there, on demand. To create one
 *    gathers the process's own entropy, for 15 ms or so; on demand, the first handshake does.
 *  - In a process that never creates an lcore, jobs without a callback (see
 *    ASYNC_WAIT_CTX_set_callback(3)) complete in place. A job with one gets an lcore on its thread
 *    on demand, unless the provider's section in openssl.cnf says `lcore = explicit`.
 *  - SPINLANE_LOG=warn (info, debug) in the environment logs to stderr.
 */
#ifndef SPINLANE_H
#define SPINLANE_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/async.h>
#include <openssl/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* For SSL_CTX_new_ex: prefers what is offloaded, finds all else where it is. */
#define SPINLANE_PROPERTY_QUERY "?spinlane.kex=yes"

/* Opaque. */
typedef struct spinlane_lcore spinlane_lcore;
typedef struct spinlane_device spinlane_device;

/* What becomes of a private key. */
#define SPINLANE_KEY_OFFLOADED     1 /* its operations go to devices */
#define SPINLANE_KEY_NOT_OFFLOADED 2 /* it is in use, but no device does its kind; see last_error */

/* The library's version, e.g. "0.1.0". Static. */
const char *spinlane_version(void);

/*
 * What went wrong in this thread's last failing call; "" before the first. Valid until this
 * thread's next failing call, or until it exits.
 */
const char *spinlane_last_error(void);

/*
 * 1 if libssl's calls of ASYNC_* come to this library, 0 if something else is ahead of it in the
 * search order, as in a program that loads the library late (dlopen(3), openssl.cnf without preload): all
 * works then, but operations complete in place, which SPINLANE_LOG=warn says once.
 */
int spinlane_verify_binding(void);

/*
 * Has log called with a level (1 error, 2 warning, 3 info, 4 debug, 5 trace) and a line for all that is at
 * least as bad as level, on any thread, within jobs too: it must not call this library, and 16 KiB of stack
 * must do. Once per process and before all else; fails if there is a log already, by SPINLANE_LOG for example.
 */
typedef void (*spinlane_log)(void *arg, int level, const char *line);
int spinlane_set_log(int level, spinlane_log log, void *arg);

/* ---- devices -------------------------------------------------------------------------------- */

/*
 * Opens a device by its spec: "auto" (the fastest that this machine has), "mb" (eight ops at a time in
 * AVX-512 lanes), "soft" (one at a time on the CPU), and what `spinlane devices` lists besides.
 */
spinlane_device *spinlane_device_open(const char *spec);

/* The index-th spec that needs nothing but a name ("auto", ...); NULL behind the last, which is no failure. Static. */
const char *spinlane_device_spec(unsigned index);

/*
 * Copies the device's name and the kinds of op that it offers, "mb rsa2048 ecdsa-p256 ...", as much as fits, and a zero
 * byte behind it; returns the length without that. to may be NULL if size is 0.
 */
size_t spinlane_device_describe(const spinlane_device *device, char *to, size_t size);

/* Gives a device back. Lcores that have queue pairs on it keep those. NULL is allowed. */
void spinlane_device_close(spinlane_device *device);

/* ---- lcores --------------------------------------------------------------------------------- */

/* Makes an lcore for the calling thread. A thread has one at most. */
spinlane_lcore *spinlane_lcore_create(void);

/*
 * Settings of an lcore and of the queue pairs opened on it. 0 is the default of each, which for some is their device's
 * own; new ones are added at the end. A larger structure, of a newer header, is taken if what this library does not
 * know in it is 0, and is a failure otherwise.
 */
struct spinlane_lcore_settings {
    size_t size;                /* in: sizeof(struct spinlane_lcore_settings) */
    uint64_t slow_callback_ns;  /* callbacks of one poll that take longer in all are counted as slow; 10 us */
    uint64_t op_deadline_ns;    /* an op that is not back by then goes to software; 1 s */
    uint64_t probe_interval_ns; /* between two probes of an unhealthy device; 100 ms */
    uint32_t max_errors;        /* errors in a row that make a device unhealthy; 8 */
    int no_fallback;            /* 1: what a device fails ends with status ERR, and no software takes over */
};

/* spinlane_lcore_create with settings. */
spinlane_lcore *spinlane_lcore_create_with(const struct spinlane_lcore_settings *settings);

/*
 * The lcore that the calling thread got on demand; NULL, which is no failure, if it got none. It
 * belongs to the library and goes with its thread.
 */
spinlane_lcore *spinlane_lcore_current(void);

/*
 * Polls until nothing is in flight and frees the lcore. Close its connections first
 * (spinlane_ssl_free). Fails after a second if a device does not give its ops back; the lcore
 * then lives on. Refused from within a callback or a job, and for an lcore made on demand. NULL is allowed.
 */
int spinlane_lcore_free(spinlane_lcore *lcore);

/*
 * Opens a queue pair on the device for at most nb_desc ops in flight (0 = 256). Devices that
 * serve the same kind of op share its ops, by how many each has in flight.
 */
int spinlane_lcore_add_device(spinlane_lcore *lcore, spinlane_device *device, unsigned nb_desc);

/*
 * The same for records: connections without libssl (spinlane_conn_*) that are attached to the lcore, and finish their
 * handshakes afterwards, have that device seal what spinlane_conn_write takes, if it does so for their cipher suite. The
 * records of all connections since the last spinlane_poll go to it as one burst. Until a poll has them back,
 * spinlane_conn_take_output has nothing, though spinlane_conn_output_len counts them; then the connection comes out of
 * spinlane_next_ready, or its callback is made. Fails if the device seals no records. Its counters stand behind those of
 * the devices for other ops.
 */
int spinlane_lcore_add_record_device(spinlane_lcore *lcore, spinlane_device *device, unsigned nb_desc);

/*
 * One iteration, once per turn of the pipeline's loop: takes what devices have finished, sets the
 * status of each and makes its callback, and grants retries by free slots. Bounded; never blocks.
 * Returns how much it did, 0 if there was nothing to do, -1 on failure: from within a
 * callback or a job it is refused.
 *
 * Under load, stacks that handshakes left secrets on wait to be wiped until a call finds nothing to do,
 * for 10 ms at most. So a program that is about to rest polls once more.
 */
int spinlane_poll(spinlane_lcore *lcore);

/*
 * Says that the application did something since the last poll that may yet lead to ops, so that partial batches
 * wait for the next turn. Submissions say so by themselves.
 */
int spinlane_note_work(spinlane_lcore *lcore);

/*
 * Queues conn, any pointer of the application's, to come out of spinlane_next_ready. To be called
 * by an asynchronous callback, which should do no more than that.
 */
int spinlane_make_ready(spinlane_lcore *lcore, void *conn);

/*
 * Queues conn, whose last call on ssl was refused: SSL_ERROR_WANT_ASYNC, and SSL_get_async_status(3)
 * gave ASYNC_STATUS_EAGAIN. It comes out of spinlane_next_ready in its turn, when there is room. The
 * refusal is remembered with ssl: this may be called at any time after it, or from the callback, and the turn
 * is that of the refusal. Called twice, or for a call that was not refused, it does no harm.
 */
int spinlane_retry(spinlane_lcore *lcore, SSL *ssl, void *conn);

/* The same for a job of ASYNC_start_job(3), without libssl: that under ctx. */
int spinlane_retry_job(spinlane_lcore *lcore, ASYNC_WAIT_CTX *ctx, void *conn);

/*
 * 1 with the next connection that can go on in *conn, 0 if there is no more until the next poll. Both
 * are no failure.
 */
int spinlane_next_ready(spinlane_lcore *lcore, void **conn);

/* Takes conn out of the queues. To be called before a connection's memory is freed. */
int spinlane_forget(spinlane_lcore *lcore, void *conn);

/* Ops with the devices now; -1 on failure. */
int spinlane_in_flight(const spinlane_lcore *lcore);

/* Connections in the ready queue now; -1 on failure. */
int spinlane_ready(const spinlane_lcore *lcore);

/* Counters since the lcore was created. New ones are added at the end. */
struct spinlane_stats {
    size_t size;              /* in: sizeof(struct spinlane_stats) */
    uint64_t iterations;      /* calls of spinlane_poll, and polls by early resumes */
    uint64_t empty_polls;     /* those that found nothing to do */
    uint64_t busy_ns;         /* nanoseconds in the others */
    uint64_t reentrant_polls; /* polls refused: from a callback or a job */
    uint64_t restart_polls;   /* polls because a job was resumed before its op was done */
    uint64_t callbacks;       /* callbacks made by polls */
    uint64_t slow_callbacks;  /* polls whose callbacks took more than 10 microseconds */
    uint64_t inline_ops;      /* ops computed in place: no job, no callback, pauses blocked */
    uint64_t unrouted_ops;    /* ops computed in place: no device has their kind */
    uint64_t enqueued;        /* ops accepted = completed + fallback + cancelled + in_flight */
    uint64_t completed;       /* ops that a device ended while somebody waited for them */
    uint64_t failed;          /* of completed and fallback, those with status ERR */
    uint64_t refused;         /* submissions refused, the queue pair being full */
    uint64_t retried;         /* submissions made again after that */
    uint64_t orphaned;        /* results that nobody read: the connection had gone */
    uint64_t in_flight;       /* ops with the devices now */
    uint64_t retry_queue;     /* connections that wait for a free slot now */
    uint64_t batches;         /* batches that ran in parallel lanes */
    uint64_t batched;         /* ops in those */
    uint64_t scalar;          /* ops that a batching device ran one by one */
    uint64_t fallback;        /* ops that software ended in a device's place */
    uint64_t cancelled;       /* ops whose connection was closed while they were in flight */
    uint64_t timed_out;       /* ops that a device kept past their deadline */
};

/* Fills *stats as far as stats->size, which the caller sets, goes. */
int spinlane_lcore_stats(const spinlane_lcore *lcore, struct spinlane_stats *stats);

/* What became of ops, of a device or of a kind: enqueued = completed + fallback + cancelled + in flight. */
struct spinlane_counts {
    uint64_t enqueued;  /* accepted */
    uint64_t completed; /* ended by the device, whatever their status */
    uint64_t fallback;  /* ended by software in its place */
    uint64_t cancelled; /* their connection was closed in flight */
    uint64_t failed;    /* of completed and fallback, those with status ERR */
    uint64_t orphaned;  /* results that nobody read */
    uint64_t refused;   /* submissions refused, the queue pair being full */
    uint64_t retried;   /* submissions made again after that */
    uint64_t errors;    /* times the device gave one back with an error */
    uint64_t timed_out; /* kept past their deadline */
    uint64_t moved;     /* taken over by another device, which counts them from then on */
};

/* One of the lcore's devices, in the order they were added. New fields are added at the end. */
struct spinlane_device_stats {
    size_t size;   /* in: sizeof(struct spinlane_device_stats) */
    char name[32]; /* as in its spec, cut if it is longer */
    struct spinlane_counts counts;
    uint64_t in_flight, in_flight_peak, capacity; /* ops now, at most ever, at most */
    uint64_t quarantined;                         /* slots that wait for the device to let go of an op given up */
    uint64_t retry_queue;                         /* connections that wait for a free slot now */
    uint64_t batches, batched, scalar;            /* batches that ran in lanes, ops in those, ops one by one */
    uint64_t healthy;                             /* 1: new ops go to it; 0: to software */
    uint64_t failures, recoveries;                /* how often that changed */
    uint64_t kinds;                               /* kinds of op that it was asked for */
};

/* One kind of op on one device. New fields are added at the end. */
struct spinlane_op_stats {
    size_t size;   /* in: sizeof(struct spinlane_op_stats) */
    char name[32]; /* "rsa2048", "ecdsa-p256", ... */
    struct spinlane_counts counts;
    uint64_t p50_ns, p90_ns, p99_ns, p999_ns, max_ns; /* from submission to callback; cancelled ones left out */
};

/* So many ops took up to so long, and longer than what the entry before says. Two significant digits. */
struct spinlane_latency {
    uint64_t up_to_ns;
    uint64_t count;
};

/*
 * Fill *stats as far as stats->size, which the caller sets, goes. An index that there is not is a failure. Not
 * for the data path: they allocate.
 */
int spinlane_lcore_device_stats(const spinlane_lcore *lcore, unsigned device, struct spinlane_device_stats *stats);
int spinlane_lcore_op_stats(const spinlane_lcore *lcore, unsigned device, unsigned kind, struct spinlane_op_stats *stats);

/* Copies the histogram, shortest first, as far as room goes. Returns how many entries there are. to may be NULL if room is 0. */
size_t spinlane_lcore_op_latencies(const spinlane_lcore *lcore, unsigned device, unsigned kind,
                                   struct spinlane_latency *to, size_t room);

/*
 * Sets the size in bytes of the stacks that the calling thread's jobs run on, 48 KiB to 1 GiB; 64 KiB
 * unless set. Less is refused: a handshake takes up to 33 KiB, and signal handlers and the application's
 * callbacks run on the same stack. (Devices are opened on the thread's own.) A job that overflows its
 * stack ends the process with a line that says so. Fails while a job of the thread runs or is paused.
 */
int spinlane_set_stack_size(size_t bytes);

/*
 * How many jobs there may be: as many as ASYNC_init_thread(3) allows a thread, and no more stacks in the
 * process than take three quarters of the memory mappings that the kernel allows it (sysctl
 * vm.max_map_count, 65530): 49148 stacks, or 24574 before Linux 6.13, where a guard is a mapping of its
 * own. The rest is left to others: threads, for example, need mappings too. Beyond that ASYNC_start_job
 * returns ASYNC_NO_JOBS, and libssl's functions say SSL_ERROR_WANT_ASYNC_JOB: call them again when another
 * job has finished. A handshake that waits for an op keeps 16 to 40 KiB of its stack in memory.
 *
 * Stacks that a burst has left are given back to the kernel by spinlane_poll, a few at a time, ten to
 * twenty seconds after they were needed last; on a thread that polls no lcore, by ASYNC_cleanup_thread(3).
 *
 * Guards may be pages within a mapping that /proc/self/maps calls readable: a program that reads all of its
 * own memory does so by process_vm_readv(2), which fails there, where a load would end it.
 */

/* ---- connections without libssl --------------------------------------------------------------- */

/*
 * A whole TLS 1.2 or 1.3 connection over buffers, by rustls on Spinlane's jobs: several times as fast as
 * libssl. It knows no socket. A server's turn, for connections that have no business elsewhere:
 *
 *     config = spinlane_conn_config_create_server();
 *     spinlane_conn_config_add_certificate_files(config, "cert.pem", "key.pem");
 *     conn = spinlane_conn_create(config, NULL);
 *     spinlane_conn_attach(conn, lcore, &mine);                 comes out of spinlane_next_ready as &mine
 *     ...
 *     spinlane_conn_push_input(conn, bytes, len);               what the peer has sent
 *     switch (spinlane_conn_read(conn, text, sizeof(text), &count)) {
 *     case SPINLANE_DONE:       ... count bytes of text ...     the handshake is done before the first
 *     case SPINLANE_WANT_INPUT: ... next turn ...
 *     case SPINLANE_PAUSED:     ... when spinlane_next_ready says so ...
 *     case SPINLANE_FAILED:     ... send the output, which may hold an alert, and close ...
 *     }
 *     len = spinlane_conn_take_output(conn, bytes, sizeof(bytes));   to be sent to the peer, after every call
 *
 *  - A connection is used on the thread that created it, and not from within a call on it: the functions that
 *    are given to it (fill, take) and a callback that is made during a call may ask for its async status
 *    and no more. They return; they do not throw or jump.
 *  - It may be freed at any time outside of a call, while it is paused too: the op comes back to nobody.
 *  - A configuration is used by one thread at a time. Connections made from it do not need it any more.
 */
typedef struct spinlane_conn_config spinlane_conn_config;
typedef struct spinlane_conn spinlane_conn;

/* How far a call got. The functions that return one of these say so. */
#define SPINLANE_FAILED      0 /* the connection is over (spinlane_conn_error), or the call was wrong (spinlane_last_error) */
#define SPINLANE_DONE        1
#define SPINLANE_WANT_INPUT  2 /* push more of the peer's bytes, then call again */
#define SPINLANE_WANT_OUTPUT 3 /* take some of the output, then call again */
#define SPINLANE_PAUSED      4 /* an op is with a device; call again when told (async status OK) */
#define SPINLANE_REFUSED     5 /* the queue pair was full; call again when told (async status EAGAIN) */
#define SPINLANE_NO_JOBS     6 /* no job to be had now; call again in a later turn */
#define SPINLANE_CLOSED      7 /* the peer has closed properly; of a write: this end has */

/*
 * Settings with these defaults: TLS 1.2 and 1.3; a server lets in anybody and gives 2 tickets that are good
 * for an hour; a client verifies servers by the certificate authorities of the system (SSL_CERT_FILE,
 * SSL_CERT_DIR, or where distributions keep them). Changes do not reach connections that exist.
 */
spinlane_conn_config *spinlane_conn_config_create_server(void);
spinlane_conn_config *spinlane_conn_config_create_client(void);

/*
 * A copy, for another thread: nothing that changes with handshakes is shared by the two, and either opens the
 * tickets of the other.
 */
spinlane_conn_config *spinlane_conn_config_copy(const spinlane_conn_config *config);

/* Frees settings. Connections made from them go on. NULL is allowed. */
void spinlane_conn_config_free(spinlane_conn_config *config);

/* Whether connections can be made from the settings: 1, or 0 with what the first one would fail with. */
int spinlane_conn_config_check(spinlane_conn_config *config);

/*
 * Adds a certificate, with its issuers behind it, and its private key, without pass phrase: PEM texts, which
 * the caller keeps, or files. A server may have several, of which it shows the one with the name that
 * the client asks for and a key that the client can verify, otherwise the first. A client may have one. Returns
 * one of SPINLANE_KEY_*, or 0.
 */
int spinlane_conn_config_add_certificate(spinlane_conn_config *config, const void *chain, size_t chain_len,
                                         const void *key, size_t key_len);
int spinlane_conn_config_add_certificate_files(spinlane_conn_config *config, const char *chain, const char *key);

/*
 * The same with a key that stays on a PKCS#11 token, by its RFC 7512 URI; chain is a file. device is the token: see
 * spinlane_ssl_ctx_use_private_key_uri.
 */
int spinlane_conn_config_add_certificate_uri(spinlane_conn_config *config, const char *chain,
                                             const spinlane_device *device, const char *uri);

/*
 * Sets the issuers of the peers that are let in, PEM text or a file. A server demands a certificate of
 * its clients then. A client takes these in place of the system's.
 */
int spinlane_conn_config_set_ca(spinlane_conn_config *config, const void *pem, size_t len);
int spinlane_conn_config_set_ca_file(spinlane_conn_config *config, const char *path);

/*
 * Has a client believe any server, so that whoever is on the way reads and changes everything. For tests, and
 * for those who compare spinlane_conn_peer_certificate with what they know before they send anything. A later
 * spinlane_conn_config_set_ca ends it.
 */
int spinlane_conn_config_dangerously_accept_any_certificate(spinlane_conn_config *config);

/*
 * Adds a protocol that ALPN may choose ("h2"), the most preferred first. A server that has some refuses clients that
 * offer none of them.
 */
int spinlane_conn_config_add_alpn(spinlane_conn_config *config, const char *name);

/* Sets the versions of TLS, as TLS1_2_VERSION (0x0303) and TLS1_3_VERSION (0x0304) of <openssl/tls1.h> give them. */
int spinlane_conn_config_set_versions(spinlane_conn_config *config, unsigned least, unsigned most);

/*
 * Sets the groups of key exchange, for a client most preferred first: "X25519MLKEM768:X25519:P-256". A server takes
 * the first of its client's that it has. A wrong name is answered with those that there are.
 */
int spinlane_conn_config_set_groups(spinlane_conn_config *config, const char *list);

/*
 * Sets the cipher suites by IANA's names, most preferred first: "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256". The
 * server's order counts; unless set it has AES-128-GCM first, which gives a fifth more handshakes per second. A
 * wrong name is answered with those that there are.
 */
int spinlane_conn_config_set_suites(spinlane_conn_config *config, const char *list);

/*
 * Sets how many session tickets a full handshake gives (TLS 1.3; one in TLS 1.2), at most 16, and for how many seconds,
 * at most a week, a session can be resumed after its full handshake. Their keys are random, change as
 * often, and are overwritten when their time is over. 0 tickets: a server resumes nothing, nor does a client.
 */
int spinlane_conn_config_set_tickets(spinlane_conn_config *config, unsigned count, uint64_t lifetime_s);

/*
 * For servers that open each other's tickets: derives the ticket keys from 32 secret bytes, which began at since
 * (seconds since 1970) and are good for a new key every lifetime_s seconds. Servers that are given the same
 * three, have the same issuers set and show the same certificates agree, as far as their clocks do. Whoever has the
 * secret opens every ticket made from it: keep it as a private key, and replace it now and then. The later call of this
 * one and spinlane_conn_config_set_tickets, whose keys are random, says which keys there are.
 */
int spinlane_conn_config_set_ticket_secret(spinlane_conn_config *config, const uint8_t secret[32], uint64_t since,
                                           uint64_t lifetime_s);

/* Sets how many bytes of the peer's a connection holds at most, which bounds handshake messages; 64 KiB unless set. */
int spinlane_conn_config_set_max_input(spinlane_conn_config *config, size_t count);

/* Makes a connection: a server's if server_name is NULL, a client's to that DNS name or IP address. */
spinlane_conn *spinlane_conn_create(spinlane_conn_config *config, const char *server_name);

/*
 * Frees a connection, whose name leaves the queues of its lcore. Fails from within a call on it and
 * on another thread. NULL is allowed.
 */
int spinlane_conn_free(spinlane_conn *conn);

/*
 * Has the devices of lcore compute the connection's private-key ops from now on; name, any pointer of the
 * application's, comes out of spinlane_next_ready when a paused or refused call can go on. Do it before the
 * first handshake. A connection that is attached to none computes in place and never pauses.
 */
int spinlane_conn_attach(spinlane_conn *conn, spinlane_lcore *lcore, void *name);

/*
 * In place of the ready queue: as SSL_set_async_callback(3), SSL_set_async_callback_arg(3) and
 * SSL_get_async_status(3). The callback is made by spinlane_poll when the op has ended, and at once, within the call on
 * conn, when the queue pair was full: that call then returns SPINLANE_REFUSED, and spinlane_conn_retry
 * has the name of spinlane_conn_attach come out of spinlane_next_ready in its turn. What the callback returns is
 * ignored. NULL takes it away. The status is one of ASYNC_STATUS_*.
 */
typedef int (*spinlane_conn_callback)(spinlane_conn *conn, void *arg);
int spinlane_conn_set_async_callback(spinlane_conn *conn, spinlane_conn_callback callback);
int spinlane_conn_set_async_callback_arg(spinlane_conn *conn, void *arg);
int spinlane_conn_get_async_status(const spinlane_conn *conn, int *status);
int spinlane_conn_retry(spinlane_conn *conn);

/*
 * Drives the handshake. Returns one of SPINLANE_*. Reading and writing do the same first, as long as it
 * is not done. A client's first call says hello.
 */
int spinlane_conn_handshake(spinlane_conn *conn);

/*
 * Reads text, at most a record's, into the caller's memory; *count is how much, also 0 unless the call returns
 * SPINLANE_DONE. Returns one of SPINLANE_*. Read until SPINLANE_WANT_INPUT: bytes that came
 * in may hold several records.
 */
int spinlane_conn_read(spinlane_conn *conn, void *to, size_t len, size_t *count);

/* The same without a copy: lends the text to take, which returns how much of it it took. */
typedef ptrdiff_t (*spinlane_take)(void *arg, const void *bytes, size_t len);
int spinlane_conn_read_with(spinlane_conn *conn, spinlane_take take, void *arg, size_t *count);

/* Writes text, at most a record's; *count is how much of it was taken. Returns one of SPINLANE_*. */
int spinlane_conn_write(spinlane_conn *conn, const void *from, size_t len, size_t *count);

/*
 * The same, but the sealed record goes straight into the caller's memory, which should have room for len and 64 bytes,
 * and not into the output, which must have left (SPINLANE_WANT_OUTPUT otherwise). *filled is its length. from
 * and to do not overlap.
 */
int spinlane_conn_write_into(spinlane_conn *conn, const void *from, size_t len, void *to, size_t room, size_t *count,
                             size_t *filled);

/* Says to the peer that no more will be written (close_notify), by the output. Reading goes on. */
int spinlane_conn_shutdown(spinlane_conn *conn);

/* Changes the keys of both directions (TLS 1.3's KeyUpdate). Returns one of SPINLANE_*. Rarely needed. */
int spinlane_conn_refresh_keys(spinlane_conn *conn);

/* Takes as many of the peer's bytes as there is room for; returns how many. 0 too if the call is wrong. */
size_t spinlane_conn_push_input(spinlane_conn *conn, const void *from, size_t len);

/*
 * The same without a copy: has fill put up to len bytes at to. Returns what fill did, 0 without calling it if there is no
 * room, -1 if that is negative or the call is wrong. fill is recv(2) with other arguments.
 */
typedef ptrdiff_t (*spinlane_fill)(void *arg, void *to, size_t len);
ptrdiff_t spinlane_conn_read_input(spinlane_conn *conn, spinlane_fill fill, void *arg);

/* Whether there is room for bytes of the peer's: not while text waits to be read. */
int spinlane_conn_has_input_room(const spinlane_conn *conn);

/*
 * Moves output, which is to be sent to the peer, into the caller's memory; returns how many bytes. 0 although
 * spinlane_conn_output_len is not: a device seals it (spinlane_lcore_add_record_device).
 */
size_t spinlane_conn_take_output(spinlane_conn *conn, void *to, size_t len);

/*
 * The same without a copy: lends the output to take. Returns what that did, 0 without calling it if there is nothing, -1
 * if that is negative, upon which the output stays, or the call is wrong. take is send(2) with other arguments.
 */
ptrdiff_t spinlane_conn_write_output(spinlane_conn *conn, spinlane_take take, void *arg);

/* Bytes of output, those included that devices are sealing; of text decrypted and not yet read. 0 while paused. */
size_t spinlane_conn_output_len(const spinlane_conn *conn);
size_t spinlane_conn_pending(const spinlane_conn *conn);

/* 1 or 0. */
int spinlane_conn_is_established(const spinlane_conn *conn);
int spinlane_conn_is_paused(const spinlane_conn *conn);
int spinlane_conn_is_resumed(const spinlane_conn *conn);   /* the handshake resumed a session */
int spinlane_conn_is_offloaded(const spinlane_conn *conn); /* attached to an lcore that has a device */

/* The version of TLS: 0x0303, 0x0304; 0 before it is agreed on. */
unsigned spinlane_conn_version(const spinlane_conn *conn);

/*
 * What was agreed on: IANA's name of the cipher suite, the group of the key exchange, ALPN's protocol; and on
 * a server the name that the client asked for. Each copies as much as fits, and a zero byte behind it, and returns
 * the length without that; 0 if there is no such thing. to may be NULL if size is 0.
 */
size_t spinlane_conn_suite(const spinlane_conn *conn, char *to, size_t size);
size_t spinlane_conn_group(const spinlane_conn *conn, char *to, size_t size);
size_t spinlane_conn_alpn(const spinlane_conn *conn, char *to, size_t size);
size_t spinlane_conn_server_name(const spinlane_conn *conn, char *to, size_t size);

/*
 * The peer's certificates in DER, its own first (index 0): copies one if size is enough. Returns its length, 0 if there
 * is none. to may be NULL if size is 0.
 */
size_t spinlane_conn_peer_certificate(const spinlane_conn *conn, unsigned index, void *to, size_t size);

/* What ended the connection; "" if nothing did. Valid as long as the connection. */
const char *spinlane_conn_error(const spinlane_conn *conn);

/* The alert by which the peer ended the connection (RFC 8446, section 6), or -1. */
int spinlane_conn_alert(const spinlane_conn *conn);

/* ---- libssl ---------------------------------------------------------------------------------- */

/*
 * The library context that the provider "spinlane" is loaded in, for SSL_CTX_new_ex(3), and for
 * loading keys that are to be bound. Made with the first call and never freed. The process's default
 * library context is left alone; a program that wants the provider there loads it by openssl.cnf.
 */
OSSL_LIB_CTX *spinlane_libctx(void);

/*
 * SSL_CTX_use_PrivateKey(3) with the key bound to the provider. ctx and key are of spinlane_libctx();
 * ctx has its certificate already. The caller keeps key. Returns one of SPINLANE_KEY_*, or 0.
 */
int spinlane_ssl_ctx_use_private_key(SSL_CTX *ctx, EVP_PKEY *key);

/* The same with the first private key of a PEM file without pass phrase. */
int spinlane_ssl_ctx_use_private_key_file(SSL_CTX *ctx, const char *path);

/*
 * The same with a key that stays on a PKCS#11 token: uri is its RFC 7512 URI, and device is that token,
 * opened by the same URI or by "pkcs11:MODULE,token=LABEL,pin-file=PATH". Each lcore whose connections use ctx
 * must have been given device (spinlane_lcore_add_device). Nothing is computed in software for such a key: an
 * operation that the token does not do fails. Returns SPINLANE_KEY_OFFLOADED or 0. May wait for the token.
 */
int spinlane_ssl_ctx_use_private_key_uri(SSL_CTX *ctx, const spinlane_device *device, const char *uri);

/*
 * Has conn, any pointer of the application's, come out of spinlane_next_ready whenever a call on ssl that
 * returned SSL_ERROR_WANT_ASYNC can go on: when its op has ended, and in its turn after a refusal. Sets
 * SSL_MODE_ASYNC and the asynchronous callback with its argument, which are no longer the application's: no callback, status
 * test or spinlane_retry is left to write. lcore is the one that this thread created. Do it before the first
 * handshake call, in which libssl copies the callback. Only SSL_ERROR_WANT_ASYNC_JOB is left: no job to be had, call
 * again in a later turn (spinlane_make_ready(lcore, conn)).
 */
int spinlane_attach(SSL *ssl, spinlane_lcore *lcore, void *conn);

/*
 * SSL_free(3) that is safe and complete while a call is paused: the call is resumed once more with
 * an error, so that libssl frees what it holds; an op in flight comes back to nobody, and no
 * callback is made for ssl any more. (SSL_free itself is safe with this library too, but what the
 * paused call had allocated is lost then, as with OpenSSL alone.) NULL is allowed.
 */
void spinlane_ssl_free(SSL *ssl);

#ifdef __cplusplus
}
#endif

#endif
