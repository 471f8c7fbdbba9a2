//! Tunes the C library's allocator once at start.

/// Keeps resident memory near what is in use (promise P4): one arena instead of one per thread, freed memory goes back
/// to the system, and large buffers are mapped by themselves so that freeing one never leaves a hole. Setting the
/// thresholds also stops glibc from raising them by itself after the first large buffer. Elsewhere than on glibc
/// nothing happens.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "mallopt has no safe binding")]
pub(crate) fn tune() {
    for (option, value) in [
        (libc::M_ARENA_MAX, 1),
        (libc::M_TRIM_THRESHOLD, 128 << 10),
        (libc::M_TOP_PAD, 64 << 10),
        (libc::M_MMAP_THRESHOLD, 128 << 10),
    ] {
        // SAFETY: mallopt takes two integers and touches only the allocator's parameters, under its own lock. It is
        // called before any other thread exists. A refused value changes nothing, so the result does not matter.
        unsafe {
            libc::mallopt(option, value);
        }
    }
}

/// See the glibc version.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn tune() {}
