//! `ip("...")`: addresses in a line or value.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address, a block or a range, as first and last address. Addresses of the two families never equal each other.
#[derive(Debug, Clone)]
pub(super) struct Addresses {
    is_v6: bool,
    /// Absent: no address in a line can match (one with a zone).
    range: Option<(u128, u128)>,
}

fn number(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(address) => (false, u128::from(u32::from(address))),
        IpAddr::V6(address) => (true, u128::from(address)),
    }
}

impl Addresses {
    /// Reads a pattern.
    pub(super) fn new(pattern: &[u8]) -> Result<Self, String> {
        let invalid = || format!("ip: invalid pattern: {}", crate::format::quote(pattern));
        let text = str::from_utf8(pattern).map_err(|_| invalid())?;
        single(text)
            .or_else(|| block(text))
            .or_else(|| range(text))
            .ok_or_else(invalid)
    }

    /// Whether one of the addresses is in a text.
    pub(super) fn are_in(&self, text: &[u8]) -> bool {
        let mut at = 0;
        while at < text.len() {
            let len = match candidate(&text[at..]) {
                None => 0,
                Some(Family::V4) => {
                    let len = run(&text[at..], |b| b.is_ascii_digit() || b == b'.');
                    if self.holds(&text[at..at + len]) {
                        return true;
                    }
                    len
                }
                Some(Family::V6) => {
                    let len = run(&text[at..], |b| {
                        b.is_ascii_hexdigit() || b == b':' || b == b'.'
                    });
                    if self.holds(&text[at..at + len]) {
                        return true;
                    }
                    len
                }
            };
            // The byte after a run is skipped too.
            at += len + 1;
        }
        false
    }

    fn holds(&self, text: &[u8]) -> bool {
        let Some((first, last)) = self.range else {
            return false;
        };
        let address = str::from_utf8(text).ok().and_then(parse);
        address.is_some_and(|address| {
            let (is_v6, number) = number(address);
            is_v6 == self.is_v6 && (first..=last).contains(&number)
        })
    }
}

fn run(text: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    text.iter().take_while(|b| belongs(**b)).count()
}

enum Family {
    V4,
    V6,
}

/// Whether an address may begin at the head of a text.
fn candidate(text: &[u8]) -> Option<Family> {
    let head = *text.first()?;
    if head.is_ascii_digit() && text.len() > 3 && text[1..4].contains(&b'.') {
        return Some(Family::V4);
    }
    let hex = |i: usize| text.get(i).is_some_and(u8::is_ascii_hexdigit);
    let colon = |i: usize| text.get(i) == Some(&b':');
    if head == b':' {
        return (colon(1) && hex(2)).then_some(Family::V6);
    }
    let digits = (0..4).take_while(|i| hex(*i)).count();
    (digits > 0 && colon(digits)).then_some(Family::V6)
}

fn parse(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    } else {
        text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
    }
}

fn single(text: &str) -> Option<Addresses> {
    if let Some((address, zone)) = text.split_once('%') {
        let is_v6 = parse(address)?.is_ipv6();
        return (is_v6 && !zone.is_empty()).then_some(Addresses { is_v6, range: None });
    }
    let (is_v6, number) = number(parse(text)?);
    Some(Addresses {
        is_v6,
        range: Some((number, number)),
    })
}

fn block(text: &str) -> Option<Addresses> {
    let (address, bits) = text.rsplit_once('/')?;
    let (is_v6, number) = number(parse(address)?);
    let plain = bits.bytes().all(|b| b.is_ascii_digit());
    if !plain || bits.len() > 1 && bits.starts_with('0') {
        return None;
    }
    let bits: u32 = bits.parse().ok()?;
    let width = if is_v6 { 128 } else { 32 };
    let free = width - Some(bits).filter(|bits| *bits <= width)?;
    let mask = 1u128.checked_shl(free).map_or(u128::MAX, |bit| bit - 1);
    Some(Addresses {
        is_v6,
        range: Some((number & !mask, number | mask)),
    })
}

fn range(text: &str) -> Option<Addresses> {
    let (first, last) = text.split_once('-')?;
    let (is_v6, first) = number(parse(first)?);
    let (same, last) = number(parse(last)?);
    (is_v6 == same && first <= last).then_some(Addresses {
        is_v6,
        range: Some((first, last)),
    })
}

#[cfg(test)]
mod tests {
    use super::Addresses;

    fn check(pattern: &str, text: &str, expected: bool) {
        let addresses = Addresses::new(pattern.as_bytes()).expect(pattern);
        assert_eq!(
            addresses.are_in(text.as_bytes()),
            expected,
            "{pattern} in {text:?}"
        );
    }

    #[test]
    fn addresses_in_texts() {
        for text in ["10.1.2.3", "x 10.1.2.3,", "from=10.1.2.3:80", "[10.1.2.3]"] {
            check("10.1.2.3", text, true);
            check("10.0.0.0/8", text, true);
            check("10.1.2.0-10.1.2.3", text, true);
            check("10.1.2.4", text, false);
            check("11.0.0.0/8", text, false);
            check("0.0.0.0/0", text, true);
            check("::/0", text, false);
        }
        check("0.0.0.0/0", "", false);
        check("0.0.0.0/0", "1.2.3.4.5", false);
        check("0.0.0.0/0", "256.1.1.1", false);
        check("0.0.0.0/0", "01.2.3.4", false);
        check("0.0.0.0/0", "version 1.2.3", false);
        check("0.0.0.0/0", "1.2", false);
        check("5.6.7.8", "1.2.3 5.6.7.8", true);
        // After a run one byte is skipped, whatever it is.
        check("5.6.7.8", "1.2.3x5.6.7.8", true);
        check("5.6.7.8", "fe80::1-5.6.7.8", true);
        check("2001:db8::/32", "client 2001:db8::1 left", true);
        check("2001:db8::/32", "client 2001:db9::1 left", false);
        check("::1", "listens on ::1", true);
        check("fe80::1", "a fe80::1", true);
        check("::ffff:10.0.0.1", "::ffff:10.0.0.1", true);
        check("10.0.0.1", "::ffff:10.0.0.1", false);
        check("::ffff:10.0.0.1", "10.0.0.1", false);
        check("fe80::1%eth0", "fe80::1", false);
        check("2001:db8::1-2001:db8::9", "x 2001:db8::5", true);
        check("::/0", "mac 00:11:22:33:44:55", false);
    }

    #[test]
    fn bad_patterns() {
        for pattern in [
            "",
            "x",
            "10.0.0",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.9-10.0.0.1",
            "10.0.0.1 - 10.0.0.2",
            "10.0.0.1-::1",
            "fe80::1%",
            "10.0.0.1%x",
        ] {
            let error = Addresses::new(pattern.as_bytes()).expect_err(pattern);
            assert_eq!(error, format!("ip: invalid pattern: \"{pattern}\""));
        }
    }
}
