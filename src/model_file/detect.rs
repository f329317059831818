//! Which format a file is of: by what is in it, not by its name.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};

use super::{Format, lightgbm};
use crate::protobuf::Message;

/// The field of an ONNX model that holds its graph.
const GRAPH: u32 = 7;
/// What an ONNX model begins with: the key of its version.
const IR_VERSION: u8 = 0x08;

/// The format whose loader is to read the file, and to say what is wrong with
/// it; none if it is none that is known.
pub fn detect(content: &[u8]) -> Option<Format> {
    match content.trim_ascii_start() {
        [b'{', b'i' | b'U' | b'I' | b'l' | b'L', ..] => Some(Format::XgboostUbjson),
        json @ [b'{', ..] => of_json(json),
        text if is_lightgbm(text) => Some(Format::Lightgbm),
        _ if is_onnx(content) => Some(Format::Onnx),
        _ => None,
    }
}

fn is_lightgbm(text: &[u8]) -> bool {
    let first_line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    first_line.trim_ascii_end() == lightgbm::MAGIC.as_bytes()
}

fn is_onnx(content: &[u8]) -> bool {
    let has_graph = || Message::new(content).fields().any(|field| matches!(field, Ok((GRAPH, _))));
    content.first() == Some(&IR_VERSION) || has_graph()
}

/// By the first of the object's own names that only one format has.
fn of_json(content: &[u8]) -> Option<Format> {
    let found = Cell::new(None);
    // What follows that name is left unread, which the parser takes for an error.
    let _ = serde_json::Deserializer::from_slice(content).deserialize_map(Names(&found));
    found.get()
}

fn of_name(name: &str) -> Option<Format> {
    match name {
        "learner" => Some(Format::XgboostJson),
        "features_info" | "oblivious_trees" | "scale_and_bias" => Some(Format::CatboostJson),
        "conf" => Some(Format::Gbdt),
        "format" => Some(Format::Tipoff),
        _ => None,
    }
}

struct Names<'a>(&'a Cell<Option<Format>>);

impl<'de> Visitor<'de> for Names<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if let Some(format) = of_name(&name) {
                self.0.set(Some(format));
                return Err(A::Error::custom("found"));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_content() {
        let onnx_without_version = [0x3a, 2, 0x0a, 0];
        let cases: [(&[u8], Option<Format>); 16] = [
            (b"tree\nversion=v4\n", Some(Format::Lightgbm)),
            (b"tree\r\nversion=v4\r\n", Some(Format::Lightgbm)),
            (b"trees\n", None),
            (br#"{"learner": {}}"#, Some(Format::XgboostJson)),
            (br#" {"version": [3, {"conf": 1}], "learner""#, Some(Format::XgboostJson)),
            (b"{L\0\0\0\0\0\0\0\x07learner", Some(Format::XgboostUbjson)),
            (br#"{"ctr_data": {}, "features_info": {}}"#, Some(Format::CatboostJson)),
            (br#"{"conf": {}}"#, Some(Format::Gbdt)),
            (br#"{"format": "tipoff-forest"}"#, Some(Format::Tipoff)),
            (br#"{"trees": [{"learner": 1}]}"#, None),
            (br#"{"trees": ["#, None),
            (&[0x08, 9], Some(Format::Onnx)),
            (&onnx_without_version, Some(Format::Onnx)),
            (&[0x12, 0xff], None),
            (b"[1]", None),
            (b"", None),
        ];
        for (content, expected) in cases {
            assert_eq!(detect(content), expected, "{}", content.escape_ascii());
        }
    }

    #[test]
    fn nested_names_are_no_stack_overflow() {
        let nested = format!("{}{}", r#"{"a":"#.repeat(100_000), "1");
        assert_eq!(detect(nested.as_bytes()), None);
        let lists = format!(r#"{{"a": {}"#, "[".repeat(1_000_000));
        assert_eq!(detect(lists.as_bytes()), None);
    }
}
