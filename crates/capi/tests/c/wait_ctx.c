/* The promises of ASYNC_WAIT_CTX_new(3). */
#include "see.h"

static char key_a, key_b, key_c, data_a, data_b;
static ASYNC_WAIT_CTX *ctx;
static int cleanups;
static int cleanup_right = 1;

static void cleanup(ASYNC_WAIT_CTX *its, const void *key, OSSL_ASYNC_FD fd, void *data)
{
    cleanups++;
    cleanup_right &= its == ctx && key == &key_a && fd == 10 && data == &data_a;
}

static int callback(void *arg)
{
    ++*(int *)arg;
    return 1;
}

static void defaults(void)
{
    OSSL_ASYNC_FD fd;
    ASYNC_callback_fn its_callback;
    size_t all = 9, added = 9, deleted = 9;
    void *data;

    SEE("ASYNC_WAIT_CTX_new: a context", (ctx = ASYNC_WAIT_CTX_new()) != NULL);
    SEE("the status is ASYNC_STATUS_UNSUPPORTED by default",
        ASYNC_WAIT_CTX_get_status(ctx) == ASYNC_STATUS_UNSUPPORTED);
    SEE("no fd at first", ASYNC_WAIT_CTX_get_all_fds(ctx, NULL, &all) == 1 && all == 0);
    SEE("no changed fd at first", ASYNC_WAIT_CTX_get_changed_fds(ctx, NULL, &added, NULL, &deleted) == 1
        && added == 0 && deleted == 0);
    SEE("ASYNC_WAIT_CTX_get_fd of an unknown key: 0", ASYNC_WAIT_CTX_get_fd(ctx, &key_a, &fd, &data) == 0);
    SEE("ASYNC_WAIT_CTX_clear_fd of an unknown key: 0", ASYNC_WAIT_CTX_clear_fd(ctx, &key_a) == 0);
    SEE("ASYNC_WAIT_CTX_get_callback without one: 0", ASYNC_WAIT_CTX_get_callback(ctx, &its_callback, &data) == 0);
    ASYNC_WAIT_CTX_free(ctx);
}

static void values(void)
{
    SEE("the statuses are 0, 1, 2, 3", ASYNC_STATUS_UNSUPPORTED == 0 && ASYNC_STATUS_ERR == 1
        && ASYNC_STATUS_OK == 2 && ASYNC_STATUS_EAGAIN == 3);
}

static void fds(void)
{
    OSSL_ASYNC_FD list[3] = { -1, -1, -1 }, fd = -1;
    size_t count = 0;
    void *data = NULL;

    ctx = ASYNC_WAIT_CTX_new();
    SEE("ASYNC_WAIT_CTX_set_wait_fd: 1", ASYNC_WAIT_CTX_set_wait_fd(ctx, &key_a, 10, &data_a, NULL) == 1);
    SEE("ASYNC_WAIT_CTX_get_fd: 1 with fd and custom data of the key",
        ASYNC_WAIT_CTX_get_fd(ctx, &key_a, &fd, &data) == 1 && fd == 10 && data == &data_a);
    ASYNC_WAIT_CTX_set_wait_fd(ctx, &key_b, 11, &data_b, NULL);
    ASYNC_WAIT_CTX_set_wait_fd(ctx, &key_c, 12, NULL, NULL);
    SEE("fd NULL: the number only", ASYNC_WAIT_CTX_get_all_fds(ctx, NULL, &count) == 1 && count == 3);
    SEE("ASYNC_WAIT_CTX_get_all_fds: every fd, the newest first",
        ASYNC_WAIT_CTX_get_all_fds(ctx, list, &count) == 1 && count == 3
        && list[0] == 12 && list[1] == 11 && list[2] == 10);
    SEE("a key holds what was set first or last: the last", ASYNC_WAIT_CTX_set_wait_fd(ctx, &key_a, 13, NULL, NULL) == 1
        && ASYNC_WAIT_CTX_get_fd(ctx, &key_a, &fd, &data) == 1 && fd == 13 && data == NULL);
    ASYNC_WAIT_CTX_free(ctx);
}

static void changed(void)
{
    OSSL_ASYNC_FD add[4] = { -1 }, del[4] = { -1 };
    size_t added, deleted, count;

    ctx = ASYNC_WAIT_CTX_new();
    ASYNC_WAIT_CTX_set_wait_fd(ctx, &key_a, 10, NULL, NULL);
    ASYNC_WAIT_CTX_set_wait_fd(ctx, &key_b, 11, NULL, NULL);
    SEE("ASYNC_WAIT_CTX_get_changed_fds: those added since the context was created",
        ASYNC_WAIT_CTX_get_changed_fds(ctx, add, &added, del, &deleted) == 1 && added == 2 && deleted == 0
        && add[0] == 11 && add[1] == 10);
    SEE("asking changes nothing", ASYNC_WAIT_CTX_get_changed_fds(ctx, NULL, &added, NULL, &deleted) == 1 && added == 2);
    SEE("ASYNC_WAIT_CTX_clear_fd: 1", ASYNC_WAIT_CTX_clear_fd(ctx, &key_b) == 1);
    SEE("what was added and cleared before anybody heard of it is in no list",
        ASYNC_WAIT_CTX_get_changed_fds(ctx, NULL, &added, NULL, &deleted) == 1 && added == 1 && deleted == 0);
    SEE("a cleared fd is not among all", ASYNC_WAIT_CTX_get_all_fds(ctx, NULL, &count) == 1 && count == 1);
    ASYNC_WAIT_CTX_free(ctx);
}

