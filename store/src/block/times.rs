//! Timestamps as Rice-coded deltas.
//!
//! Nanosecond deltas of real logs are close to random: what counts is to spend no bit more than the magnitude needs.
//! Groups of [`GROUP`] deltas share a parameter, so bursts and silences each get theirs.
//!
//! ```text
//! column := unit(1) bits             unit 0..3: 1, 1_000, 1_000_000, 1_000_000_000 ns
//! group  := k(6 bits) delta x 64     delta: quotient in unary (ones, then a zero), k low bits;
//!                                    24 ones: 64 bits as they are
//! ```
//!
//! Values are offsets from the block's least time in units. A delta is taken modulo `span + 1` (span: greatest
//! offset), so the step back between two runs of a shared block is a positive number too.

const GROUP: usize = 64;
const ESCAPE: u32 = 24;
const UNITS: [u64; 4] = [1, 1_000, 1_000_000, 1_000_000_000];

/// Appends the encoding of `times`, all within `min..=max`.
pub(crate) fn encode(times: &[i64], min: i64, max: i64, out: &mut Vec<u8>) {
    let offset = |ts: i64| ts.wrapping_sub(min) as u64;
    let fits = |unit: u64| times.iter().all(|ts| offset(*ts).is_multiple_of(unit));
    let code = (1..UNITS.len())
        .rev()
        .find(|i| fits(UNITS[*i]))
        .unwrap_or(0);
    let unit = UNITS[code];
    let span = offset(max) / unit;
    out.push(code as u8);
    let mut bits = BitWriter { out, acc: 0, n: 0 };
    let mut last = 0u64;
    let mut deltas = [0u64; GROUP];
    for group in times.chunks(GROUP) {
        for (delta, ts) in deltas.iter_mut().zip(group) {
            let value = offset(*ts) / unit;
            *delta = if value >= last {
                value - last
            } else {
                // modulo span + 1, which may be 2^64
                value.wrapping_sub(last).wrapping_add(span).wrapping_add(1)
            };
            last = value;
        }
        write_group(&deltas[..group.len()], &mut bits);
    }
    bits.finish();
}

fn write_group(deltas: &[u64], bits: &mut BitWriter<'_>) {
    let sum: u128 = deltas.iter().map(|d| u128::from(*d)).sum();
    let mean = (sum / deltas.len() as u128) as u64;
    let top = 64 - mean.leading_zeros();
    let best = (top.saturating_sub(8)..=top.min(63)).min_by_key(|k| cost(deltas, *k));
    let k = best.unwrap_or(0);
    bits.put(u64::from(k), 6);
    for delta in deltas {
        let quotient = *delta >> k;
        if quotient >= u64::from(ESCAPE) {
            bits.put((1 << ESCAPE) - 1, ESCAPE);
            bits.put(*delta & 0xffff_ffff, 32);
            bits.put(*delta >> 32, 32);
        } else {
            bits.put((1 << quotient) - 1, quotient as u32 + 1);
            let low = *delta & ((1 << k) - 1);
            bits.put(low & 0xffff_ffff, k.min(32));
            bits.put(low >> 32, k.saturating_sub(32));
        }
    }
}

fn cost(deltas: &[u64], k: u32) -> u64 {
    let one = |delta: &u64| {
        let quotient = *delta >> k;
        if quotient >= u64::from(ESCAPE) {
            u64::from(ESCAPE) + 64
        } else {
            quotient + 1 + u64::from(k)
        }
    };
    deltas.iter().map(one).sum()
}

/// Decodes `count` timestamps within `min..=max` to the end of `out`.
pub(super) fn decode(
    stored: &[u8],
    count: usize,
    min: i64,
    max: i64,
    out: &mut Vec<i64>,
) -> Result<(), &'static str> {
    let (code, stored) = stored.split_first().ok_or("empty")?;
    let unit = *UNITS.get(usize::from(*code)).ok_or("unit")?;
    let span = (max.wrapping_sub(min) as u64) / unit;
    // Each delta takes a bit at least: a false count cannot make us reserve more than eight times the input.
    if count.div_ceil(8) > stored.len() {
        return Err("too short");
    }
    out.reserve_exact(count);
    let mut bits = BitReader {
        rest: stored,
        acc: 0,
        n: 0,
        short: false,
    };
    let mut last = 0u64;
    let mut left = count;
    while left > 0 {
        let k = bits.get(6) as u32;
        let group = left.min(GROUP);
        for _ in 0..group {
            let delta = bits.delta(k);
            let room = span - last;
            last = if delta <= room {
                last + delta
            } else {
                // wraps at span + 1; a delta above span is no encoding of ours
                delta - room - 1
            };
            if last > span {
                return Err("out of range");
            }
            out.push(min.wrapping_add((last * unit) as i64));
        }
        left -= group;
        if bits.short {
            return Err("too short");
        }
    }
    if bits.rest.is_empty() && bits.n < 8 {
        Ok(())
    } else {
        Err("bytes left over")
    }
}

struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    acc: u64,
    n: u32,
}

impl BitWriter<'_> {
    /// Appends the low `n` bits of `value`, at most 32; the others must be zero.
    fn put(&mut self, value: u64, n: u32) {
        self.acc |= value << self.n;
        self.n += n;
        while self.n >= 8 {
            self.out.push(self.acc as u8);
            self.acc >>= 8;
            self.n -= 8;
        }
    }

    fn finish(self) {
        if self.n > 0 {
            self.out.push(self.acc as u8);
        }
    }
}

struct BitReader<'a> {
    rest: &'a [u8],
    acc: u64,
    n: u32,
    short: bool,
}

impl BitReader<'_> {
    fn refill(&mut self) {
        if let Some((word, _)) = self.rest.split_first_chunk::<8>() {
            let take = (63 - self.n) / 8;
            let word = u64::from_le_bytes(*word) & ((1 << (take * 8)) - 1);
            self.acc |= word << self.n;
            self.n += take * 8;
            self.rest = &self.rest[take as usize..];
            return;
        }
        while self.n <= 55 {
            let Some((byte, rest)) = self.rest.split_first() else {
                return;
            };
            self.acc |= u64::from(*byte) << self.n;
            self.n += 8;
            self.rest = rest;
        }
    }

    /// Takes `n` bits, at most 32. Past the end: zeros, and `short` is set.
    fn get(&mut self, n: u32) -> u64 {
        if self.n < n {
            self.refill();
            if self.n < n {
                self.short = true;
                self.n = n;
            }
        }
        let value = self.acc & ((1 << n) - 1);
        self.acc >>= n;
        self.n -= n;
        value
    }

    fn delta(&mut self, k: u32) -> u64 {
        if self.n < ESCAPE {
            self.refill();
        }
        let ones = self.acc.trailing_ones().min(ESCAPE);
        if ones == ESCAPE {
            self.get(ESCAPE);
            return self.get(32) | (self.get(32) << 32);
        }
        self.get(ones + 1);
        let low = self.get(k.min(32));
        let high = self.get(k.saturating_sub(32));
        (u64::from(ones) << k) | low | (high << 32)
    }
}
