#!/usr/bin/env bash
# The binary as it is shipped: static, so that it runs on any Linux, and with less memory mapped than a dynamic one.
#
#   image/build.sh [TARGET]      x86_64-unknown-linux-gnu or aarch64-unknown-linux-gnu; without one, that of this machine
#
# Prints the binary's path on its last line. Another architecture needs its standard library for Rust and its C compiler
# (docs/INSTALL.md). RUSTC, CARGO and CARGO_TARGET_DIR as usual.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
host=$("${RUSTC:-rustc}" -vV | sed -n 's/^host: //p')
target=${1:-$host}
name=${target//-/_}
cc=cc
if [ "$target" != "$host" ]; then
  cross=${target/-unknown/}
  cc=$cross-gcc
  export "CARGO_TARGET_${name^^}_LINKER=$cc" "CC_$name=$cc" "AR_$name=$cross-ar"
fi
flags="-C target-feature=+crt-static"
# Relative relocations map 360 kB less. A static program relocates itself; the C library's start code knows how since 2.36.
if [ "$(echo '#include <features.h>' | $cc -E -dM - | sed -n 's/#define __GLIBC_MINOR__ //p')" -ge 36 ]; then
  flags+=" -C link-arg=-Wl,-z,pack-relative-relocs"
fi
export "CARGO_TARGET_${name^^}_RUSTFLAGS=$flags"
cd "$root"
# --target even for this machine: build scripts and macros cannot be static.
env -u RUSTFLAGS "${CARGO:-cargo}" build --locked --release --target "$target" --bin drupelet
binary=${CARGO_TARGET_DIR:-$root/target}/$target/release/drupelet
if readelf -d "$binary" | grep -q NEEDED; then
  echo "$binary is not static" >&2
  exit 1
fi
echo "$binary"
