#!/usr/bin/env bats
# list, show, extract, redact and audit, on a store and a log of their own. Records are real
# appends (tests/tools/make_records), the core to redact is one of the kernel's.

bats_require_minimum_version 1.5.0

setup_file() {
  TREE=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
  DIR=$(mktemp -d /var/tmp/cs-commands.XXXXXX)
  export TREE DIR
  chmod 755 "$DIR"
  openssl genrsa -traditional -out "$DIR/key.pem" 2048 2>/dev/null
  raw_core "$DIR/raw" python3 -c "
import os
key = open('$DIR/key.pem').read()
os.abort()"
  # A key at rest: one line of the PEM file.
  sed -n 5p "$DIR/key.pem" >"$DIR/line"
  # Something like a core: data, a large hole, and data again.
  head -c 3000000 /dev/urandom >"$DIR/core"
  truncate -s 40M "$DIR/core"
  echo end >>"$DIR/core"
}

teardown_file() {
  rm -rf "$DIR"
}

# raw_core OUT COMMAND…: the kernel's own core of a command that crashes.
raw_core() (
  local out=$1 old pid
  shift
  exec 9>/run/lock/core_pattern.lock
  flock 9
  old=$(cat /proc/sys/kernel/core_pattern)
  trap 'printf %s "$old" >/proc/sys/kernel/core_pattern' EXIT
  echo "$DIR/kernel.%p" >/proc/sys/kernel/core_pattern
  ulimit -c unlimited
  "$@" 9>&- &
  pid=$!
  wait "$pid" || true
  mv "$DIR/kernel.$pid" "$out"
)

setup() {
  ROOT=$(mktemp -d "$DIR/root.XXXXXX")
  mkdir -p "$ROOT/etc" "$ROOT/var/lib/coresieve" "$ROOT/tmp"
  mkdir -m 700 "$ROOT/var/lib/coresieve/dumps"
  echo 'coresieve:x:65533:65533::/:/usr/sbin/nologin' >"$ROOT/etc/passwd"
  LOG=$ROOT/var/log/coresieve/audit.jsonl
  DUMPS=$ROOT/var/lib/coresieve/dumps
  OUT=$ROOT/tmp/out
}

teardown() {
  rm -rf "$ROOT"
}

cs() { "$TREE/build/bin/coresieve" --root "$ROOT" "$@"; }
make_record() { "$TREE/build/tools/make_records" "$ROOT" "$@"; }
keep() { make_record keep /usr/sbin/nginx nginx "${1:-$DIR/core}"; }

# json EXPRESSION: of the JSON text on stdin, as `j`; fails when it is false.
json() { python3 -c "import json, sys; j = json.load(sys.stdin); assert ($1), j"; }

# --- the command itself ---

@test "no verb, an unknown verb, and an option without its value are usage: exit 2" {
  run "$TREE/build/bin/coresieve"
  [ "$status" -eq 2 ]
  run cs nonsense
  [ "$status" -eq 2 ]
  [[ $output == "coresieve: nonsense: "*": "* ]]
  run "$TREE/build/bin/coresieve" list --root
  [ "$status" -eq 2 ]
  run "$TREE/build/bin/coresieve" --root /nowhere list
  [ "$status" -eq 2 ]
  [[ $output == "coresieve: /nowhere: No such file or directory: "* ]]
}

@test "help and version are answers, of the command and of each verb" {
  run cs --help
  [ "$status" -eq 0 ]
  for verb in enable disable status tags list show extract redact audit policy; do
    [[ $output == *"  $verb"* ]]
    "$TREE/build/bin/coresieve" "$verb" --help | grep -q "coresieve .* $verb"
  done
  run cs --version
  [ "$status" -eq 0 ]
  [[ $output == "coresieve "* ]]
}

@test "global options may stand before and after the verb" {
  keep
  [ "$(cs list --json)" = "$(cs --json list)" ]
  [ "$("$TREE/build/bin/coresieve" list --json --root="$ROOT")" = "$(cs --json list)" ]
}

@test "an answer that cannot be written is no answer" {
  keep
  run bash -c "'$TREE/build/bin/coresieve' --root '$ROOT' list >/dev/full"
  [ "$status" -eq 2 ]
}

@test "the command itself leaves no core" {
  local pid
  keep
  # Asked while it waits for the log's lock.
  flock "$LOG" sleep 2 &
  sleep 0.2
  "$TREE/build/bin/coresieve" --root "$ROOT" list >/dev/null &
  pid=$!
  sleep 0.3
  grep -qE '^Max core file size +0 +0' "/proc/$pid/limits"
  wait
}

