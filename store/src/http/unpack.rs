//! How a push body is packed, and unpacking it within a limit.

use std::io::{self, Read};

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use hyper::header::{self, HeaderMap};
use wire::push::snappy::{self, SnappyError};

/// Bytes to begin with when the size is not known.
const FIRST: usize = 64 << 10;

/// What the headers say of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Envelope {
    pub(super) json: bool,
    packed: Packed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packed {
    No,
    Gzip,
    /// Raw or with zlib's wrapper.
    Deflate,
    Zstd,
}

/// Why a body cannot be unpacked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// 400.
    Bad(String),
    /// 413: more than allowed; the bytes found, which may be only one more.
    TooLarge(u64),
}

impl Envelope {
    /// Reads `Content-Encoding` and `Content-Type`. Any type that is not JSON means protobuf, as in Loki; more encodings
    /// than Loki has are taken, in any case.
    ///
    /// # Errors
    /// The text of a 400.
    pub(super) fn of(headers: &HeaderMap) -> Result<Envelope, String> {
        let text = |name| {
            let value = headers.get(name).map(|v| v.to_str().unwrap_or("\u{fffd}"));
            value.unwrap_or_default().trim()
        };
        let encoding = text(header::CONTENT_ENCODING);
        let packed = match encoding.to_ascii_lowercase().as_str() {
            // Protobuf is a snappy block inside whatever this header says.
            "" | "identity" | "snappy" => Packed::No,
            "gzip" | "x-gzip" => Packed::Gzip,
            "deflate" | "zlib" => Packed::Deflate,
            "zstd" => Packed::Zstd,
            _ => return Err(format!("Content-Encoding {encoding:?} not supported")),
        };
        let kind = text(header::CONTENT_TYPE).split(';').next();
        let kind = kind.unwrap_or_default().trim();
        if kind.is_empty() {
            return Err("mime: no media type".into());
        }
        Ok(Envelope {
            json: kind.eq_ignore_ascii_case("application/json"),
            packed,
        })
    }

    /// JSON or the protobuf message. At most two buffers of `limit` bytes are in memory at once.
    ///
    /// # Errors
    /// See [`Fault`].
    pub(super) fn unpack(self, body: Vec<u8>, limit: usize) -> Result<Vec<u8>, Fault> {
        let body = match self.packed {
            Packed::No => body,
            Packed::Gzip => inflate(MultiGzDecoder::new(&body[..]), "gzip", limit)?,
            Packed::Deflate if is_zlib(&body) => {
                inflate(ZlibDecoder::new(&body[..]), "zlib", limit)?
            }
            Packed::Deflate => inflate(DeflateDecoder::new(&body[..]), "deflate", limit)?,
            Packed::Zstd => zstd(&body, limit)?,
        };
        if self.json {
            return Ok(body);
        }
        snappy::decompress(&body, limit).map_err(|error| match error {
            SnappyError::Corrupt => Fault::Bad(error.to_string()),
            SnappyError::TooLarge(n) => Fault::TooLarge(n),
        })
    }
}

/// Two bytes that no encoder of raw deflate begins with.
fn is_zlib(body: &[u8]) -> bool {
    let [first, second, ..] = body else {
        return false;
    };
    first & 0x0f == 8 && (u16::from(*first) << 8 | u16::from(*second)) % 31 == 0
}

fn inflate(from: impl Read, name: &str, limit: usize) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::with_capacity(FIRST.min(limit));
    match from.take(limit as u64 + 1).read_to_end(&mut out) {
        Ok(n) if n > limit => Err(Fault::TooLarge(n as u64)),
        Ok(_) => Ok(out),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            Err(Fault::Bad("unexpected EOF".into()))
        }
        Err(e) => Err(Fault::Bad(format!("{name}: {e}"))),
    }
}

