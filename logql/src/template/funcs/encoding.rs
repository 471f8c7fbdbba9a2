//! Encodings: of URLs and base64.

use crate::format::quote;
use crate::template::call::{Args, Env, Function, Outcome, Param, fixed};
use crate::template::value::Value;

pub(in crate::template) static ENCODING: [Function; 2] = [
    fixed("b64enc", &[Param::Text], encode),
    fixed("b64dec", &[Param::Text], decode),
];

/// Appends a text as it stands in the query of a URL.
pub(in crate::template) fn query_escape(out: &mut Vec<u8>, text: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(*byte),
            b' ' => out.push(b'+'),
            _ => {
                let digit = |value: u8| DIGITS[usize::from(value)];
                out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
}

pub(super) fn url_encode<'a>(env: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    let text = args.text(0);
    env.charge_bytes(text.len() * 4)?;
    let mut out = env.scratch.take();
    query_escape(&mut out, text);
    env.check_length(out.len())?;
    Ok(Value::owned(out))
}

pub(super) fn url_decode<'a>(env: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    let text = args.text(0);
    env.charge_bytes(text.len())?;
    let mut out = env.scratch.take();
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digit = |i: usize| char::from(*text.get(i)?).to_digit(16);
                let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
                    let escape = quote(&text[at..text.len().min(at + 3)]);
                    return Err(format!("invalid URL escape {escape}"));
                };
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            _ => out.push(*byte),
        }
        at += 1;
    }
    Ok(Value::owned(out))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn encode<'a>(env: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    let text = args.text(0);
    let len = text.len().div_ceil(3) * 4;
    env.check_length(len)?;
    env.charge_bytes(len)?;
    let mut out = env.scratch.take();
    for group in text.chunks(3) {
        let mut bits = 0;
        for i in 0..3 {
            bits = bits << 8 | u32::from(group.get(i).copied().unwrap_or(0));
        }
        for i in 0..4 {
            out.push(if i > group.len() {
                b'='
            } else {
                ALPHABET[(bits >> (18 - 6 * i) & 63) as usize]
            });
        }
    }
    Ok(Value::owned(out))
}

/// Decodes; a text that does not is answered with the fault as its value, as Loki does.
fn decode<'a>(env: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    let text = args.text(0);
    env.charge_bytes(text.len())?;
    let mut out = env.scratch.take();
    if let Err(at) = decode_into(text, &mut out) {
        out.clear();
        out.extend_from_slice(format!("illegal base64 data at input byte {at}").as_bytes());
    }
    Ok(Value::owned(out))
}

fn sextet(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// `Err` is the offset of the fault as Go reports it. Line ends are passed over, missing padding is added unless one byte
/// is over.
fn decode_into(text: &[u8], out: &mut Vec<u8>) -> Result<(), usize> {
    let padding = match text.len() % 4 {
        0 | 1 => 0,
        rest => 4 - rest,
    };
    let mut input = text
        .iter()
        .copied()
        .chain(std::iter::repeat_n(b'=', padding))
        .enumerate()
        .filter(|(_, b)| !matches!(b, b'\r' | b'\n'))
        .peekable();
    let end = text.len() + padding;
    while input.peek().is_some() {
        let mut bits = 0;
        let mut count = 0;
        while count < 4 {
            let Some((at, byte)) = input.next() else {
                return Err(end - count);
            };
            if let Some(value) = sextet(byte) {
                bits = bits << 6 | value;
                count += 1;
                continue;
            }
            if byte != b'=' || count < 2 {
                return Err(at);
            }
            if count == 2 {
                match input.next() {
                    Some((_, b'=')) => {}
                    Some((at, _)) => return Err(at - 1),
                    None => return Err(end),
                }
            }
            if let Some((at, _)) = input.next() {
                return Err(at);
            }
            let whole = bits << (6 * (4 - count));
            out.extend_from_slice(&whole.to_be_bytes()[1..count]);
            return Ok(());
        }
        out.extend_from_slice(&bits.to_be_bytes()[1..]);
    }
    Ok(())
}
