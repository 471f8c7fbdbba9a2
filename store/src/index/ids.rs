//! Stream ids of a segment as bytes: zigzag deltas as LEB128 varints.

/// Appends `ids`.
pub(super) fn encode(ids: &[u32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ids.len() + 8);
    let mut last = 0i64;
    for &id in ids {
        let delta = i64::from(id) - last;
        let mut n = ((delta << 1) ^ (delta >> 63)) as u64;
        while n > 0x7f {
            out.push(n as u8 | 0x80);
            n >>= 7;
        }
        out.push(n as u8);
        last = i64::from(id);
    }
    out
}

/// The ids; `None` for bytes that [`encode`] did not write.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<u32>> {
    let mut ids = Vec::new();
    let (mut last, mut n, mut shift) = (0i64, 0u64, 0u32);
    for &b in bytes {
        if shift > 35 {
            return None;
        }
        n |= u64::from(b & 0x7f) << shift;
        if b & 0x80 != 0 {
            shift += 7;
            continue;
        }
        last += (n >> 1) as i64 ^ -((n & 1) as i64);
        ids.push(u32::try_from(last).ok()?);
        (n, shift) = (0, 0);
    }
    (shift == 0).then_some(ids)
}
