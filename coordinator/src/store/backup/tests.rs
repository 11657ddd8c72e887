//! What was written is read, and nothing else is.

use bytes::Bytes;
use parallax_proto::store::backup_record::Record;
use prost::Message as _;

use super::super::rows::Row;
use super::super::snapshot::format::Frames;
use super::super::snapshot::rows_of;
use super::*;

fn segment(id: u64, content: &[u8]) -> store::BackupSegment {
    store::BackupSegment {
        tier: (id % 3) as u32,
        id,
        sha256: ring::digest::digest(&ring::digest::SHA256, content).as_ref().to_vec().into(),
        bytes: content.len() as u64,
        min_start_mesh_ns: 60 * id as i64,
        max_end_mesh_ns: 60 * id as i64 + 60,
        items: id,
    }
}

/// Three segments in pieces of 7 bytes.
fn segments() -> Vec<(store::BackupSegment, Vec<u8>)> {
    let content = |id: u64| (0..30 * id).map(|at| (at * id) as u8).collect::<Vec<u8>>();
    (1..4).map(|id| (segment(id, &content(id)), content(id))).collect()
}

fn header() -> store::BackupHeader {
    store::BackupHeader {
        format: VERSION,
        mesh: "acme".to_owned(),
        revision: 7,
        level: 1,
        history_segments: 3,
        history_bytes: 180,
        ..Default::default()
    }
}

fn rows() -> Vec<Row> {
    (0..50).map(|n| Row { key: format!("k{n}").into(), value: vec![n; 90].into() }).collect()
}

fn written() -> Vec<u8> {
    written_with(header(), &segments())
}

fn written_with(header: store::BackupHeader, of: &[(store::BackupSegment, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&mut bytes, header).unwrap();
    writer.rows(&mut rows_of(&rows())).unwrap();
    for (segment, content) in of {
        let pieces = &mut |put: &mut write::Put<'_>| {
            content.chunks(7).try_for_each(|piece| put(Bytes::copy_from_slice(piece)))
        };
        writer.segment(segment.clone(), pieces).unwrap();
    }
    assert_eq!(writer.end().unwrap(), 50);
    bytes
}

type Taken = (Header, Vec<Row>, Vec<(store::BackupSegment, Vec<u8>)>, Summary);

fn all(bytes: &[u8]) -> Result<Taken, BackupError> {
    let (header, mut contents) = read(bytes, 1)?;
    let (mut rows, mut segments) = (Vec::new(), Vec::new());
    for item in &mut contents {
        match item? {
            Item::Row(row) => rows.push(row),
            Item::Begin(segment) => segments.push((segment, Vec::new())),
            Item::Piece(piece) => segments.last_mut().unwrap().1.extend_from_slice(&piece),
            Item::End => {}
        }
    }
    Ok((header, rows, segments, contents.summary()))
}

#[test]
fn what_was_written_is_read() {
    let (told, found, content, summary) = all(&written()).unwrap();
    assert_eq!((told, found, content), (Header(header()), rows(), segments()));
    assert_eq!((summary.rows, summary.history()), (50, (3, 180)));
    let hours = &summary.tiers[2];
    assert_eq!((hours.segments, hours.bytes, hours.from_ns, hours.to_ns), (1, 60, 120, 180));
}

#[test]
fn a_torn_or_altered_file_is_refused() {
    let whole = written();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        assert!(all(&bytes).is_err(), "byte {at} of {}", whole.len());
        assert!(all(&whole[..at]).is_err(), "cut to {at} of {}", whole.len());
    }
    let longer = [&whole[..], &[0]].concat();
    assert!(matches!(all(&longer), Err(BackupError::Damaged(_))));
}

/// Frames whose checksums all fit, and whose meaning does not.
fn forged(records: &[Record], end: (u64, u32)) -> Result<Taken, BackupError> {
    let mut bytes = Vec::new();
    let mut frames = Frames::begin(&mut bytes, MAGIC).unwrap();
    let history = store::BackupHeader { history_segments: 1, history_bytes: 5, ..header() };
    frames.put(&history).unwrap();
    for record in records {
        frames.put(&store::BackupRecord { record: Some(record.clone()) }).unwrap();
    }
    frames.end(end.0, end.1).unwrap();
    all(&bytes)
}

