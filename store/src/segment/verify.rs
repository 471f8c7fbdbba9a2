//! Reading all of a segment to see whether it is whole.

use disk::Disk;
use std::path::Path;

use super::read::Side;
use super::{Probe, Reader, SegmentError};
use crate::block::{Column, Decoder, Metadata};

/// What [`verify`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Entries in blocks that are whole.
    pub entries: u64,
    /// Blocks read.
    pub blocks: u64,
    /// What is damaged, one text each; empty when all is well.
    pub damage: Vec<String>,
}

/// Reads and decodes every section, both copies, and every column of a segment.
///
/// # Errors
/// As [`Reader::open`]; damage behind that is in the report.
pub fn verify(disk: &dyn Disk, path: &Path) -> Result<Report, SegmentError> {
    let reader = Reader::open(disk, path)?;
    let mut report = Report::default();
    check_copies(&reader, &mut report);
    let mut chunks = match reader.chunks() {
        Ok(chunks) => chunks,
        Err(error) => {
            note(&mut report, &error);
            return Ok(report);
        }
    };
    // They exist once.
    if let Err(error) = reader.minutes(&chunks) {
        note(&mut report, &error);
    }
    if let Err(error) = reader.candidates(&Probe::nothing()) {
        note(&mut report, &error);
    }
    chunks.sort_by_key(|c| c.block_offset);
    chunks.dedup_by_key(|c| c.block_offset);
    let mut decoder = Decoder::new().map_err(|source| SegmentError::Io {
        path: path.to_owned(),
        source,
    })?;
    let mut bytes = Vec::new();
    for chunk in &chunks {
        report.blocks += 1;
        let read = reader.block(chunk, &mut bytes).and_then(|header| {
            decode_all(&mut decoder, &header, &bytes).map_err(|source| SegmentError::Block {
                path: path.to_owned(),
                offset: chunk.block_offset,
                source,
            })?;
            Ok(header.entries)
        });
        match read {
            Ok(entries) => report.entries += u64::from(entries),
            Err(error) => note(&mut report, &error),
        }
    }
    Ok(report)
}

fn note(report: &mut Report, error: &SegmentError) {
    report.damage.push(error.to_string());
}

/// Queries make do with one good copy; a second fault would then take it away, so each one is told.
fn check_copies(reader: &Reader, report: &mut Report) {
    let copies = match reader.copies() {
        Ok(copies) => copies,
        Err(error) => return note(report, &error),
    };
    for (wanted, place) in [(Side::Start, "start"), (Side::End, "end")] {
        let Some((_, copy)) = copies.iter().find(|(which, _)| *which == wanted) else {
            let path = reader.path().display();
            let text = format!("`{path}` is damaged: summary (the copy at the {place})");
            report.damage.push(text);
            continue;
        };
        let checks = [
            copy.streams().map(drop),
            copy.chunks().map(drop),
            copy.metadata().map(drop),
            copy.positions().map(drop),
        ];
        for error in checks.into_iter().filter_map(Result::err) {
            let text = format!("{error} (the copy at the {place})");
            report.damage.push(text);
        }
    }
}

fn decode_all(
    decoder: &mut Decoder,
    header: &crate::block::Header,
    bytes: &[u8],
) -> Result<(), crate::block::BlockError> {
    decoder.times(
        header,
        header.column(bytes, Column::Times)?,
        &mut Vec::new(),
    )?;
    let metadata = header.column(bytes, Column::Metadata)?;
    decoder.metadata(header, metadata, &mut Metadata::default())?;
    let mut lines = Vec::new();
    decoder.lines(header, header.column(bytes, Column::Lines)?, &mut lines)?;
    let lengths = header.column(bytes, Column::Lengths)?;
    decoder.lengths(header, lengths, &lines, &mut Vec::new())
}
