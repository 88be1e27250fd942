/* From one thread's stack to another's. */
#pragma once
#include <cstddef>
#include <cstdint>
#if !defined(__x86_64__) || defined(CUDA_HOST_UCONTEXT)
#include <ucontext.h>
#endif

namespace {

#if defined(__x86_64__) && !defined(CUDA_HOST_UCONTEXT)

// Puts the registers that a call preserves on the stack that is left, and enters the other one.
#define CUDA_HOST_LEAVE \
    "push %rbx\n" \
    "push %rbp\n" \
    "push %r12\n" \
    "push %r13\n" \
    "push %r14\n" \
    "push %r15\n" \
    "mov %rsp, (%rdi)\n" \
    "mov %rsi, %rsp\n"

// Keeps the registers that a call preserves on the stack that is left, and takes those of the other one from
// it.
extern "C" void cuda_host_switch(void **left, void *entered);
asm(R"(
    .text
    .hidden cuda_host_switch
    .globl cuda_host_switch
    .type cuda_host_switch, @function
cuda_host_switch:
)" CUDA_HOST_LEAVE R"(
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
    .size cuda_host_switch, .-cuda_host_switch
)");

// The same for a stack that nothing is on: `entry` is called there, and never returns. The processor expects a
// call, where it would not expect that a switch returns to a function's beginning.
extern "C" void cuda_host_begin(void **left, void *top, void (*entry)());
asm(R"(
    .text
    .hidden cuda_host_begin
    .globl cuda_host_begin
    .type cuda_host_begin, @function
cuda_host_begin:
)" CUDA_HOST_LEAVE R"(
    xor %ebp, %ebp
    call *%rdx
    ud2
    .size cuda_host_begin, .-cuda_host_begin
)");

struct Context {
    void *top = nullptr;

    static void begin(Context &left, Context &, char *stack, size_t bytes, void (*entry)()) {
        cuda_host_begin(&left.top, stack + bytes, entry);
    }
    static void change(Context &left, Context &entered) { cuda_host_switch(&left.top, entered.top); }

    // It comes to the cache.
    void fetch() const {
        __builtin_prefetch(top);
        __builtin_prefetch(static_cast<char *>(top) + 64);
    }
};

#else

struct Context {
    ucontext_t state;

    static void begin(Context &left, Context &entered, char *stack, size_t bytes, void (*entry)()) {
        getcontext(&entered.state);
        entered.state.uc_stack.ss_sp = stack;
        entered.state.uc_stack.ss_size = bytes;
        entered.state.uc_link = nullptr;
        makecontext(&entered.state, entry, 0);
        change(left, entered);
    }
    static void change(Context &left, Context &entered) { swapcontext(&left.state, &entered.state); }
    void fetch() const {}
};

#endif

} // namespace