# --- list ---

@test "list: nothing has crashed yet" {
  [ "$(cs list --json)" = "[]" ]
}

@test "list: every crash, oldest first, with or without a dump" {
  first=$(keep)
  second=$(make_record metadata /usr/bin/other other)
  cs list --json | json "[r['id'] for r in j] == ['$first', '$second']"
  cs list --json | json "all(set(('id', 'time', 'pid', 'exe', 'signal', 'content', 'wrap', 'path',
    'size')) <= set(r) for r in j)"
  cs list --json | json "j[0]['path'] == '$DUMPS/$first.core.zst'"
  cs list --json | json "j[0]['size'] == $(stat -c %s "$DUMPS/$first.core.zst")"
  cs list --json | json "j[0]['pid'] == 4711 and j[0]['signal'] == 11 and j[0]['wrap'] == 'plain'"
  cs list --json | json "j[0]['exe'] == '/usr/sbin/nginx' and j[0]['content'] == 'redact'"
  cs list --json | json "j[1]['path'] is None and j[1]['size'] is None"
  cs list --json | json "j[1]['content'] == 'refuse' and j[1]['causes'] == ['maps-missing']"
  cs list --json |
    json "all(__import__('re').fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z', r['time']) for r in j)"
  [ "$(cs list | wc -l)" -eq 3 ]
}

@test "list, show: a secret in hands that Holder= does not name stands out" {
  keep
  id=$(make_record foreign /usr/bin/other other)
  [ "$(cs list | grep -c 'FOREIGN HOLDER of tls$')" -eq 1 ]
  cs list --json | json "[r['labels'] for r in j] ==
    [[], [{'label': 'tls', 'rule': 'secret', 'holder': 'foreign'}]]"
  cs show "$id" | grep -q 'holder: *foreign$'
}

@test "list: a dump that was removed has no path any more, its record stays" {
  id=$(keep)
  rm "$DUMPS/$id.core.zst"
  cs list --json | json "j[0]['path'] is None and j[0]['size'] is None"
}

@test "list: a record that still waits is there, and once" {
  keep
  id=$(make_record wait /usr/bin/waits waits)
  cs list --json | json "[r['id'] for r in j].count('$id') == 1 and len(j) == 2"
  keep
  cs list --json | json "[r['id'] for r in j].count('$id') == 1 and len(j) == 3"
}

@test "list: what a process calls itself steers no terminal" {
  make_record metadata $'/tmp/\e]0;x\a\xff\xe2\x80\xae\n2026 forged' $'\e[2J'
  [ "$(cs list | wc -l)" -eq 2 ]
  [ "$(cs list | tr -d '\n' | LC_ALL=C tr -d ' -~' | od -An -tx1)" = " ef bf bd" ] # U+FFFD and nothing else
  [ "$(cs list --json | tr -d '\n' | LC_ALL=C tr -d ' -~' | wc -c)" -eq 0 ]
  [ "$(cs audit show | LC_ALL=C grep -c $'\e')" -eq 0 ]
  id=$(cs list --json | python3 -c "import json, sys; print(json.load(sys.stdin)[0]['id'])")
  [ "$(cs show "$id" | LC_ALL=C grep -c $'\e')" -eq 0 ]
  cs show "$id" --json | json "__import__('base64').b64decode(j['exe_b64'])[-1:] == b'd'"
}

@test "list: lines that are no records are told of, and cost no other" {
  keep
  echo nonsense >>"$LOG"
  run --separate-stderr cs list --json
  [ "$status" -eq 0 ]
  # shellcheck disable=SC2154
  [[ $stderr == *"some lines are no records"* ]]
  json "len(j) == 1" <<<"$output"
}

# --- show ---

@test "show: everything that the record says, and by any beginning that no other has" {
  id=$(keep)
  other=$(keep)
  cs show "$id" | grep -q '^exe: *  /usr/sbin/nginx'
  cs show "$id" | grep -q 'needle: *  640'
  cs show "$id" --json | json "j['id'] == '$id' and j['erased'] == {'needle': '640'}"
  cs show "${id%-*}" --json | json "j['id'] == '$id'"
  cs show "${other%???}" --json | json "j['id'] == '$other'"
  run cs show "${id%%-*}"
  [ "$status" -eq 2 ]
  [[ $output == *"2 records begin so: give more of the id" ]]
  run cs show ffff
  [ "$status" -eq 2 ]
  run cs show ''
  [ "$status" -eq 2 ]
}

