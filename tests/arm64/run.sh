#!/usr/bin/env bash
# The static aarch64 binary, built with Debian's cross toolchain and run under real arm64 kernels in QEMU. Debian 12 on x86-64,
# root. Emulated time says nothing about a Pi; memory, page size, system calls, filters and limits are real.
#
#   tests/arm64/run.sh [setup] [build] [node] [resets] [unit]        all of them without arguments
#
# setup    packages and kernels; what is there already is left alone
# build    the binary, its size
# node     4 and 16 KiB pages: tails a tree with io_uring, answers, resident memory at rest and at 500 lines/s
# resets   4 and 16 KiB pages: power cuts while it tails, then every line that the log files hold, exactly once (promise P1)
# unit     systemd/drupelet.service under a real systemd: own user, io_uring, watchdog, limits
#
# DRUPELET_ARM64_WORK is where packages, kernels and the build are kept, DRUPELET_RESETS how many power cuts for each page size.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${DRUPELET_ARM64_WORK:-/var/tmp/drupelet-arm64}
target=aarch64-unknown-linux-gnu
binary=$work/target/$target/release/drupelet
size_max=$((12 * 1000 * 1000))
mkdir -p "$work"

setup() {
  local p want=() packages="rustc-web cargo-web libstd-rust-web-dev:arm64 gcc-aarch64-linux-gnu libc6-dev:arm64
    qemu-system-arm e2fsprogs mmdebstrap systemd python3"
  dpkg --print-foreign-architectures | grep -qx arm64 || dpkg --add-architecture arm64
  for p in $packages; do
    dpkg-query -W -f '${Status}\n' "$p" 2>/dev/null | grep -q '^install ok installed' || want+=("$p")
  done
  export DEBIAN_FRONTEND=noninteractive
  if [ ${#want[@]} -gt 0 ]; then
    # A newer qemu-utils from elsewhere is removed by this: nothing here needs it.
    apt-get -q update
    apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${want[@]}"
  fi
  kernel cloud-arm64 arm64-16k
  [ -x "$work/busybox/bin/busybox" ] || unpack busybox-static busybox
  if [ ! -f "$work/rootfs.tar" ]; then
    mmdebstrap --quiet --variant=extract --architectures=arm64 \
      --include=systemd,systemd-sysv,dbus,bash,coreutils,util-linux,mount,passwd,procps,grep,base-files,base-passwd,kmod \
      bookworm "$work/rootfs.part"
    mv "$work/rootfs.part" "$work/rootfs.tar"
  fi
}

# unpack PACKAGE FOLDER: downloads an arm64 package and unpacks it; it is never installed.
unpack() {
  local tmp
  tmp=$(mktemp -d "$work/unpack.XXXXXX")
  (cd "$tmp" && apt-get -q download "$1:arm64" && dpkg-deb -x ./*.deb root)
  mv "$tmp/root" "$work/$2"
  rm -r "$tmp"
}

# kernel FLAVOUR...: the newest 6.12 kernels of Debian 12.
kernel() {
  local flavour name
  for flavour; do
    [ -d "$work/kernel-$flavour" ] && continue
    name=$(apt-cache depends "linux-image-6.12-$flavour:arm64" | sed -n 's/.*Depends: \(linux-image-[^:]*\).*/\1/p' | head -1)
    unpack "$name" "kernel-$flavour"
  done
}

build() {
  # Debian's own toolchain, whatever else is in PATH: only it has an arm64 standard library.
  /usr/bin/rustc -V
  env -u RUSTC_WRAPPER RUSTC=/usr/bin/rustc CARGO=/usr/bin/cargo CARGO_TARGET_DIR="$work/target" "$root/image/build.sh" $target
  /usr/bin/rustc --edition 2024 -O -C panic=abort -C strip=symbols -C linker=aarch64-linux-gnu-gcc \
    -C target-feature=+crt-static --target $target \
    -o "$work/writer" "$here/writer.rs"
  local size
  size=$(stat -c %s "$binary")
  echo "aarch64, static, stripped: $size bytes, at most $size_max"
  readelf -d "$binary" | grep -q NEEDED && { echo "not static"; return 1; }
  [ "$size" -le $size_max ]
}

check() {
  python3 "$here/check.py" "$@" --work "$work" --bin "$binary" --writer "$work/writer"
}

node() {
  check node --pages 4
  check node --pages 16
}

# Both page sizes at the same time: each spends much of its time waiting for its guest.
resets() {
  local pages pids=() failed=0
  for pages in 4 16; do
    check resets --pages $pages --resets "${DRUPELET_RESETS:-5}" &
    pids+=($!)
  done
  for pages in "${pids[@]}"; do
    wait "$pages" || failed=1
  done
  return $failed
}

unit() {
  check unit
}

[ $# -gt 0 ] || set -- setup build node resets unit
for what; do
  began=$SECONDS
  echo "--- $what"
  "$what"
  echo "--- $what: $((SECONDS - began)) s"
done
