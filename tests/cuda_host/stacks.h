/* From one thread's stack to another's. */
#pragma once
#include <cstddef>
#include <cstdint>
#if !defined(__x86_64__) || defined(CUDA_HOST_UCONTEXT)
#include <ucontext.h>
#endif

namespace {

#if defined(__x86_64__) && !defined(CUDA_HOST_UCONTEXT)

// Keeps the registers that a call preserves on the stack that is left, and takes those of the other one from
// it.
extern "C" void cuda_host_switch(void **left, void *entered);
asm(R"(
    .text
    .hidden cuda_host_switch
    .globl cuda_host_switch
    .type cuda_host_switch, @function
cuda_host_switch:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
    .size cuda_host_switch, .-cuda_host_switch
)");

struct Context {
    void *top = nullptr;

    void start(char *stack, size_t bytes, void (*entry)()) {
        // as if `entry` had been called, by nobody, and were about to be returned to
        auto word = reinterpret_cast<uintptr_t *>(stack + bytes);
        *--word = 0;
        *--word = reinterpret_cast<uintptr_t>(entry);
        for (int preserved = 0; preserved < 6; preserved++)
            *--word = 0;
        top = word;
    }
    static void change(Context &left, Context &entered) { cuda_host_switch(&left.top, entered.top); }
};

#else

struct Context {
    ucontext_t state;

    void start(char *stack, size_t bytes, void (*entry)()) {
        getcontext(&state);
        state.uc_stack.ss_sp = stack;
        state.uc_stack.ss_size = bytes;
        state.uc_link = nullptr;
        makecontext(&state, entry, 0);
    }
    static void change(Context &left, Context &entered) { swapcontext(&left.state, &entered.state); }
};

#endif

} // namespace