/// The output is the window, so that no frame can ask for a larger one.
fn zstd(body: &[u8], limit: usize) -> Result<Vec<u8>, Fault> {
    let bad = |e: io::Error| Fault::Bad(format!("zstd: {e}"));
    match zstd::zstd_safe::get_frame_content_size(body) {
        Ok(Some(stated)) if stated > limit as u64 => return Err(Fault::TooLarge(stated)),
        Ok(_) => {}
        Err(_) => return Err(Fault::Bad("zstd: not a frame".into())),
    }
    let mut decompressor = zstd::bulk::Decompressor::new().map_err(bad)?;
    match decompressor.decompress(body, limit) {
        Ok(out) => Ok(out),
        Err(e) if e.to_string().contains("too small") => Err(Fault::TooLarge(limit as u64 + 1)),
        Err(e) => Err(bad(e)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use hyper::header::HeaderValue;

    use super::*;

    fn envelope(encoding: &str, kind: &str) -> Result<Envelope, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (header::CONTENT_ENCODING, encoding),
            (header::CONTENT_TYPE, kind),
        ] {
            if !value.is_empty() {
                headers.insert(name, HeaderValue::from_str(value).unwrap());
            }
        }
        Envelope::of(&headers)
    }

    /// The same bytes in every encoding.
    fn packed(raw: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let fast = Compression::fast();
        let mut gzip = GzEncoder::new(Vec::new(), fast);
        let mut zlib = ZlibEncoder::new(Vec::new(), fast);
        let mut deflate = DeflateEncoder::new(Vec::new(), fast);
        for out in [&mut gzip as &mut dyn Write, &mut zlib, &mut deflate] {
            out.write_all(raw).unwrap();
        }
        let zlib = zlib.finish().unwrap();
        vec![
            ("", raw.to_vec()),
            ("identity", raw.to_vec()),
            ("snappy", raw.to_vec()),
            ("GZIP", gzip.finish().unwrap()),
            ("deflate", zlib.clone()),
            ("zlib", zlib),
            ("deflate", deflate.finish().unwrap()),
            ("zstd", zstd::encode_all(raw, 1).unwrap()),
        ]
    }

    #[test]
    fn bodies_are_unpacked_within_the_limit() {
        let raw = b"0123456789".repeat(5000);
        for (encoding, body) in packed(&raw) {
            let json = envelope(encoding, "Application/JSON; charset=utf-8").unwrap();
            assert!(json.json);
            assert_eq!(
                json.unpack(body.clone(), raw.len()),
                Ok(raw.clone()),
                "{encoding}"
            );
            let large = json.unpack(body.clone(), raw.len() - 1);
            if !matches!(encoding, "" | "identity" | "snappy") {
                let n = raw.len() as u64;
                assert!(
                    matches!(large, Err(Fault::TooLarge(m)) if m == n),
                    "{encoding}: {large:?}"
                );
                let half = json.unpack(body[..body.len() / 2].to_vec(), raw.len());
                assert!(matches!(half, Err(Fault::Bad(_))), "{encoding}: {half:?}");
                let noise = json.unpack(b"\xfe\xff noise".to_vec(), 100);
                assert!(matches!(noise, Err(Fault::Bad(_))), "{encoding}: {noise:?}");
            }
        }
        let block = snap::raw::Encoder::new().compress_vec(&raw).unwrap();
        for (encoding, body) in packed(&block) {
            let proto = envelope(encoding, "application/x-protobuf").unwrap();
            assert_eq!(
                proto.unpack(body.clone(), raw.len()),
                Ok(raw.clone()),
                "{encoding}"
            );
            let large = proto.unpack(body, raw.len() - 1);
            assert_eq!(large, Err(Fault::TooLarge(raw.len() as u64)), "{encoding}");
        }
    }

    #[test]
    fn envelopes_have_lokis_texts() {
        assert_eq!(envelope("", ""), Err("mime: no media type".into()));
        assert_eq!(envelope("", " ; x=y"), Err("mime: no media type".into()));
        let want = "Content-Encoding \"br\" not supported";
        assert_eq!(envelope("br", "application/json"), Err(want.into()));
        assert!(!envelope("", "text/plain").unwrap().json);
        let proto = envelope("", "application/x-protobuf").unwrap();
        let corrupt = Fault::Bad("snappy: corrupt input".into());
        assert_eq!(proto.unpack(b"".to_vec(), 10), Err(corrupt));
    }

    #[test]
    fn p9_a_bomb_stays_packed() {
        // Sixteen MiB of zeros that no header announces.
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        let zeros = vec![0; 1 << 20];
        for _ in 0..16 {
            gzip.write_all(&zeros).unwrap();
        }
        let json = envelope("gzip", "application/json").unwrap();
        let got = json.unpack(gzip.finish().unwrap(), 1 << 20);
        assert_eq!(got, Err(Fault::TooLarge((1 << 20) + 1)));
    }
}
