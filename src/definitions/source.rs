//! The files that definitions come from, read as one text.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::diagnostics::{Diagnostic, Diagnostics};

/// All files together may not be larger.
pub const MAX_BYTES: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {path}: {cause}")]
    Read { path: PathBuf, cause: std::io::Error },
    #[error("{path} has no file that ends in .toml")]
    EmptyFolder { path: PathBuf },
    #[error("{path}: definitions have at most {MAX_BYTES} bytes")]
    TooLarge { path: PathBuf },
    #[error("{path} is not valid UTF-8")]
    NotUtf8 { path: PathBuf },
}

/// One text made of files, one after the other.
///
/// A folder compiles from the concatenation of its files, so that the text a
/// plan keeps compiles to the same plan again.
#[derive(Debug)]
pub(super) struct Source {
    /// Where paths in the text count from; empty: the working directory.
    directory: PathBuf,
    text: String,
    files: Vec<File>,
}

#[derive(Debug)]
struct File {
    name: String,
    /// Offset of the file's first byte.
    start: usize,
}

impl Source {
    /// A text without a file.
    pub(super) fn inline(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_BYTES {
            return Err(Error::TooLarge { path: PathBuf::from("the text") });
        }
        Ok(Self { directory: PathBuf::new(), text: text.to_owned(), files: Vec::new() })
    }

    /// A file, or every `*.toml` in a folder by name.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let (directory, paths) = match path.is_dir() {
            true => (path.to_owned(), toml_files(path)?),
            false => (path.parent().unwrap_or(Path::new("")).to_owned(), vec![path.to_owned()]),
        };
        let mut source = Self { directory, text: String::new(), files: Vec::new() };
        for path in paths {
            let text = read_bounded(&path)?;
            if source.text.len() + text.len() > MAX_BYTES {
                return Err(Error::TooLarge { path });
            }
            if !source.text.is_empty() && !source.text.ends_with('\n') {
                source.text.push('\n');
            }
            let start = source.text.len();
            source.files.push(File { name: path.display().to_string(), start });
            source.text.push_str(&text);
        }
        Ok(source)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Where each file stands in the text.
    pub(super) fn file_ranges(&self) -> impl Iterator<Item = Range<usize>> {
        let starts: Vec<usize> = match self.files.as_slice() {
            [] => vec![0],
            files => files.iter().map(|file| file.start).collect(),
        };
        let ends = starts.iter().skip(1).copied().chain([self.text.len()]).collect::<Vec<_>>();
        starts.into_iter().zip(ends).map(|(start, end)| start..end)
    }

    /// The diagnostic for a mistake at a place in the text.
    pub(super) fn diagnose(
        &self,
        span: Range<usize>,
        path: String,
        message: String,
        suggestion: Option<String>,
    ) -> Diagnostic {
        let at = floor_char_boundary(&self.text, span.start);
        let file = self.files.iter().rev().find(|file| file.start <= at);
        let file_start = file.map_or(0, |file| file.start);
        let line_start = self.text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text[line_start..].lines().next().unwrap_or_default();
        let end = span.end.clamp(at, (line_start + line.len()).max(at));
        let end = floor_char_boundary(&self.text, end);
        Diagnostic {
            file: file.map(|file| file.name.clone()),
            line: 1 + self.text[file_start..at].matches('\n').count(),
            column: 1 + self.text[line_start..at].chars().count(),
            path,
            message,
            suggestion,
            source_line: line.to_owned(),
            width: self.text[at..end].chars().count().max(1),
        }
    }
}

impl From<Error> for Diagnostics {
    fn from(error: Error) -> Self {
        Self::new(vec![Diagnostic::without_place(error.to_string())])
    }
}

fn toml_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let fail = |cause| Error::Read { path: folder.to_owned(), cause };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        return Err(Error::EmptyFolder { path: folder.to_owned() });
    }
    Ok(paths)
}

fn read_bounded(path: &Path) -> Result<String, Error> {
    use std::io::Read;
    let fail = |cause| Error::Read { path: path.to_owned(), cause };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() > MAX_BYTES {
        return Err(Error::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|_| Error::NotUtf8 { path: path.to_owned() })
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