@test "show: ranges and bytes by reason from the dump's own note" {
  cs redact "$DIR/raw" "$OUT" --key "$DIR/key.pem" >"$ROOT/tmp/summary"
  id=$(keep "$OUT")
  cs show "$id" >"$ROOT/tmp/shown"
  for reason in needle vector stack; do
    bytes=$(awk -v r="$reason:" '$1 == r { print $2 }' "$ROOT/tmp/summary")
    [ "$bytes" -gt 0 ]
    grep -qE "^  $reason +$bytes bytes in [1-9][0-9]* ranges" "$ROOT/tmp/shown"
  done
}

@test "show: a dump without a note, one that is damaged, and none" {
  id=$(keep "$DIR/raw")
  cs show "$id" | grep -q 'the dump has no note'
  cs redact "$DIR/raw" "$OUT"
  whole=$(keep "$OUT")
  cs show "$whole" | grep -q 'bytes in'
  for size in -1 -100 20 0; do
    truncate -s "$size" "$DUMPS/$whole.core.zst"
    run cs show "$whole"
    [ "$status" -eq 2 ]
    [[ $output == *damaged* ]]
  done
  rm "$DUMPS/$id.core.zst"
  cs show "$id" | grep -q 'none is kept'
}

# --- extract ---

@test "extract: the plain core, 0600, with its holes, and a record of who took it" {
  id=$(keep)
  cs extract "$id" "$OUT"
  cmp "$OUT" "$DIR/core"
  [ "$(stat -c %a "$OUT")" = 600 ]
  [ "$(stat -c %b "$OUT")" -lt 10000 ] # blocks of 512: 3 MB of 40
  cs audit tail 1 --json | json "j['event'] == 'access' and j['verb'] == 'extract'"
  cs audit tail 1 --json | json "j['target'] == '$id' and j['destination'] == '$OUT'"
  cs audit tail 1 --json | json "j['uid'] == 0 and 'loginuid' in j"
  cs audit verify
}

@test "extract: overwrites nothing unless told so, and then in one step" {
  id=$(keep)
  echo old >"$OUT"
  run cs extract "$id" "$OUT"
  [ "$status" -eq 2 ]
  [[ $output == *"--force replaces it" ]]
  [ "$(cat "$OUT")" = old ]
  ln "$OUT" "$ROOT/tmp/second"
  cs extract "$id" "$OUT" --force
  cmp "$OUT" "$DIR/core"
  [ "$(cat "$ROOT/tmp/second")" = old ]
  [ "$(stat -c %a "$OUT")" = 600 ]
}

@test "extract: follows and replaces no link, device or directory" {
  id=$(keep)
  echo untouched >"$ROOT/tmp/victim"
  ln -s victim "$OUT"
  run cs extract "$id" "$OUT"
  [ "$status" -eq 2 ]
  run cs extract --force "$id" "$OUT"
  [ "$status" -eq 2 ]
  [ -L "$OUT" ]
  run cs extract --force "$id" /dev/null
  [ "$status" -eq 2 ]
  [ -c /dev/null ]
  run cs extract --force "$id" "$ROOT/tmp"
  [ "$status" -eq 2 ]
  run cs extract --force "$id" "$ROOT/tmp/"
  [ "$status" -eq 2 ]
  [ "$(cat "$ROOT/tmp/victim")" = untouched ]
}

@test "extract: a damaged or exchanged dump gives no file and no record of an access" {
  id=$(keep)
  size=$(stat -c %s "$DUMPS/$id.core.zst")
  cp "$DUMPS/$id.core.zst" "$ROOT/tmp/whole"
  for damage in cut flip exchange longer empty; do
    cp "$ROOT/tmp/whole" "$DUMPS/$id.core.zst"
    case $damage in
      cut) truncate -s $((size - 10)) "$DUMPS/$id.core.zst" ;;
      flip) printf '\xff\xff\xff' | dd of="$DUMPS/$id.core.zst" bs=1 seek=1000000 conv=notrunc status=none ;;
      exchange) echo other | zstd -qcf >"$DUMPS/$id.core.zst" ;;
      longer) echo more | zstd -qcf >>"$DUMPS/$id.core.zst" ;;
      empty) : >"$DUMPS/$id.core.zst" ;;
    esac
    run cs extract "$id" "$OUT"
    [ "$status" -eq 2 ]
    [ "$(ls -A "$ROOT/tmp")" = whole ]
    [ "$(cs audit show | grep -c access)" -eq 0 ]
  done
  cp "$ROOT/tmp/whole" "$DUMPS/$id.core.zst"
  cs extract "$id" "$OUT" # what fails above is the damage
}

