//! The lines of the file: a header and trees, which are lists of `name=value`.

use std::num::ParseFloatError;
use std::str::FromStr;

use smallvec::SmallVec;

use super::{MAGIC, malformed};
use crate::model_file::Error;

/// A section that a trainer wrote has about twenty lines.
const MAX_FIELDS: usize = 64;
/// Bytes of the file's own texts in a message.
const MAX_SHOWN: usize = 60;

/// The sections of a file, one after the other.
pub struct Sections<'a> {
    lines: std::str::Lines<'a>,
    /// How many lines were read.
    n_lines: usize,
    /// The line that the last section was ended by.
    ended_by: &'a str,
}

/// The lines of a section.
pub struct Fields<'a> {
    /// That of its first line.
    line: usize,
    fields: SmallVec<[Field<'a>; 32]>,
}

#[derive(Clone, Copy)]
pub struct Field<'a> {
    line: usize,
    name: &'a str,
    /// Empty where the line is a name alone.
    pub value: &'a str,
}

impl<'a> Sections<'a> {
    pub fn of(content: &'a [u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(content)
            .map_err(|error| malformed(format!("byte {}", error.valid_up_to()), "not UTF-8"))?;
        Ok(Self { lines: text.lines(), n_lines: 0, ended_by: "" })
    }

    pub fn header(&mut self) -> Result<Fields<'a>, Error> {
        match self.next_line() {
            Some(MAGIC) => self.fields(),
            _ => Err(malformed("line 1", format!("not {MAGIC:?}"))),
        }
    }

    /// The fields of the tree of this index; none behind the last.
    pub fn next_tree(&mut self, index: usize) -> Result<Option<Fields<'a>>, Error> {
        let at = || format!("line {}", self.n_lines);
        match self.ended_by {
            "end of trees" => Ok(None),
            line if line.strip_prefix("Tree=") == Some(&*index.to_string()) => self.fields().map(Some),
            line => Err(malformed(at(), format!("{:?}, but tree {index} is next", shown(line)))),
        }
    }

    fn fields(&mut self) -> Result<Fields<'a>, Error> {
        let mut found = Fields { line: self.n_lines, fields: SmallVec::new() };
        self.ended_by = loop {
            let Some(line) = self.next_line() else {
                let at = format!("line {}", self.n_lines);
                return Err(malformed(at, "the file ends before `end of trees`"));
            };
            if line.starts_with("Tree=") || line == "end of trees" {
                break line;
            }
            if line.is_empty() {
                continue;
            }
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            let at = || format!("line {}", self.n_lines);
            if found.fields.len() == MAX_FIELDS {
                return Err(malformed(at(), format!("more than {MAX_FIELDS} lines of a section")));
            }
            if found.get(name).is_some() {
                return Err(malformed(at(), format!("a second {}", shown(name))));
            }
            found.fields.push(Field { line: self.n_lines, name, value });
        };
        Ok(found)
    }

    fn next_line(&mut self) -> Option<&'a str> {
        let line = self.lines.next()?;
        self.n_lines += 1;
        Some(line.trim_ascii_end())
    }
}

impl<'a> Fields<'a> {
    pub fn get(&self, name: &str) -> Option<&Field<'a>> {
        self.fields.iter().find(|field| field.name == name)
    }

    pub fn required(&self, name: &str) -> Result<&Field<'a>, Error> {
        self.get(name)
            .ok_or_else(|| malformed(format!("the section at line {}", self.line), format!("no {name}")))
    }

    /// A list of as many numbers; the line may be left out where there are none.
    pub fn numbers<T: Number>(&self, name: &str, n: usize) -> Result<Vec<T>, Error> {
        match self.get(name) {
            None if n == 0 => Ok(Vec::new()),
            _ => self.required(name)?.numbers(n),
        }
    }
}

impl Field<'_> {
    pub fn number<T: Number>(&self) -> Result<T, Error> {
        T::of(self.value).ok_or_else(|| malformed(self.at(), no_number::<T>(self.value)))
    }

    pub fn numbers<T: Number>(&self, n: usize) -> Result<Vec<T>, Error> {
        // A number and a space are two bytes, whatever a file says there is.
        let mut numbers = Vec::with_capacity(n.min(self.value.len() / 2 + 1));
        for text in self.value.split_ascii_whitespace().take(n + 1) {
            let Some(number) = T::of(text) else {
                return Err(self.malformed(numbers.len(), no_number::<T>(text)));
            };
            numbers.push(number);
        }
        match numbers.len() {
            found if found == n => Ok(numbers),
            found if found < n => Err(malformed(self.at(), format!("{found} numbers, of {n}"))),
            _ => Err(malformed(self.at(), format!("more than {n} numbers"))),
        }
    }

    /// What is wrong with the number at `index`.
    pub fn malformed(&self, index: usize, reason: impl Into<String>) -> Error {
        malformed(format!("{}[{index}]", self.at()), reason)
    }

    fn at(&self) -> String {
        format!("line {}, {}", self.line, self.name)
    }
}

/// What a text may be read as.
pub trait Number: FromStr {
    const KIND: &'static str;

    fn of(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Number for f64 {
    const KIND: &'static str = "finite number";

    fn of(text: &str) -> Option<Self> {
        text.parse().ok().filter(|number: &Self| number.is_finite())
    }
}

/// Where a split divides numbers: LightGBM writes `inf` where all of them go left of those that are missing.
pub struct Threshold(pub f64);

impl FromStr for Threshold {
    type Err = ParseFloatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl Number for Threshold {
    const KIND: &'static str = "number";

    fn of(text: &str) -> Option<Self> {
        text.parse().ok().filter(|Self(number)| !number.is_nan())
    }
}

impl Number for i32 {
    const KIND: &'static str = "whole number of 32 bits";
}

impl Number for u32 {
    const KIND: &'static str = "whole number from 0 to 2^32 - 1";
}

impl Number for usize {
    const KIND: &'static str = "whole number from 0";
}

/// As much of a text as a message has room for.
pub fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_SHOWN)]
}

fn no_number<T: Number>(text: &str) -> String {
    format!("{:?} is no {}", shown(text), T::KIND)
}