static int changes(void *arg)
{
    (void)arg;
    ASYNC_WAIT_CTX_set_wait_fd(ctx, &key_a, 10, NULL, NULL);
    ASYNC_pause_job();
    ASYNC_pause_job();
    ASYNC_WAIT_CTX_clear_fd(ctx, &key_a);
    ASYNC_pause_job();
    ASYNC_pause_job();
    return 1;
}

static void changed_by_job(void)
{
    OSSL_ASYNC_FD add[2] = { -1 }, del[2] = { -1 };
    size_t added, deleted, count;
    ASYNC_JOB *job = NULL;
    int ret;

    ctx = ASYNC_WAIT_CTX_new();
    ASYNC_start_job(&job, ctx, &ret, changes, NULL, 0);
    ASYNC_WAIT_CTX_get_changed_fds(ctx, add, &added, del, &deleted);
    SEE("a job added an fd and paused: it is reported as added", added == 1 && deleted == 0 && add[0] == 10);
    ASYNC_start_job(&job, ctx, &ret, changes, NULL, 0);
    ASYNC_WAIT_CTX_get_changed_fds(ctx, NULL, &added, NULL, &deleted);
    SEE("nothing changed until the next ASYNC_PAUSE: nothing is reported", added == 0 && deleted == 0);
    ASYNC_start_job(&job, ctx, &ret, changes, NULL, 0);
    ASYNC_WAIT_CTX_get_changed_fds(ctx, NULL, &added, NULL, &deleted);
    SEE("the job cleared it and paused: it is reported as deleted", added == 0 && deleted == 1);
    ASYNC_WAIT_CTX_get_changed_fds(ctx, NULL, &added, del, &deleted);
    SEE("and which it was", del[0] == 10);
    SEE("and it is not among all", ASYNC_WAIT_CTX_get_all_fds(ctx, NULL, &count) == 1 && count == 0);
    ASYNC_start_job(&job, ctx, &ret, changes, NULL, 0);
    ASYNC_WAIT_CTX_get_changed_fds(ctx, NULL, &added, NULL, &deleted);
    SEE("that is forgotten at the next ASYNC_PAUSE", added == 0 && deleted == 0);
    ASYNC_start_job(&job, ctx, &ret, changes, NULL, 0);
    ASYNC_WAIT_CTX_free(ctx);
}

static void cleanup_routine(void)
{
    ctx = ASYNC_WAIT_CTX_new();
    ASYNC_WAIT_CTX_set_wait_fd(ctx, &key_a, 10, &data_a, cleanup);
    SEE("the cleanup routine does not run before", cleanups == 0);
    ASYNC_WAIT_CTX_free(ctx);
    SEE("it runs when the context is freed, once", cleanups == 1);
    SEE("with context, key, fd and custom data", cleanup_right);

    ctx = ASYNC_WAIT_CTX_new();
    ASYNC_WAIT_CTX_set_wait_fd(ctx, &key_a, 10, &data_a, cleanup);
    ASYNC_WAIT_CTX_clear_fd(ctx, &key_a);
    ASYNC_WAIT_CTX_free(ctx);
    SEE("it does not run for what ASYNC_WAIT_CTX_clear_fd cleared", cleanups == 1);

    ctx = ASYNC_WAIT_CTX_new();
    ASYNC_WAIT_CTX_set_wait_fd(ctx, &key_a, 10, &data_a, NULL);
    ASYNC_WAIT_CTX_free(ctx);
    SEE("it can be NULL", 1);
}

static void callbacks(void)
{
    ASYNC_callback_fn its = NULL;
    int count = 0;
    void *arg = NULL;

    ctx = ASYNC_WAIT_CTX_new();
    SEE("ASYNC_WAIT_CTX_set_callback: 1", ASYNC_WAIT_CTX_set_callback(ctx, callback, &count) == 1);
    SEE("ASYNC_WAIT_CTX_get_callback: 1 with callback and argument",
        ASYNC_WAIT_CTX_get_callback(ctx, &its, &arg) == 1 && its == callback && arg == &count);
    SEE("setting makes no call", count == 0);
    SEE("NULL takes it away", ASYNC_WAIT_CTX_set_callback(ctx, NULL, NULL) == 1
        && ASYNC_WAIT_CTX_get_callback(ctx, &its, &arg) == 0);
    ASYNC_WAIT_CTX_free(ctx);
}

