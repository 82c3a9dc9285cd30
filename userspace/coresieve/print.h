/* print: what the command says, so that no name of a process can play tricks on a terminal. */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

/* `coresieve: THING: REASON: REMEDY` to stderr. Returns CLI_CANNOT. */
int print_error(const char *thing, const char *reason, const char *remedy);

/* The same with the words of a (positive or negative) errno. */
int print_errno(const char *thing, int error, const char *remedy);

/* UTF-8 text; control characters and those that steer or hide text are escaped as \uXXXX.
 * Returns the columns it took, counting each character as one. */
int print_safe(FILE *file, const char *text);

/* A JSON value for people: objects and arrays indented by `indent` columns, one key a line. */
void print_value(FILE *file, const json_t *value, int indent);

/* A JSON value as JSON, in ASCII, with its newline. */
void print_json(const json_t *value);

/* Everything on its way? Returns `status`, or CLI_CANNOT after saying so: a full disk behind
 * stdout must not look like an answer. */
int print_done(int status);
