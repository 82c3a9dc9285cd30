/* reason: why a byte was erased. Numbers stand in dumps (.note.coresieve) and never change;
 * where ranges overlap the smaller number wins. */
#pragma once

enum reason {
        REASON_NEEDLE = 1,  /* a copy of a secret that the policy names */
        REASON_DETECTED,    /* key material that a detector recognised, and its copies */
        REASON_ARGUMENT,    /* argv[1..] */
        REASON_ENVIRONMENT, /* values of variables */
        REASON_REGISTER,    /* a general register, by rule R */
        REASON_VECTOR,      /* vector and floating-point state */
        REASON_NOTE,        /* a note of unknown type, psargs, siginfo's payload */
        REASON_STACK,       /* a stack word that unwinding does not need, by rule R */
        REASON_LEVEL,       /* content `stacks`: not needed for a backtrace */
        _REASON_MAX,
};

const char *reason_to_string(enum reason reason);
