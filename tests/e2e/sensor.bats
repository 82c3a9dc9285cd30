#!/usr/bin/env bats
# The file sensor on this kernel (P3): no byte of a named file reaches a process before its tag.
#
# sensor_probe stands in for the helper: it looks at the dying process with the same tagmap, and
# tells whether bytes had arrived (`got`) and whether the lineage had the tag (`file`).

TOP=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
READER=$TOP/build/tools/sensor_reader
PROBE=$TOP/build/tools/sensor_probe
PINS=/sys/fs/bpf/coresieve/v1
ROUNDS=${CORESIEVE_ROUNDS:-20}
PATTERN=/proc/sys/kernel/core_pattern
LIMIT=/proc/sys/kernel/core_pipe_limit

cs() {
  "$DIR/b/coresieve" --root "$DIR/r" "$@"
}

policy() {
  printf '%s\n' "$@" >"$DIR/r/etc/coresieve/policy.conf"
}

# enable, then the probe in the helper's place: its pattern must stay under 127 characters.
enabled() {
  cs enable
  cat "$PATTERN" >"$DIR/ours"
  echo "|$DIR/probe crash $DIR/r $DIR/out %P %I" >"$PATTERN"
}

setup_file() {
  exec 9>/run/lock/core_pattern.lock
  flock 9
  DIR=$(mktemp -d /var/tmp/cs.XXXXXX) # not /tmp: it may be a tmpfs
  export DIR
  cat "$PATTERN" >"$DIR/old-pattern"
  cat "$LIMIT" >"$DIR/old-limit"
  cp "$PROBE" "$DIR/probe"
  cp -r "$TOP/build/bin" "$DIR/b" # a pattern has 127 characters, and a clone may lie anywhere
  mkdir -p "$DIR"/r/etc/coresieve "$DIR"/r/var/{lib,log} "$DIR"/keys/sub/deep "$DIR"/tls/private "$DIR"/other \
    "$DIR"/tmpfs "$DIR"/ov/{lower/k,upper,work,merged}
  chmod 0755 "$DIR" "$DIR/r" "$DIR/r/etc" "$DIR/r/etc/coresieve"
  echo 'coresieve:x:990:990::/:/usr/sbin/nologin' >"$DIR/r/etc/passwd"
  for f in keys/a.key keys/rot.key keys/sub/deep/b.key keys/note.txt tls/private/c.key tls/ca.crt other/plain \
    ov/lower/k/o.key; do
    head -c 512 /dev/zero | tr '\0' 'K' >"$DIR/$f"
  done
  ln -s ../keys/a.key "$DIR/other/link"
  ln "$DIR/keys/a.key" "$DIR/other/hard"
  mount -t overlay -o "lowerdir=$DIR/ov/lower,upperdir=$DIR/ov/upper,workdir=$DIR/ov/work" cs "$DIR/ov/merged"
  mount -t tmpfs cs "$DIR/tmpfs"
  setup
  policy "${POLICY[@]}"
  mkfifo "$DIR/fork" "$DIR/wait"
  older_process 3>&- 9>&- &
  enabled
}

setup() {
  POLICY=("[Secret t]" "File=$DIR/keys/**/*.key" "File=$DIR/tls/**/private/**"
    "File=$DIR/ov/merged/k/*.key")
  : >"$DIR/out"
}

teardown_file() {
  [ ! -e "$DIR/ours" ] || cat "$DIR/ours" >"$PATTERN"
  cs disable || true
  for p in older younger; do
    [ ! -s "$DIR/$p" ] || kill -9 "$(cat "$DIR/$p")" 2>/dev/null || true
  done
  cat "$DIR/old-pattern" >"$PATTERN"
  cat "$DIR/old-limit" >"$LIMIT"
  for m in ov/merged tmpfs bound btrfs xfs; do umount "$DIR/$m" 2>/dev/null || true; done
  rm -rf "$DIR"
}

# Lives since before enable, and forks (without an exec) when told.
older_process() {
  echo "$BASHPID" >"$DIR/older"
  read -r _ <"$DIR/fork"
  (
    echo "$BASHPID" >"$DIR/younger"
    read -r _ <"$DIR/wait"
  )
}

# Crashes ROUNDS readers of FILE by WAY, at moments from before the read to after it; the last
# one always after it.
crash_rounds() {
  local way=$1 file=$2 i spin
  for ((i = 0; i < ROUNDS; i++)); do
    spin=$((i + 1 == ROUNDS ? 0 : 1 + RANDOM % 20000))
    "$READER" "$way" "$file" "$spin" 2>>"$DIR/err" || true
  done
  for ((i = 0; i < 500; i++)); do
    [ "$(wc -l <"$DIR/out")" -lt "$ROUNDS" ] || return 0
    sleep 0.02
  done
  echo "only $(wc -l <"$DIR/out") of $ROUNDS crashes were seen" >&2
  return 1
}