static void statuses(void)
{
    int status, right = 1;

    ctx = ASYNC_WAIT_CTX_new();
    for (status = ASYNC_STATUS_EAGAIN; status >= 0; status--)
        right &= ASYNC_WAIT_CTX_set_status(ctx, status) == 1 && ASYNC_WAIT_CTX_get_status(ctx) == status;
    SEE("ASYNC_WAIT_CTX_set_status: 1, and ASYNC_WAIT_CTX_get_status has it", right);
    ASYNC_WAIT_CTX_free(ctx);
}

static void free_null(void)
{
    ASYNC_WAIT_CTX_free(NULL);
    SEE("ASYNC_WAIT_CTX_free(NULL): nothing", !see_error());
}

/* What the man page forbids or leaves open. */

#define NULL_CASE(name, call)                                       \
    static void null_##name(void)                                   \
    {                                                               \
        SEE("NULL for ctx: 0", (call) == 0);                        \
        SEE("NULL for ctx: an error entry", see_error());           \
    }

static OSSL_ASYNC_FD some_fd;
static size_t some_size;
static void *some_pointer;
static ASYNC_callback_fn some_callback;

NULL_CASE(set_wait_fd, ASYNC_WAIT_CTX_set_wait_fd(NULL, &key_a, 1, NULL, NULL))
NULL_CASE(get_fd, ASYNC_WAIT_CTX_get_fd(NULL, &key_a, &some_fd, &some_pointer))
NULL_CASE(get_all_fds, ASYNC_WAIT_CTX_get_all_fds(NULL, NULL, &some_size))
NULL_CASE(get_changed_fds, ASYNC_WAIT_CTX_get_changed_fds(NULL, NULL, &some_size, NULL, &some_size))
NULL_CASE(clear_fd, ASYNC_WAIT_CTX_clear_fd(NULL, &key_a))
NULL_CASE(set_callback, ASYNC_WAIT_CTX_set_callback(NULL, callback, NULL))
NULL_CASE(get_callback, ASYNC_WAIT_CTX_get_callback(NULL, &some_callback, &some_pointer))
NULL_CASE(set_status, ASYNC_WAIT_CTX_set_status(NULL, 1))
NULL_CASE(get_status, ASYNC_WAIT_CTX_get_status(NULL))

static void null_places(void)
{
    ctx = ASYNC_WAIT_CTX_new();
    ASYNC_WAIT_CTX_set_wait_fd(ctx, &key_a, 10, NULL, NULL);
    ASYNC_WAIT_CTX_set_callback(ctx, callback, NULL);
    SEE("ASYNC_WAIT_CTX_get_fd with no place for the data: the fd", ASYNC_WAIT_CTX_get_fd(ctx, &key_a, &some_fd, NULL) == 1
        && some_fd == 10);
    SEE("ASYNC_WAIT_CTX_get_callback with no places: whether there is one",
        ASYNC_WAIT_CTX_get_callback(ctx, NULL, NULL) == 1);
    SEE("ASYNC_WAIT_CTX_get_all_fds with no place for the number: 0", ASYNC_WAIT_CTX_get_all_fds(ctx, NULL, NULL) == 0);
}

static void double_free(void)
{
    ctx = ASYNC_WAIT_CTX_new();
    ASYNC_WAIT_CTX_free(ctx);
    ASYNC_WAIT_CTX_free(ctx);
    SEE("a second free: an error entry, nothing else", see_error());
}

static int pauses(void *arg)
{
    (void)arg;
    ASYNC_pause_job();
    return 1;
}

static void free_under_job(void)
{
    ASYNC_JOB *job = NULL;
    int i, ret, paused = 0;

    ASYNC_init_thread(1, 0);
    for (i = 0; i < 100; i++) {
        ctx = ASYNC_WAIT_CTX_new();
        job = NULL;
        paused += ASYNC_start_job(&job, ctx, &ret, pauses, NULL, 0) == ASYNC_PAUSE;
        ASYNC_WAIT_CTX_free(ctx);
    }
    SEE("freed under a paused job: job and stack go back to the pool", paused == 100);
    SEE("a restart of that job: ASYNC_ERR", ASYNC_start_job(&job, NULL, &ret, pauses, NULL, 0) == ASYNC_ERR);
}

int main(void)
{
    static const struct see_case cases[] = {
        { "defaults", defaults }, { "values", values }, { "fds", fds }, { "changed", changed },
        { "changed by job", changed_by_job }, { "cleanup", cleanup_routine }, { "callback", callbacks },
        { "status", statuses }, { "free null", free_null }, { "null set_wait_fd", null_set_wait_fd },
        { "null get_fd", null_get_fd }, { "null get_all_fds", null_get_all_fds },
        { "null get_changed_fds", null_get_changed_fds }, { "null clear_fd", null_clear_fd },
        { "null set_callback", null_set_callback }, { "null get_callback", null_get_callback },
        { "null set_status", null_set_status }, { "null get_status", null_get_status },
        { "null places", null_places }, { "double free", double_free }, { "free under job", free_under_job },
    };

    return see_main(cases, sizeof(cases) / sizeof(cases[0]));
}
