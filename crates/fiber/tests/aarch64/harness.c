/* Drives src/arch/aarch64.s from C, as aarch64.rs does from Rust. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unwind.h>

struct regs {
    uintptr_t x29, x30, sp, fpcr, x19_to_x28[10];
    uint64_t d8_to_d15[8];
};

struct pair {
    struct regs resumer, fiber;
};

_Static_assert(sizeof(struct regs) == 176, "Regs as in aarch64.s");

extern void spinlane_fiber_switch(struct regs *mine, const struct regs *theirs);
extern _Noreturn void spinlane_fiber_finish(const struct regs *theirs);
extern void spinlane_fiber_entry(void);
extern void spinlane_fiber_call(void *argument, void (*function)(void *), void *top);
extern unsigned long switch_checked(struct regs *mine, const struct regs *theirs,
                                    unsigned long seed);

enum { STACK = 64 * 1024, ROUNDS = 100000 };

static const uintptr_t ROUND_UP = 1u << 22, ROUND_DOWN = 2u << 22;

static unsigned long failures, suspended, frames, resumer_seen;

static void check(int holds, const char *what)
{
    if (!holds) {
        printf("FAILED: %s\n", what);
        failures++;
    }
}

static uintptr_t fpcr(void)
{
    uintptr_t value;
    __asm__ volatile("mrs %0, fpcr" : "=r"(value));
    return value;
}

static void set_fpcr(uintptr_t value)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(value));
}

static uintptr_t stack_pointer(void)
{
    uintptr_t value;
    __asm__ volatile("mov %0, sp" : "=r"(value));
    return value;
}

static void resume_many(struct pair *pair);

static _Unwind_Reason_Code frame(struct _Unwind_Context *context, void *arg)
{
    void *function = _Unwind_FindEnclosingFunction((void *)_Unwind_GetIP(context));
    (void)arg;
    frames++;
    if (function == (void *)resume_many)
        resumer_seen++;
    return _URC_NO_REASON;
}

struct errand {
    uintptr_t top, stack_pointer;
    unsigned long frames, resumer_seen;
};

static void run_errand(void *argument)
{
    struct errand *errand = argument;
    errand->stack_pointer = stack_pointer();
    frames = resumer_seen = 0;
    _Unwind_Backtrace(frame, NULL);
    errand->frames = frames;
    errand->resumer_seen = resumer_seen;
}

static void check_errand(struct pair *pair)
{
    struct errand errand = {.top = pair->resumer.sp & ~(uintptr_t)15};
    spinlane_fiber_call(&errand, run_errand, (void *)errand.top);
    check(errand.stack_pointer < errand.top && errand.top - errand.stack_pointer < 4096,
          "a call on the resumer's stack runs there");
    check(errand.resumer_seen == 1 && errand.frames > 5,
          "a backtrace in it goes back to the fiber and on to the resumer");
}

_Noreturn static void body(struct pair *pair)
{
    check((uintptr_t)pair % 16 == 0 && stack_pointer() % 16 == 0, "stack alignment in the body");
    check(fpcr() == 0, "the fiber starts with the FPCR it was prepared with");
    check_errand(pair);
    frames = resumer_seen = 0;
    _Unwind_Backtrace(frame, NULL);
    set_fpcr(ROUND_DOWN);
    for (; suspended < ROUNDS; suspended++) {
        check(switch_checked(&pair->fiber, &pair->resumer, 1000000 + suspended) == 0,
              "callee-saved registers of the fiber");
        check(fpcr() == ROUND_DOWN, "FPCR of the fiber");
    }
    spinlane_fiber_finish(&pair->resumer);
}

__attribute__((noinline)) static void resume_many(struct pair *pair)
{
    unsigned long resumed = 0;
    set_fpcr(ROUND_UP);
    for (; resumed <= ROUNDS; resumed++) {
        check(suspended == (resumed ? resumed - 1 : 0), "the sides take turns");
        check(switch_checked(&pair->resumer, &pair->fiber, resumed) == 0,
              "callee-saved registers of the resumer");
        check(fpcr() == ROUND_UP, "FPCR of the resumer");
    }
    check(suspended == ROUNDS, "every switch was made");
    set_fpcr(0);
}

int main(void)
{
    unsigned char *stack = aligned_alloc(16, STACK);
    struct pair *pair = (struct pair *)(stack + STACK - sizeof(struct pair));
    *pair = (struct pair){0};
    pair->fiber.x29 = (uintptr_t)pair;
    pair->fiber.x30 = (uintptr_t)spinlane_fiber_entry;
    pair->fiber.sp = (uintptr_t)pair;
    pair->fiber.fpcr = fpcr();
    pair->fiber.x19_to_x28[0] = (uintptr_t)body;
    resume_many(pair);
    check(resumer_seen == 1, "a backtrace in the body shows the resumer");
    check(frames >= 4, "a backtrace in the body goes on to main");
    printf("%lu switches, %lu failures\n", 2 * suspended, failures);
    return failures != 0;
}