@test "extract: nothing leaves while nobody can record it" {
  id=$(keep)
  chmod 755 "$ROOT/var/log/coresieve" # no log any more
  rm -rf "$ROOT/run/coresieve"
  touch "$ROOT/run/coresieve" # nor a place to wait
  run cs extract "$id" "$OUT"
  [ "$status" -eq 2 ]
  [ ! -e "$OUT" ]
}

@test "extract: a record without a dump is no file" {
  id=$(make_record metadata /usr/bin/other other)
  run cs extract "$id" "$OUT"
  [ "$status" -eq 2 ]
  [ ! -e "$OUT" ]
}

@test "extract: no room leaves nothing" {
  id=$(keep)
  mkdir "$ROOT/small"
  mount -t tmpfs -o size=1m none "$ROOT/small"
  run cs extract "$id" "$ROOT/small/out"
  left=$(ls -A "$ROOT/small")
  umount "$ROOT/small"
  [ "$status" -eq 2 ]
  [ -z "$left" ]
}

# --- redact ---

@test "redact: the key is gone, the core is whole, and the raw one held it" {
  grep -qFf "$DIR/line" "$DIR/raw"
  run cs redact "$DIR/raw" "$OUT" --key "$DIR/key.pem"
  [ "$status" -eq 0 ]
  [[ $output == *needle* ]]
  run ! grep -qFf "$DIR/line" "$OUT"
  [ "$(stat -c %a "$OUT")" = 600 ]
  eu-readelf -l "$DIR/raw" >"$ROOT/tmp/a"
  eu-readelf -l "$OUT" >"$ROOT/tmp/b"
  diff <(sed -n '/LOAD/p' "$ROOT/tmp/a") <(sed -n '/LOAD/p' "$ROOT/tmp/b")
}

@test "redact: --json says what --key found and what was erased" {
  cs redact "$DIR/raw" "$OUT" --key "$DIR/key.pem" --json >"$ROOT/tmp/json"
  json "j['keys'][0]['fragments'] > 0 and j['erased']['needle'] > 0" <"$ROOT/tmp/json"
  json "j['content'] == 'redact' and j['output'] == '$OUT'" <"$ROOT/tmp/json"
  openssl genrsa -traditional -out "$ROOT/tmp/other.pem" 2048 2>/dev/null
  cs redact "$DIR/raw" "$OUT" --key "$ROOT/tmp/other.pem" --json --force >"$ROOT/tmp/json"
  json "j['keys'][0]['fragments'] == 0" <"$ROOT/tmp/json"
}

@test "redact: content stacks keeps less, detect more" {
  cs redact "$DIR/raw" "$OUT.stacks" --content stacks --json | json "j['erased']['level'] > 0"
  cs redact "$DIR/raw" "$OUT.detect" --content detect --json |
    json "'stack' not in j['erased'] and j['erased']['detected'] > 0"
  run cs redact "$DIR/raw" "$OUT" --content refuse
  [ "$status" -eq 2 ]
  [ ! -e "$OUT" ]
}

@test "redact: a compressed core is unpacked first and leaves nothing behind" {
  zstd -q "$DIR/raw" -o "$ROOT/tmp/raw.zst"
  cs redact "$ROOT/tmp/raw.zst" "$OUT" --key "$DIR/key.pem"
  cs redact "$DIR/raw" "$OUT.plain" --key "$DIR/key.pem"
  cmp "$OUT" "$OUT.plain"
  [ "$(find "$ROOT/tmp" -mindepth 1 -printf '%f\n' | sort | tr '\n' ' ')" = "out out.plain raw.zst " ]
}

@test "redact: overwrites nothing unless told so" {
  echo old >"$OUT"
  run cs redact "$DIR/raw" "$OUT"
  [ "$status" -eq 2 ]
  [ "$(cat "$OUT")" = old ]
  cs redact "$DIR/raw" "$OUT" --force
  [ "$(head -c 4 "$OUT" | tail -c 3)" = ELF ]
}

