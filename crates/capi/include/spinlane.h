/*
 * spinlane.h - poll-mode TLS crypto offload behind OpenSSL's asynchronous interface.
 *
 * Link libspinlane ahead of libcrypto (-lspinlane -lssl -lcrypto), or preload it: libssl's calls
 * of ASYNC_start_job(3) and its relatives are then answered by it, with the return values that
 * their man pages promise. The rest is libssl's own interface, SSL_set_async_callback(3):
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

/* ---- devices -------------------------------------------------------------------------------- */

/*
 * Opens a device by its spec: "auto" (the fastest that this machine has), "mb" (eight ops at a time in
 * AVX-512 lanes), "soft" (one at a time on the CPU), and what `spinlane devices` lists besides.
 */
spinlane_device *spinlane_device_open(const char *spec);

/* Gives a device back. Lcores that have queue pairs on it keep those. NULL is allowed. */
void spinlane_device_close(spinlane_device *device);

/* ---- lcores --------------------------------------------------------------------------------- */

/* Makes an lcore for the calling thread. A thread has one at most. */
spinlane_lcore *spinlane_lcore_create(void);

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
 * Opens a queue pair on the device for at most nb_desc ops in flight (0 = 256). An op kind is
 * served by the first device added that has it.
 */
int spinlane_lcore_add_device(spinlane_lcore *lcore, spinlane_device *device, unsigned nb_desc);

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

/* ---- libssl ---------------------------------------------------------------------------------- */

/*
 * The library context that the provider "spinlane" is loaded in, for SSL_CTX_new_ex(3), and for
 * loading keys that are to be bound. Made with the first call and never freed. The process's default
 * library context is left alone; a program that wants the provider there loads it by openssl.cnf.
 */
OSSL_LIB_CTX *spinlane_libctx(void);

#define SPINLANE_KEY_OFFLOADED     1 /* its operations go to devices */
#define SPINLANE_KEY_NOT_OFFLOADED 2 /* it is in use, but no device does its kind; see last_error */

/*
 * SSL_CTX_use_PrivateKey(3) with the key bound to the provider. ctx and key are of spinlane_libctx();
 * ctx has its certificate already. The caller keeps key. Returns one of SPINLANE_KEY_*, or 0.
 */
int spinlane_ssl_ctx_use_private_key(SSL_CTX *ctx, EVP_PKEY *key);

/* The same with the first private key of a PEM file without pass phrase. */
int spinlane_ssl_ctx_use_private_key_file(SSL_CTX *ctx, const char *path);

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