untagged() {
  grep -c 'got=1 .*file=0' "$DIR/out" || true
}

arrived() {
  grep -c 'got=1' "$DIR/out" || true
}

always_tagged() {
  crash_rounds "$@"
  echo "$1 $2: $(arrived) of $ROUNDS crashed with bytes in memory, $(untagged) of these untagged"
  grep -v 'proved=0' "$DIR/out" && return 1
  [ "$(arrived)" -gt 0 ] && [ "$(untagged)" -eq 0 ]
}

one_crash() {
  : >"$DIR/out"
  ROUNDS=1 crash_rounds "$1" "${2:-$DIR/keys/a.key}"
  cat "$DIR/out"
}

@test "read: no byte without a tag, with a second thread crashing" {
  always_tagged read "$DIR/keys/a.key"
}

@test "pread: no byte without a tag" {
  always_tagged pread "$DIR/keys/a.key"
}

@test "readv: no byte without a tag" {
  always_tagged readv "$DIR/keys/a.key"
}

@test "mmap: no byte without a tag" {
  always_tagged mmap "$DIR/keys/a.key"
}

@test "a private mapping, written to: no byte without a tag" {
  always_tagged cow "$DIR/keys/a.key"
}

@test "splice: no byte without a tag" {
  always_tagged splice "$DIR/keys/a.key"
}

@test "io_uring: no byte without a tag" {
  always_tagged io_uring "$DIR/keys/a.key"
}

@test "io_uring, by a worker of the kernel: no byte without a tag" {
  always_tagged io_uring-worker "$DIR/keys/a.key"
}

@test "a descriptor inherited over exec: no byte without a tag" {
  always_tagged inherited "$DIR/keys/a.key"
}

@test "a descriptor passed by SCM_RIGHTS: no byte without a tag" {
  always_tagged passed "$DIR/keys/a.key"
}

@test "a file renamed over the one that was learnt: tagged at its first read" {
  always_tagged rotated "$DIR/keys/rot.key"
}

@test "a symbolic link from outside: no byte without a tag" {
  always_tagged read "$DIR/other/link"
}

@test "a hard link from outside: no byte without a tag" {
  always_tagged read "$DIR/other/hard"
}

@test "overlay, lower layer: no byte without a tag" {
  always_tagged read "$DIR/ov/merged/k/o.key"
}

@test "overlay, a file that takes its place in the upper layer: tagged at its first read" {
  always_tagged rotated "$DIR/ov/merged/k/o.key"
}

@test "a bind mount: no byte without a tag" {
  mkdir -p "$DIR/bound"
  mount --bind "$DIR/keys" "$DIR/bound"
  run always_tagged read "$DIR/bound/a.key"
  umount "$DIR/bound"
  [ "$status" -eq 0 ]
}

@test "a rule on a directory names a file made later, at any depth" {
  mkdir -p "$DIR/keys/new/er"
  cp "$DIR/keys/a.key" "$DIR/keys/new/er/late.key"
  always_tagged read "$DIR/keys/new/er/late.key"
}

@test "a link to a directory pointed elsewhere beside: tagged at the first read" {
  mkdir -p "$DIR/other/rel"/{1,2}
  cp "$DIR/keys/a.key" "$DIR/other/rel/1/k.pem"
  cp "$DIR/keys/a.key" "$DIR/other/rel/2/k.pem"
  ln -sfn rel/1 "$DIR/other/current"
  policy "${POLICY[@]}" "File=$DIR/other/current/k.pem"
  enabled
  ln -sfn rel/2 "$DIR/other/current"
  always_tagged read "$DIR/other/current/k.pem"
  policy "${POLICY[@]}"
  enabled
}

@test "other file systems: btrfs, xfs" {
  local fs found=0
  for fs in btrfs xfs; do
    command -v "mkfs.$fs" >/dev/null && grep -qw "$fs" /proc/filesystems || continue
    found=1
    truncate -s 320M "$DIR/$fs.img"
    "mkfs.$fs" -q "$DIR/$fs.img"
    mkdir -p "$DIR/$fs"
    mount -o loop "$DIR/$fs.img" "$DIR/$fs"
    mkdir "$DIR/$fs/empty"
    cp "$DIR/keys/a.key" "$DIR/$fs/a.key"
    policy "${POLICY[@]}" "File=$DIR/$fs/*.key" "File=$DIR/$fs/empty/**"
    run enabled
    cp "$DIR/keys/a.key" "$DIR/$fs/empty/later"
    local known later
    known=$(one_crash read "$DIR/$fs/a.key")
    later=$(one_crash read "$DIR/$fs/empty/later")
    policy "${POLICY[@]}"
    enabled
    umount "$DIR/$fs"
    echo "$fs: $known; $later"
    [[ $known == *"got=1 tag=1 file=1"* && $later == *"got=1 tag=1 file=1"* ]]
  done
  [ $found = 1 ] || skip "neither mkfs.btrfs nor mkfs.xfs"
}

