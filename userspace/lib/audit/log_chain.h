/* log_chain: the log held open and locked for one append. Used by log*.c only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "audit/record.h"

#define LOG_NAME "audit.jsonl" /* last components of PATH_LOG and PATH_TIP */
#define TIP_NAME "audit.tip"
#define TIP_SIZE 86U /* "%020u %64s\n" */

struct chain {
        int dirfd, fd, tip_fd;
        int run_dirfd;             /* PATH_RUN, for ids and pending records; < 0: none */
        uint64_t size;             /* bytes of the log, all of them whole lines */
        struct record_link newest; /* what the next line names as its prev */
        struct record_link tip;    /* what the tip file says */
        bool unflushed;
        bool fresh; /* it was empty: its name may not be on the disk yet */
};

/* Opens and locks; reads nothing yet. */
int chain_open(const char *root, struct chain *ret);
void chain_close(struct chain *chain);

/* Makes the log's end what the next line can follow; see log.h "recover". */
int chain_recover(struct chain *chain);

/* Writes one body as the next line: whole, or not at all. Not flushed yet. */
int chain_append(struct chain *chain, const char *body, size_t size);

/* Takes the last append back, as far as the file system lets us. */
void chain_undo(struct chain *chain, uint64_t size, const struct record_link *newest);

/* Flushes, then writes the tip. A tip that could not be written is no error: the lines are
 * there, and the next append and `audit verify` see that they chain. */
int chain_flush(struct chain *chain);

/* A record of the log's own, with its id and time. */
void chain_event(const struct chain *chain, enum record_event event, struct record *ret);

/* Names bytes that were cut off or that are no record. */
int chain_append_recovered(struct chain *chain, const char *torn, size_t size);

/* -ENODATA: empty. -EBADMSG: not ours. */
int tip_read(int fd, struct record_link *ret);
int tip_write(int fd, const struct record_link *tip);
