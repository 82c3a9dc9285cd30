#!/usr/bin/env bats
# What `make install` places, and what `make uninstall` takes away again.

setup() {
  TREE=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
  DIR=$(mktemp -d /var/tmp/cs-install.XXXXXX)
  ROOT=$DIR/root
  mkdir -p "$DIR/build/bin"
  for program in coresieve coresieve-helper coresieve-worker; do
    # shellcheck disable=SC2016
    printf '#!/bin/sh\nreadlink -f "$0"\n' >"$DIR/build/bin/$program"
  done
}

teardown() {
  rm -rf "$DIR"
}

# place [OPTION…]: into $ROOT, from programs of our own.
place() {
  "$TREE/scripts/install" --destdir "$ROOT" --prefix /usr --libexecdir /usr/libexec/coresieve \
    --sbindir /usr/sbin --build "$DIR/build" "$@"
}

listed() {
  (cd "$ROOT" && find . -not -type d | sort)
}

@test "install: every file is where it belongs, and nothing else is placed" {
  place
  diff -u - <(listed) <<'END'
./etc/coresieve/policy.conf
./etc/coresieve/policy.d/tmpfs.conf.example
./usr/lib/systemd/system/coresieve.service
./usr/lib/sysusers.d/coresieve.conf
./usr/lib/tmpfiles.d/coresieve.conf
./usr/libexec/coresieve/coresieve
./usr/libexec/coresieve/coresieve-helper
./usr/libexec/coresieve/coresieve-worker
./usr/sbin/coresieve
END
  [ "$(stat -c %a "$ROOT/usr/libexec/coresieve/coresieve-helper")" = 755 ]
  [ "$(stat -c %a "$ROOT/etc/coresieve/policy.conf")" = 644 ]
  [ "$(stat -c %a "$ROOT/etc/coresieve")" = 755 ]
}

@test "install: the umask of the installer does not open the policy" {
  (umask 000 && place)
  [ -z "$(find "$ROOT" -not -type l -perm /022)" ]
}

@test "install: the command finds the others beside itself, through its link" {
  place
  run "$ROOT/usr/sbin/coresieve"
  [ "$status" -eq 0 ]
  [ "$output" = "$ROOT/usr/libexec/coresieve/coresieve" ]
}

@test "install: the unit starts the command where it was placed" {
  "$TREE/scripts/install" --destdir "$ROOT" --prefix /opt/cs --libexecdir /opt/cs/libexec \
    --sbindir /opt/cs/bin --build "$DIR/build"
  grep -qx 'ExecStart=/opt/cs/bin/coresieve enable' "$ROOT/opt/cs/lib/systemd/system/coresieve.service"
  grep -qx 'ExecStop=/opt/cs/bin/coresieve disable' "$ROOT/opt/cs/lib/systemd/system/coresieve.service"
  run "$ROOT/opt/cs/bin/coresieve"
  [ "$output" = "$ROOT/opt/cs/libexec/coresieve" ]
}

@test "install: an edited policy is kept, and the shipped one lies beside it" {
  place
  echo '# mine' >>"$ROOT/etc/coresieve/policy.conf"
  cp "$ROOT/etc/coresieve/policy.conf" "$DIR/mine"
  run place
  [ "$status" -eq 0 ]
  [[ "$output" = *"was edited and is kept"* ]]
  cmp "$DIR/mine" "$ROOT/etc/coresieve/policy.conf"
  cmp "$TREE/userspace/etc/policy.conf" "$ROOT/etc/coresieve/policy.conf.dist"
}

@test "install: an unedited policy gets no twin" {
  place
  place
  [ ! -e "$ROOT/etc/coresieve/policy.conf.dist" ]
}

@test "install: a program that was not built stops it before anything is placed" {
  rm "$DIR/build/bin/coresieve-worker"
  run place
  [ "$status" -eq 2 ]
  [[ "$output" = *"coresieve-worker: is missing: run make first"* ]]
  [ ! -e "$ROOT" ]
}

@test "install: relative and blank paths are refused" {
  run "$TREE/scripts/install" --prefix usr --libexecdir /a --sbindir /b --build x --destdir "$ROOT"
  [ "$status" -eq 2 ]
  run "$TREE/scripts/install" --prefix /usr --libexecdir '/a b' --sbindir /b --build x --destdir "$ROOT"
  [ "$status" -eq 2 ]
  run place --frobnicate
  [ "$status" -eq 2 ]
}

@test "uninstall: nothing is left of an install" {
  place
  place --uninstall
  [ -z "$(listed)" ]
  [ ! -e "$ROOT/etc/coresieve" ]
  [ ! -e "$ROOT/usr/libexec/coresieve" ]
  [ -d "$ROOT/usr/lib/systemd/system" ]
}

@test "uninstall: an edited policy and an admin's drop-in stay" {
  place
  echo '# mine' >>"$ROOT/etc/coresieve/policy.conf"
  echo '# mine' >"$ROOT/etc/coresieve/policy.d/mine.conf"
  place
  run place --uninstall
  [ "$status" -eq 0 ]
  [ "$(listed | tr '\n' ' ')" = "./etc/coresieve/policy.conf ./etc/coresieve/policy.d/mine.conf " ]
}

@test "uninstall: twice is once" {
  place
  place --uninstall
  place --uninstall
}

