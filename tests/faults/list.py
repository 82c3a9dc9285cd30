"""list: the protections that protections.py takes out, one by one.

(name, file, what stands there, what stands there without the protection, make targets, command)

The text must stand in the file exactly once. The command is the quickest that can tell: the case
of a unit test by name where one can, a real crash where only that can. It must succeed with the
protection and fail without.
"""

CRASH = "all build/tools/victim build/tools/meddle build/tools/malformed_core build/tools/feed_helper"


def unit(test, cases="*"):
    program = f"build/unit/{test}"
    return program, f"CORESIEVE_TEST='{cases}' {program}"


def crash(*cases, suite="faults"):
    return CRASH, f"/usr/bin/python3 -B tests/e2e/{suite}.py " + " ".join(f"'{c}'" for c in cases)


def sensor(*cases):
    return ("all build/tools/sensor_reader build/tools/sensor_probe",
            f"bats -f '{'|'.join(cases)}' tests/e2e/sensor.bats")


LIST = [
    # --- P1, P4: nothing is written that was not looked at ----------------------------------------
    ("the recheck looks at every block", "userspace/lib/sieve/emit.c",
     "        r = recheck_block(e->recheck, w->offset, w->bytes, w->n);\n"
     "        if (r < 0)\n                return r;\n", "",
     *unit("sieve/test_emit", "*plan_does_not_know*")),
    ("the recheck looks across the border of two blocks", "userspace/lib/sieve/recheck.c",
     "if (seam_holds_secret(recheck, buf, n < TAIL ? n : TAIL) || holds_secret(",
     "if (holds_secret(", *unit("sieve/test_recheck")),
    ("learn and emit disagreeing is no dump", "userspace/lib/sieve/emit.c",
     "d->size) ? 0 : -EBADMSG;", "d->size) ? 0 : 0;",
     *unit("sieve/test_emit", "*contradiction*")),
    ("a key in an untagged process starts a second attempt", "userspace/lib/sieve/emit.c",
     "return DETECTED;", "return 0;", *unit("sieve/test_sieve", "*second_attempt*")),

    # --- the sieve --------------------------------------------------------------------------------
    ("rule R erases the ymm half of NT_X86_XSTATE", "userspace/lib/sieve/registers.c",
     "if (r < 0 || note->size <= XSTATE_KEEP_END)", "if (r <= 0 || note->size <= XSTATE_KEEP_END)",
     *unit("sieve/test_rule_r_notes", "*vector*")),
    ("what nobody knows of a note goes whole", "userspace/lib/sieve/registers.c",
     "        default:\n                return plan_whole(rs, note, REASON_NOTE);",
     "        default:\n                return 0;",
     *unit("sieve/test_rule_r_notes", "*nobody_knows*")),
    ("arguments and environment are erased", "userspace/lib/sieve/rule_r.c",
     "        return plan_strings(rule, plan);",
     "        return content == CONTENT_REDACT ? 0 : plan_strings(rule, plan);",
     *unit("sieve/test_rule_r_strings", "values_go_and*")),
    ("Montgomery forms are needles", "userspace/lib/secret/needle_key.c",
     "{ r64, FORM_MONTGOMERY },       { 2 * r64, FORM_MONTGOMERY },\n", "\n",
     *unit("secret/test_needle_key", "*rsa_1024*")),
    ("fragments begin at every byte of a needle", "userspace/lib/secret/fragment.c",
     "at + FRAGMENT_SIZE <= end; at++)", "at + FRAGMENT_SIZE <= end; at += FRAGMENT_SIZE)",
     *unit("secret/test_fragment", "*slow_search*")),

    # --- P7: the worker can do nothing ------------------------------------------------------------
    ("the seccomp filter kills by default", "core_pattern/sandbox.c",
     "seccomp_init(SCMP_ACT_KILL_PROCESS)", "seccomp_init(SCMP_ACT_LOG)",
     *unit("core_pattern/test_sandbox", "*dies")),
    ("Landlock denies everything", "core_pattern/sandbox.c",
     "        if (syscall(SYS_landlock_restrict_self, fd, 0) < 0)\n"
     "                return -errno;\n", "",
     *unit("core_pattern/test_sandbox", "landlock*")),
    ("no_new_privs is required", "core_pattern/sandbox.c",
     "        if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)\n                return -EPERM;\n",
     "", *unit("core_pattern/test_sandbox", "a_privilege*")),
    ("the worker drops its groups and ids", "core_pattern/sandbox_drop.c",
     "if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||\n"
     "                    setresuid(uid, uid, uid) < 0)",
     "if (uid == 0 || gid == 0)", *unit("core_pattern/test_sandbox", "nothing_is_left*")),
    ("the bounding set is emptied", "core_pattern/sandbox_drop.c",
     "return errno == EINVAL && capability > 0 ? 0 : -errno;",
     "return 0;\n                else if (capability == 0)\n                        return 0;",
     *crash("worker confined: as /proc shows it", suite="anomalies")),
    ("the worker has exactly its descriptors", "core_pattern/spawn.c",
     "        if (close_range(0, FD_PARKING - 1, 0) < 0)\n                return -errno;\n", "",
     *unit("core_pattern/test_spawn", "*exactly*")),
    ("a worker's answer is never laxer than the brief", "core_pattern/result.c",
     "result->content >= CONTENT_REFUSE || result->content < brief->content",
     "result->content >= CONTENT_REFUSE", *unit("core_pattern/test_result", "*laxer*")),

    # --- P3: what a missing tag means -------------------------------------------------------------
    ("absence counts only with a live canary", "userspace/lib/host/tagmap.c",
     "        if (tagmap_check_canary(map, root) < 0)\n                return -ENOLINK;\n",
     "        (void)root;\n", *crash("canary_replaced")),
    ("every sensor's link is asked for", "userspace/lib/host/tagmap.c",
     "r = tagmap_check_links(map, &sensor);", "sensor = NULL;\n        (void)sensor;",
     *crash("each_link_detached")),
    ("maps of another boot are stale", "userspace/lib/host/tagmap.c",
     "        if (memcmp(boot_id, map->meta.boot_id, sizeof(boot_id)) != 0)\n"
     "                return -ESTALE;\n", "", *crash("maps_of_another_boot")),
    ("overflowed maps prove nothing", "userspace/lib/host/tagmap.c",
     "        if (map->counters.overflows > 0)\n                return -EOVERFLOW;\n", "",
     *sensor("a full map")),
    ("fork copies the tag", "bpf/facts.h",
     "                if (bpf_map_update_elem(&tags, &to, tag, BPF_ANY))\n"
     "                        counters_overflow();\n", "",
     *sensor("fork: the child has a copy")),
    ("a lineage that died gives its tag back", "bpf/facts.h",
     "__u64 mm = (__u64)dead;\n\n        bpf_map_delete_elem(&tags, &mm);",
     "__u64 mm = (__u64)dead;\n\n        (void)mm;", *sensor("a lineage that died")),
    ("a process older than the sensors is marked", "bpf/facts.h",
     "        tag = tag_get(mm);\n        if (tag)\n"
     "                tag_reason(tag, TAG_REASON_UNKNOWN_HISTORY);\n}",
     "        tag = tag_get(mm);\n        (void)tag;\n}",
     *sensor("a process older than the sensors")),
    ("a changed key file is needle-missing", "core_pattern/needle_files.c",
     "                files->n++;\n                files->causes |= CAUSE_BIT(CAUSE_NEEDLE_MISSING);",
     "                files->n++;", *crash("key_rotated")),
    ("a key file that changes while it is hunted is noticed", "core_pattern/needle_files.c",
     "                        return -ESTALE;", "                        return 0;",
     *unit("core_pattern/test_needle_files", "*written_to*")),
    ("what only the process has at a rule's path was not proved unread",
     "core_pattern/needle_search.c", "if (r == -ENODATA || (r == 0 && watched))",
     "if (r == -ENODATA || r == 0 || watched)",
     *unit("core_pattern/test_needle_files", "*only the process has*")),
    ("a secret that finds no room among the needles costs the memory",
     "userspace/lib/sieve/sieve.c", "                job.content = CONTENT_STACKS;\n", "",
     *unit("sieve/test_rule_r_strings", "a_full_set*")),

    # --- P2: fail closed --------------------------------------------------------------------------
    ("the identity of the stream is compared", "core_pattern/worker.c",
     "                return -ESTALE;", "                return 0;", *crash("stream_of_another")),
    ("a record that cannot be written takes the dump back", "core_pattern/commit.c",
     "        (void)store_withdraw(commit->store, record->id);", "        (void)commit;", *crash("log_is_a_fifo")),
    ("a dump that cannot be flushed is no dump", "userspace/lib/keep/store.c",
     "        if (fsync(fd) < 0)\n                return -errno;\n", "        (void)fsync(fd);\n",
     *crash("fsync fails", suite="anomalies")),
    ("the store must be root's, 0700", "userspace/lib/base/private.c",
     "        if (st.st_uid != 0 || (st.st_mode & OTHERS_MASK))\n                return -EPERM;\n", "",
     *unit("keep/test_store", "*others_can_reach*")),
    ("the limits of the store hold for all helpers together", "userspace/lib/keep/reserve.c",
     "reserved = saturating_add(reserved, bytes);", "reserved = saturating_add(reserved, 0);",
     *unit("keep/test_store", "*together*")),
    ("the log chains the previous line", "userspace/lib/audit/record.c",
     "(unsigned long long)prev->seq + 1, prev->hash);",
     "(unsigned long long)prev->seq + 1, RECORD_HASH_ZERO);",
     *unit("audit/test_log", "lines_are_chained*")),
    ("unknown keys of the policy are errors", "userspace/lib/host/policy_keys.c",
     "return reader_error(r, r->line, \"%s=: unknown key in",
     "return 0;\n        return reader_error(r, r->line, \"%s=: unknown key in", *unit("host/test_policy")),
    ("a policy edited since enable costs the memory", "userspace/lib/host/decide.c",
     "                verdict_raise(v, CONTENT_STACKS, CAUSE_POLICY_CHANGED);", "                {}",
     *unit("host/test_decide", "*edited*")),
    ("RLIMIT_CORE=0 is respected", "userspace/lib/host/decide.c",
     "                verdict_raise(v, CONTENT_REFUSE, CAUSE_RLIMIT);", "                {}",
     *crash("rlimit_zero")),
]
