//! The protos keep to the style that `buf lint` calls STANDARD, and explain themselves.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

use super::FILE_DESCRIPTOR_SET;

// Field numbers in descriptor.proto, of which source paths are made.
const FILE_MESSAGE: i32 = 4;
const FILE_ENUM: i32 = 5;
const FILE_SERVICE: i32 = 6;
const MESSAGE_FIELD: i32 = 2;
const MESSAGE_NESTED: i32 = 3;
const MESSAGE_ENUM: i32 = 4;
const MESSAGE_ONEOF: i32 = 8;
const ENUM_VALUE: i32 = 2;
const SERVICE_METHOD: i32 = 2;

/// A named element of a file with its source path.
type Elements = Vec<(String, Vec<i32>)>;

fn files() -> Vec<FileDescriptorProto> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the embedded set decodes");
    set.file.into_iter().filter(|file| file.package() == "tipoff.v1").collect()
}

fn path(parent: &[i32], field: i32, index: usize) -> Vec<i32> {
    let index = i32::try_from(index).expect("descriptors are small");
    [parent, &[field, index]].concat()
}

fn enum_elements(enumeration: &EnumDescriptorProto, at: Vec<i32>, elements: &mut Elements) {
    for (index, value) in enumeration.value.iter().enumerate() {
        let name = format!("{}.{}", enumeration.name(), value.name());
        elements.push((name, path(&at, ENUM_VALUE, index)));
    }
    elements.push((enumeration.name().to_owned(), at));
}

fn message_elements(message: &DescriptorProto, at: Vec<i32>, elements: &mut Elements) {
    if message.options.as_ref().is_some_and(|options| options.map_entry()) {
        return;
    }
    let name = message.name();
    for (index, field) in message.field.iter().enumerate() {
        elements.push((format!("{name}.{}", field.name()), path(&at, MESSAGE_FIELD, index)));
    }
    for (index, oneof) in message.oneof_decl.iter().enumerate() {
        // `optional` makes a oneof of its own that stands nowhere in the source.
        if !oneof.name().starts_with('_') {
            elements.push((format!("{name}.{}", oneof.name()), path(&at, MESSAGE_ONEOF, index)));
        }
    }
    for (index, nested) in message.nested_type.iter().enumerate() {
        message_elements(nested, path(&at, MESSAGE_NESTED, index), elements);
    }
    for (index, nested) in message.enum_type.iter().enumerate() {
        enum_elements(nested, path(&at, MESSAGE_ENUM, index), elements);
    }
    elements.push((name.to_owned(), at));
}

fn elements(file: &FileDescriptorProto) -> Elements {
    let mut elements = Elements::new();
    for (index, message) in file.message_type.iter().enumerate() {
        message_elements(message, vec![FILE_MESSAGE, index as i32], &mut elements);
    }
    for (index, enumeration) in file.enum_type.iter().enumerate() {
        enum_elements(enumeration, vec![FILE_ENUM, index as i32], &mut elements);
    }
    for (index, service) in file.service.iter().enumerate() {
        let at = vec![FILE_SERVICE, index as i32];
        for (method, descriptor) in service.method.iter().enumerate() {
            let name = format!("{}.{}", service.name(), descriptor.name());
            elements.push((name, path(&at, SERVICE_METHOD, method)));
        }
        elements.push((service.name().to_owned(), at));
    }
    elements
}

#[test]
fn every_element_has_a_comment() {
    let files = files();
    assert!(files.len() >= 7, "the set is incomplete: {} files", files.len());
    let mut bare = Vec::new();
    for file in &files {
        let comments: BTreeMap<&[i32], &str> = file
            .source_code_info
            .iter()
            .flat_map(|info| &info.location)
            .filter_map(|location| Some((&location.path[..], location.leading_comments.as_deref()?)))
            .collect();
        for (name, path) in elements(file) {
            if comments.get(&path[..]).is_none_or(|comment| comment.trim().is_empty()) {
                bare.push(format!("{}: {name}", file.name()));
            }
        }
    }
    assert!(bare.is_empty(), "without a comment:\n{}", bare.join("\n"));
}

#[test]
fn each_rpc_has_messages_of_its_own() {
    let mut used = BTreeSet::new();
    for file in files() {
        for service in &file.service {
            assert!(service.name().ends_with("Service"), "{}", service.name());
            for method in &service.method {
                let request = format!(".tipoff.v1.{}Request", method.name());
                let response = format!(".tipoff.v1.{}Response", method.name());
                assert_eq!(method.input_type(), request);
                assert_eq!(method.output_type(), response);
                assert!(used.insert(request) && used.insert(response), "{} is used twice", method.name());
            }
        }
    }
    assert!(!used.is_empty());
}

#[test]
fn enum_values_carry_their_prefix_and_start_unspecified() {
    for file in files() {
        for enumeration in &file.enum_type {
            let prefix = upper_snake(enumeration.name());
            for value in &enumeration.value {
                assert!(value.name().starts_with(&format!("{prefix}_")), "{}", value.name());
                let is_zero = value.number() == 0;
                assert_eq!(is_zero, value.name() == format!("{prefix}_UNSPECIFIED"), "{}", value.name());
            }
        }
    }
}

fn upper_snake(camel: &str) -> String {
    let mut snake = String::new();
    for (index, letter) in camel.char_indices() {
        if letter.is_ascii_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_uppercase());
    }
    snake
}