/// Begin, records and a fitting end.
fn section(
    kind: store::BackupSectionKind,
    segment: Option<store::BackupSegment>,
    of: &[Record],
) -> Vec<Record> {
    let mut sum = crc32fast::Hasher::new();
    let mut bytes = 0;
    for record in of {
        let one = store::BackupRecord { record: Some(record.clone()) }.encode_to_vec();
        sum.update(&one);
        bytes += one.len() as u64;
    }
    let begin = Record::Begin(store::BackupSection { kind: kind.into(), segment });
    let (records, crc32) = (of.len() as u64, sum.finalize());
    let end = Record::End(store::BackupSectionEnd { records, bytes, crc32 });
    [&[begin][..], of, &[end]].concat()
}

#[test]
fn sections_that_do_not_belong_together_are_refused_each_in_its_words() {
    use store::BackupSectionKind::{History, Replicated, Unspecified};
    let chunk = |number| Record::Rows(store::SnapshotChunk { number, rows: Vec::new() });
    let piece = |bytes: &'static [u8]| Record::Piece(Bytes::from_static(bytes));
    let rows = section(Replicated, None, &[chunk(0)]);
    let history = section(History, Some(segment(1, b"hello")), &[piece(b"hel"), piece(b"lo")]);
    let sound = [rows.clone(), history.clone()].concat();
    assert_eq!(forged(&sound, (0, 2)).unwrap().2.len(), 1);
    let without_end = |mut section: Vec<Record>| {
        section.pop();
        section
    };
    let other = |bytes, sha: &'static [u8]| {
        let segment = store::BackupSegment { bytes, ..segment(1, sha) };
        section(History, Some(segment), &[piece(b"hello")])
    };
    let nowhere =
        section(History, Some(store::BackupSegment { tier: 9, ..segment(1, b"hello") }), &[]);
    let cases: Vec<(Vec<Record>, (u64, u32), &str)> = vec![
        (sound.clone(), (1, 2), "totals"),
        (sound, (0, 3), "totals"),
        (rows.clone(), (0, 1), "totals"),
        ([rows.clone(), history.clone(), history.clone()].concat(), (0, 3), "totals"),
        ([history.clone(), rows.clone()].concat(), (0, 2), "out of order"),
        ([rows.clone(), rows.clone()].concat(), (0, 2), "out of order"),
        ([rows.clone(), without_end(history.clone())].concat(), (0, 2), "totals"),
        ([rows.clone(), vec![piece(b"x")]].concat(), (0, 1), "no section"),
        ([rows.clone(), other(4, b"hello")].concat(), (0, 2), "longer"),
        ([rows.clone(), other(6, b"hello")].concat(), (0, 2), "announced"),
        ([rows.clone(), other(5, b"hellO")].concat(), (0, 2), "announced"),
        ([rows.clone(), nowhere].concat(), (0, 2), "none of ours"),
        (section(Replicated, None, &[chunk(1)]), (0, 1), "chunk 0"),
        (section(Replicated, None, &[piece(b"x")]), (0, 1), "another section"),
        (section(Unspecified, None, &[]), (0, 1), "a section 0"),
    ];
    for (records, end, words) in cases {
        let error = forged(&records, end).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
    let mut wrong_sum = rows;
    if let Some(Record::End(end)) = wrong_sum.last_mut() {
        end.crc32 ^= 1;
    }
    let error = forged(&wrong_sum, (0, 1)).unwrap_err().to_string();
    assert!(error.contains("checksum of a section"), "{error}");
}

#[test]
fn one_of_a_newer_level_or_another_format_is_refused_in_words() {
    let newer = store::BackupHeader { level: 9, ..header() };
    let error = all(&written_with(newer, &segments())).unwrap_err();
    assert!(error.to_string().contains("needs feature level 9"), "{error}");
    let mut bytes = Vec::new();
    let mut frames = Frames::begin(&mut bytes, MAGIC).unwrap();
    frames.put(&store::BackupHeader { format: 1, ..header() }).unwrap();
    frames.end(0, 0).unwrap();
    let error = all(&bytes).unwrap_err();
    assert!(error.to_string().contains("has format 1, and this version reads"), "{error}");
}