@test "redact: what is no core, cut, or not readable gives no file" {
  head -c 1000 "$DIR/raw" >"$ROOT/tmp/cut"
  head -c 5000000 "$DIR/raw" >"$ROOT/tmp/cut2"
  echo nonsense >"$ROOT/tmp/text"
  : >"$ROOT/tmp/empty"
  for in in cut cut2 text empty none .; do
    run cs redact "$ROOT/tmp/$in" "$OUT"
    [ "$status" -eq 2 ]
    [[ $output == "coresieve: "*": "*": "* ]]
    [ ! -e "$OUT" ]
  done
  run cs redact "$DIR/raw" "$OUT" --key "$ROOT/tmp/none"
  [ "$status" -eq 2 ]
  run cs redact "$DIR/raw" "$OUT" --key
  [ "$status" -eq 2 ]
  run cs redact "$DIR/raw"
  [ "$status" -eq 2 ]
  [ ! -e "$OUT" ]
}

@test "redact: without its worker or the worker's user there is no file" {
  : >"$ROOT/etc/passwd"
  run cs redact "$DIR/raw" "$OUT"
  [ "$status" -eq 2 ]
  [[ $output == *coresieve* ]]
  echo 'coresieve:x:65533:65533::/:/usr/sbin/nologin' >"$ROOT/etc/passwd"
  cp "$TREE/build/bin/coresieve" "$ROOT/tmp/"
  run "$ROOT/tmp/coresieve" --root "$ROOT" redact "$DIR/raw" "$OUT"
  [ "$status" -eq 2 ]
  [ ! -e "$OUT" ]
}

# --- audit ---

@test "audit verify: intact 0, broken 1, no answer 2" {
  run cs audit verify
  [ "$status" -eq 2 ]
  keep
  keep
  keep
  run cs audit verify
  [ "$status" -eq 0 ]
  [[ $output == *": intact: 3 records, newest "* ]]
  cs audit verify --json | json "j[0]['result'] == 'intact' and j[0]['records'] == 3"

  cp -a "$ROOT/var/log/coresieve" "$ROOT/tmp/whole"
  sed -i '2s/nginx/xxxxx/' "$LOG" # edited
  run cs audit verify
  [ "$status" -eq 1 ]
  [[ $output == *"broken at line 3"* ]]
  sed '2d' "$ROOT/tmp/whole/audit.jsonl" >"$LOG" # removed
  run cs audit verify
  [ "$status" -eq 1 ]
  head -n 2 "$ROOT/tmp/whole/audit.jsonl" >"$LOG" # its tail cut
  run cs audit verify
  [ "$status" -eq 1 ]
  [[ $output == *"broken at line 3"*"newest records are missing"* ]]
  cs audit verify --json | json "j[0]['result'] == 'broken' and j[0]['bad_line'] == 3"
  # ... and an append goes on behind the break, and hides nothing.
  keep
  run cs audit verify
  [ "$status" -eq 1 ]
  [ "$(cs audit show | grep -c '  break  ')" -eq 1 ]
}

@test "audit verify: copies of many hosts, each by its own tip" {
  keep
  mkdir "$ROOT/tmp/a" "$ROOT/tmp/b"
  cp "$ROOT"/var/log/coresieve/* "$ROOT/tmp/a"
  cp "$ROOT"/var/log/coresieve/* "$ROOT/tmp/b"
  cs audit verify "$ROOT/tmp/a/audit.jsonl" "$ROOT/tmp/b/audit.jsonl"
  sed -i 's/nginx/xxxxx/' "$ROOT/tmp/b/audit.jsonl"
  run cs audit verify "$ROOT/tmp/a/audit.jsonl" "$ROOT/tmp/b/audit.jsonl"
  [ "$status" -eq 1 ]
  rm "$ROOT/tmp/a/audit.tip" # a chain without its tip may be cut
  run cs audit verify "$ROOT/tmp/a/audit.jsonl"
  [ "$status" -eq 2 ]
}

@test "audit verify: records that wait are counted" {
  keep
  make_record wait /usr/bin/waits waits
  cs audit verify | grep -q '1 records wait'
  cs audit verify --json | json "j[0]['pending'] == 1"
  keep
  cs audit verify --json | json "j[0]['pending'] == 0 and j[0]['records'] == 3"
}

@test "audit show and tail: a line a record, or the raw lines" {
  keep
  keep
  keep
  [ "$(cs audit show | wc -l)" -eq 3 ]
  [ "$(cs audit tail 2 | wc -l)" -eq 2 ]
  [ "$(cs audit tail 100 | wc -l)" -eq 3 ]
  diff <(cs audit show --json) "$LOG"
  diff <(cs audit tail 1 --json) <(tail -n 1 "$LOG")
  for bad in 0 x -1 1000000; do
    run cs audit tail "$bad"
    [ "$status" -eq 2 ]
  done
}