@test "a directory renamed into the place of one that a rule names" {
  mkdir -p "$DIR/other/fresh"
  cp "$DIR/keys/a.key" "$DIR/other/fresh/a.key"
  mv "$DIR/keys" "$DIR/other/old-keys"
  mv "$DIR/other/fresh" "$DIR/keys"
  run always_tagged read "$DIR/keys/a.key"
  mv "$DIR/keys" "$DIR/other/fresh"
  mv "$DIR/other/old-keys" "$DIR/keys"
  [ "$status" -eq 0 ]
}

@test "the sensor says which files it watches, by inode and by directory" {
  for f in keys/a.key keys/sub/deep/b.key other/hard tls/private/c.key ov/merged/k/o.key; do
    "$PROBE" identify "$DIR/r" "$DIR/$f" | grep 'watched=1$'
  done
  cp "$DIR/keys/a.key" "$DIR/keys/sub/new.key" # only its directory is known
  "$PROBE" identify "$DIR/r" "$DIR/keys/sub/new.key" | grep 'watched=1$'
  rm "$DIR/keys/sub/new.key"
  for f in keys/note.txt tls/ca.crt other/plain r/etc/passwd; do
    "$PROBE" identify "$DIR/r" "$DIR/$f" | grep 'watched=0$'
  done
}

@test "files that no rule names leave no tag, also beside those that a rule does" {
  for f in other/plain keys/note.txt tls/ca.crt; do
    [[ $(one_crash read "$DIR/$f") == *"got=1 tag=0"* ]]
  done
  [[ $(one_crash read "$DIR/tls/private/c.key") == *"got=1 tag=1 file=1"* ]]
}

@test "fork: the child has a copy of the tag" {
  [[ $(one_crash fork) == *"file=1 unknown=0 files=1"* ]]
}

@test "fork: what the parent reads afterwards is not the child's" {
  [[ $(one_crash fork-before) == *"tag=0"* ]]
}

@test "exec: the new program has no tag" {
  [[ $(one_crash exec) == *"tag=0"* ]]
}

@test "exec from a second thread: the new program has no tag" {
  [[ $(one_crash thread-exec) == *"tag=0"* ]]
}

@test "vfork and CLONE_VM: what one reads, both have" {
  [[ $(one_crash vfork) == *"got=1 tag=1 file=1"* ]]
  [[ $(one_crash clone-vm) == *"got=1 tag=1 file=1"* ]]
}

@test "a process older than the sensors is of unknown history, its child too, until it execs" {
  [[ $("$PROBE" task "$(<"$DIR/older")") == *"unknown=1"* ]]
  echo >"$DIR/fork"
  for _ in 1 2 3 4 5; do [ -s "$DIR/younger" ] || sleep 0.1; done
  [[ $("$PROBE" task "$(<"$DIR/younger")") == *"unknown=1"* ]]
  echo >"$DIR/wait"
  [[ $(one_crash idle) == *"tag=0"* ]]
}

@test "a lineage that died leaves nothing in the map" {
  local before after
  before=$(bpftool map dump pinned $PINS/tags -j | grep -o '"key"' | wc -l)
  for _ in 1 2 3 4 5 6 7 8; do cat "$DIR/keys/a.key" >/dev/null; done
  after=$(bpftool map dump pinned $PINS/tags -j | grep -o '"key"' | wc -l)
  [ "$after" -le $((before + 4)) ]
}

@test "O_DIRECT is not seen: the blind spot that status names" {
  [[ $(one_crash direct) == *"got=1 tag=0"* ]] || skip "seen after all"
  run cs status
  [[ $output == *O_DIRECT* ]]
}

@test "a rule on tmpfs ends enable with 2, naming rule and file, and touches nothing" {
  echo x >"$DIR/tmpfs/t.key"
  policy "${POLICY[@]}" "File=$DIR/tmpfs/*.key"
  run cs enable
  [ "$status" -eq 2 ]
  [[ $output == *"$DIR/tmpfs/*.key"*tmpfs* ]]
  [ "$("$PROBE" open "$DIR/r")" = 0 ]
  [[ $(one_crash read) == *"file=1"* ]]
  rm "$DIR/tmpfs/t.key"
  run cs enable # an empty directory there is as blind
  [ "$status" -eq 2 ]
  policy '[Default]' AcceptBlind=tmpfs "${POLICY[@]}" "File=$DIR/tmpfs/*.key"
  enabled
  policy "${POLICY[@]}"
  enabled
}

