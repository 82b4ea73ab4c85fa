//! Reads a decision log, also one that is being written and one that a crash cut short.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;

use super::Record;

pub(super) const FILE_PREFIX: &str = "decisions-";
pub(super) const FILE_SUFFIX: &str = ".log";
/// Largest frame, in bytes, as written and as unpacked.
const FRAME_BYTES_MAX: u32 = 64 << 20;
const UNPACKED_BYTES_MAX: u64 = 512 << 20;

/// A log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the decision log in {dir} cannot be used")]
pub struct LogError {
    dir: String,
    source: io::Error,
}

impl LogError {
    pub(super) fn new(dir: &Path, source: io::Error) -> Self {
        let dir = dir.display().to_string();
        Self { dir, source }
    }
}

/// A part of a log that cannot be read; the rest of its file is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where the part begins, in bytes.
    pub at: u64,
    /// What is wrong.
    pub problem: String,
}

/// The files of a log, oldest first.
pub(super) fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let is_log = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(FILE_PREFIX) && name.ends_with(FILE_SUFFIX))
    };
    let entries = std::fs::read_dir(dir)?;
    let paths: io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths: Vec<PathBuf> = paths?.into_iter().filter(is_log).collect();
    paths.sort();
    Ok(paths)
}

/// When a file was begun, as its name says; a number behind it, of older releases, does not matter.
pub(super) fn stamp_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let digits = name.strip_prefix(FILE_PREFIX)?;
    let end = digits.find(|c: char| !c.is_ascii_digit())?;
    digits[..end].parse().ok()
}

/// Gives every record of a log in the order of writing, and what could not be read.
///
/// # Errors
/// When the directory or a file of it cannot be opened.
pub fn read(dir: &Path, mut see: impl FnMut(Record)) -> Result<Vec<Damage>, LogError> {
    let mut damages = Vec::new();
    for path in files(dir).map_err(|source| LogError::new(dir, source))? {
        let file = match File::open(&path) {
            Ok(file) => file,
            // Removed by the writer since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(LogError::new(dir, source)),
        };
        if let Err((at, error)) = read_file(BufReader::new(file), &mut see) {
            damages.push(Damage {
                file: path,
                at,
                problem: error.to_string(),
            });
        }
    }
    Ok(damages)
}

fn read_file(mut file: impl Read, see: &mut impl FnMut(Record)) -> Result<(), (u64, io::Error)> {
    let mut at = 0;
    while let Some((records, len)) = frame(&mut file).map_err(|error| (at, error))? {
        records.into_iter().for_each(&mut *see);
        at += len;
    }
    Ok(())
}

/// The next frame with its length; nothing at the end, also when a crash cut the last one short.
fn frame(file: &mut impl Read) -> io::Result<Option<(Vec<Record>, u64)>> {
    let mut head = [0; 4];
    if !filled(file, &mut head)? {
        return Ok(None);
    }
    let len = u32::from_le_bytes(head);
    if len == 0 || len > FRAME_BYTES_MAX {
        return Err(io::Error::other(format!("a frame of {len} bytes")));
    }
    let mut packed = vec![0; len as usize];
    if !filled(file, &mut packed)? {
        return Ok(None);
    }
    let mut plain = Vec::new();
    GzDecoder::new(packed.as_slice())
        .take(UNPACKED_BYTES_MAX)
        .read_to_end(&mut plain)?;
    let records = rmp_serde::from_slice(&plain).map_err(io::Error::other)?;
    Ok(Some((records, u64::from(len) + 4)))
}

/// Fills the buffer; false when the file ends before.
fn filled(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