# on_host SCRIPT: in a mount namespace where /etc, /var and /run are copies that nobody else sees;
# $place installs on that host.
on_host() {
  export DIR
  export place="$TREE/scripts/install --prefix $DIR/usr --libexecdir $DIR/usr/libexec/coresieve \
    --sbindir $DIR/usr/sbin --build $DIR/build"
  # shellcheck disable=SC2016
  unshare --mount --propagation private bash -euc '
    mount -t tmpfs none /run
    mount -t tmpfs none /sys/fs/bpf
    for dir in etc var/lib var/log; do
      mkdir -p "/run/over/$dir/up" "/run/over/$dir/work"
      mount -t overlay none "/$dir" \
        -o "lowerdir=/$dir,upperdir=/run/over/$dir/up,workdir=/run/over/$dir/work"
    done
    echo core >/run/core_pattern
    mount --bind /run/core_pattern /proc/sys/kernel/core_pattern
    '"$1"
}

has_root() {
  [ "$(id -u)" = 0 ] || skip "not root"
}

@test "install on a host: the worker's user and directories of root's alone" {
  has_root
  # shellcheck disable=SC2016
  on_host '
    $place
    getent passwd coresieve | cut -d: -f5-7 >"$DIR/user"
    stat -c "%a %U %n" /var/lib/coresieve/dumps /var/log/coresieve /run/coresieve >"$DIR/modes"'
  [ "$(cat "$DIR/user")" = "Coresieve worker:/nonexistent:/usr/sbin/nologin" ]
  diff -u - "$DIR/modes" <<'END'
700 root /var/lib/coresieve/dumps
700 root /var/log/coresieve
700 root /run/coresieve
END
}

@test "tmpfiles.d makes the directories that install makes" {
  local made planned
  made=$(sed -n '/^add_directories/,/^}/p' "$TREE/scripts/install" | grep -oE '/(var|run)[^ ]*' | sort)
  planned=$(awk '$1 == "d" && $3 == "0700" && $4 == "root" && $5 == "root" { print $2 }' \
    "$TREE/userspace/etc/tmpfiles.d/coresieve.conf" | sort)
  [ -n "$made" ] && [ "$made" = "$planned" ]
}

@test "install on a host: without systemd-sysusers useradd makes the same user" {
  has_root
  # shellcheck disable=SC2016
  on_host '
    tools=/run/tools; mkdir $tools
    for dir in /usr/bin /usr/sbin; do ln -sf $dir/* $tools; done
    rm -f $tools/systemd-sysusers
    PATH=$tools $place
    getent passwd coresieve | cut -d: -f5-7 >"$DIR/user"'
  [ "$(cat "$DIR/user")" = "Coresieve worker:/nonexistent:/usr/sbin/nologin" ]
}

@test "uninstall on a host: user and empty directories go" {
  has_root
  # shellcheck disable=SC2016
  on_host '
    $place
    $place --uninstall
    if getent passwd coresieve; then exit 1; fi
    for dir in /var/lib/coresieve /var/log/coresieve /run/coresieve /etc/coresieve; do
      [ ! -e $dir ]
    done'
  [ -z "$(find "$DIR/usr" -not -type d)" ]
}

@test "uninstall on a host: dumps and records stay" {
  has_root
  # shellcheck disable=SC2016
  on_host '
    $place
    touch /var/lib/coresieve/dumps/x /var/log/coresieve/audit.jsonl
    echo x >/run/coresieve/pending.jsonl
    $place --uninstall
    [ -e /var/lib/coresieve/dumps/x ]
    [ -e /var/log/coresieve/audit.jsonl ]
    [ -e /run/coresieve/pending.jsonl ]'
}

@test "uninstall on a host: somebody else's user of that name stays" {
  has_root
  # shellcheck disable=SC2016
  on_host '
    useradd --system --comment theirs coresieve
    $place
    $place --uninstall
    getent passwd coresieve >/dev/null'
}

@test "uninstall on a host: refused while core_pattern is ours" {
  has_root
  # shellcheck disable=SC2016
  run on_host '
    $place
    echo "|/x/coresieve-helper 1" >/run/core_pattern
    code=0
    $place --uninstall || code=$?
    [ -e "$DIR/usr/sbin/coresieve" ]
    [ -e "$DIR/usr/libexec/coresieve/coresieve-helper" ]
    exit $code'
  [ "$status" -eq 2 ]
  [[ "$output" = *"coresieve is enabled: run coresieve disable first"* ]]
}

@test "uninstall on a host: refused while sensors are pinned" {
  has_root
  # shellcheck disable=SC2016
  run on_host '
    $place
    mkdir /sys/fs/bpf/coresieve
    $place --uninstall'
  [ "$status" -eq 2 ]
  [[ "$output" = *"coresieve is enabled: run coresieve disable first"* ]]
}

@test "make install and scripts/install agree on their options" {
  [ -x "$TREE/build/bin/coresieve" ] || skip "not built"
  run make -n -C "$TREE" install DESTDIR="$ROOT" PREFIX=/opt
  [ "$status" -eq 0 ]
  [[ "$output" = *"scripts/install --destdir '$ROOT' --prefix '/opt' --libexecdir '/opt/libexec/coresieve'"* ]]
}

@test "the shipped policy is valid, alone and with its example" {
  [ -x "$TREE/build/bin/coresieve" ] || skip "not built"
  place
  "$TREE/build/bin/coresieve" --root "$ROOT" policy check
  mv "$ROOT/etc/coresieve/policy.d/tmpfs.conf.example" "$ROOT/etc/coresieve/policy.d/tmpfs.conf"
  "$TREE/build/bin/coresieve" --root "$ROOT" policy check
}