@test "a second enable keeps tags; a rule that is new marks everybody alive" {
  "$READER" hold "$DIR/keys/a.key" 0 &
  local pid=$!
  sleep 0.3
  [[ $("$PROBE" task $pid) == *"file=1 unknown=0"* ]]
  enabled
  [[ $("$PROBE" task $pid) == *"file=1 unknown=0"* ]]
  policy "${POLICY[@]}" "File=$DIR/other/plain"
  enabled
  [[ $("$PROBE" task $pid) == *"file=1 unknown=1"* ]]
  [[ $(one_crash read "$DIR/other/plain") == *"file=1 unknown=0"* ]]
  policy "${POLICY[@]}"
  enabled
  [[ $(one_crash read "$DIR/other/plain") == *"tag=0"* ]]
  kill -9 $pid
}

@test "status: good, with blind spots and tax named; bad after the policy changed" {
  cat "$DIR/ours" >"$PATTERN"
  run cs status
  echo "$output"
  [ "$status" -eq 0 ]
  [[ $output == *page-cache*ns* && $output == *tmpfs*O_DIRECT*"huge pages"*DAX* && $output == *gcore* ]]
  [[ $output == *"container mounts"*unwatched-file* && $output == *RLIMIT_CORE=1*core_pipe_limit* ]]
  echo '# edited' >>"$DIR/r/etc/coresieve/policy.conf"
  run cs --json status
  [ "$status" -eq 1 ]
  python3 -c 'import json, sys
s = json.load(sys.stdin)
assert s["protected"] is False
assert [f["topic"] for f in s["findings"] if f["health"] == "bad"] == ["policy"], s' <<<"$output"
  policy "${POLICY[@]}"
  echo core >"$PATTERN"
  run cs status
  [ "$status" -eq 1 ]
  [[ $output == *"unfiltered files: core"* ]]
}

@test "tags: the process, the reason, the file and its label" {
  enabled
  "$READER" hold "$DIR/keys/a.key" 0 &
  local pid=$!
  sleep 0.3
  run cs tags
  [[ $output == *"$pid sensor_reader: file"*"  t $DIR/"*"key"* ]]
  cs --json tags | python3 -c 'import json, sys
[t] = [t for t in json.load(sys.stdin) if t["processes"][0]["pid"] == int(sys.argv[1])]
assert t["reasons"] == ["file"] and len(t["files"]) == 1, t
assert t["files"][0]["label"] == "t" and t["files"][0]["path"].endswith(".key"), t' $pid
  kill -9 $pid
}

@test "disable leaves a core_pattern that is not ours any more, and says so" {
  echo '|/bin/false' >"$PATTERN"
  run cs disable
  [ "$status" -eq 0 ]
  [[ $output == *"is not ours any more"* ]]
  [ "$(cat "$PATTERN")" = '|/bin/false' ]
  [ ! -e "${PINS%/v1}" ]
  run cs disable
  [ "$status" -eq 0 ]
  cat "$DIR/old-pattern" >"$PATTERN"
  cat "$DIR/old-limit" >"$LIMIT"
  enabled
  cat "$DIR/ours" >"$PATTERN"
  cs disable
  cmp "$DIR/old-pattern" "$PATTERN"
  cmp "$DIR/old-limit" "$LIMIT"
  [ ! -e "${PINS%/v1}" ]
  [ ! -e "$DIR/r/var/lib/coresieve/canary" ]
  enabled
}

@test "pins of another ABI are not ours, and enable replaces them" {
  "$PROBE" abi 999
  [[ $("$PROBE" open "$DIR/r") == -ESTALE* ]]
  enabled
  [ "$("$PROBE" open "$DIR/r")" = 0 ]
}

@test "a full map: no absence is clean, and enable mends it" {
  "$PROBE" fill
  one_crash read
  [[ $("$PROBE" open "$DIR/r") == -EOVERFLOW* ]]
  run cs status
  [ "$status" -eq 1 ]
  [[ $output == *overflow* || $output == *full* ]]
  cat "$DIR/ours" >"$PATTERN"
  cs disable
  enabled
  [ "$("$PROBE" open "$DIR/r")" = 0 ]
}

@test "without its link the sensor is missed, and the same rounds are no longer tagged" {
  rm $PINS/link_pages_got
  [[ $("$PROBE" open "$DIR/r") == -ENOLINK* ]]
  crash_rounds read "$DIR/keys/a.key"
  [ "$(untagged)" -gt 0 ]
  run cs status
  [ "$status" -eq 1 ]
  enabled
  [ "$("$PROBE" open "$DIR/r")" = 0 ]
  [[ $(one_crash read) == *"file=1"* ]]
}

@test "without the pins nothing is answered" {
  mv $PINS/meta $PINS/hidden
  [[ $("$PROBE" open "$DIR/r") == -ENOENT* ]]
  mv $PINS/hidden $PINS/meta
}
