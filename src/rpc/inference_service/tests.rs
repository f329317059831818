//! The codec: raw and typed agree, and what is wrong is named.

use std::sync::Arc;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use prost::bytes::Bytes;

use super::inputs::{self, Bounds, Inputs};
use super::outputs::{self, Scores};
use super::tensor::{Contents, Datatype, Elements};
use crate::clock::Clock;
use crate::config::{ClockMode, Config};
use crate::engine::calibration::Calibration;
use crate::engine::event::UserId;
use crate::engine::forest::{Forest, Frame, Leaf, Node, Tree};
use crate::engine::model::{Link, Model, Output, OutputKind};
use crate::proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::proto::inference::{InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse};
use crate::rpc::convert::Intake;
use crate::rpc::error::Refusal;

/// Of two features, `age` and `spent`, and one output.
fn model() -> Model {
    let leaf = Node::Leaf(Leaf { value: 0.5, cover: 1.0 });
    let forest = Forest::new(Frame::single(2, 0.0), vec![Tree::of(vec![leaf])]).expect("a valid forest");
    Model {
        name: "buys".into(),
        version: 1,
        inputs: vec![0, 1],
        input_names: vec!["age".into(), "spent".into()],
        outputs: vec![Output { name: "probability".into(), kind: OutputKind::Probability }],
        link: Link::Logistic,
        calibration: Calibration::None,
        scorer: Box::new(forest),
    }
}

fn read(request: &ModelInferRequest) -> Result<Inputs, Refusal> {
    let limits = Config::from_layers(None, [], &[]).expect("the defaults are valid").limits;
    let intake = Intake::new(limits, Arc::new(Clock::new(ClockMode::Replay)));
    inputs::read(request, &model(), Bounds { max_rows: 4, intake: &intake })
}

fn tensor(name: &str, datatype: &str, shape: &[i64], contents: InferTensorContents) -> InferInputTensor {
    InferInputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        contents: Some(contents),
        ..InferInputTensor::default()
    }
}

fn request(inputs: impl Into<Vec<InferInputTensor>>) -> ModelInferRequest {
    ModelInferRequest { inputs: inputs.into(), ..ModelInferRequest::default() }
}

/// The same inputs, without typed contents and with these bytes.
fn with_raw(mut request: ModelInferRequest, raw: &[&[u8]]) -> ModelInferRequest {
    for input in &mut request.inputs {
        input.contents = None;
    }
    request.raw_input_contents = raw.iter().map(|bytes| Bytes::copy_from_slice(bytes)).collect();
    request
}

fn fp64(values: &[f64]) -> InferTensorContents {
    InferTensorContents { fp64_contents: values.to_vec(), ..InferTensorContents::default() }
}

fn texts(texts: &[&str]) -> InferTensorContents {
    let bytes_contents = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    InferTensorContents { bytes_contents, ..InferTensorContents::default() }
}

fn raw_texts(texts: &[&[u8]]) -> Vec<u8> {
    let element = |text: &&[u8]| [&(text.len() as u32).to_le_bytes(), *text].concat();
    texts.iter().flat_map(element).collect()
}

/// A number of each data type that has them, typed and raw, with the float64 it is.
fn element() -> impl Strategy<Value = (Datatype, InferTensorContents, Vec<u8>, f64)> {
    macro_rules! of {
        ($datatype:ident, $type:ty, $field:ident) => {
            any::<$type>().prop_map(|value| {
                let contents =
                    InferTensorContents { $field: vec![value.into()], ..InferTensorContents::default() };
                (Datatype::$datatype, contents, value.to_le_bytes().to_vec(), value as f64)
            })
        };
    }
    prop_oneof![
        any::<bool>().prop_map(|value| {
            let contents =
                InferTensorContents { bool_contents: vec![value], ..InferTensorContents::default() };
            (Datatype::Bool, contents, vec![value.into()], f64::from(value))
        }),
        of!(Int8, i8, int_contents),
        of!(Int16, i16, int_contents),
        of!(Int32, i32, int_contents),
        of!(Int64, i64, int64_contents),
        of!(Uint8, u8, uint_contents),
        of!(Uint16, u16, uint_contents),
        of!(Uint32, u32, uint_contents),
        of!(Uint64, u64, uint64_contents),
        of!(Fp32, f32, fp32_contents),
        of!(Fp64, f64, fp64_contents),
    ]
}

proptest! {
    #[test]
    fn raw_and_typed_numbers_are_the_same((datatype, typed, raw, value) in element()) {
        let raw = Bytes::from(raw);
        for contents in [Contents::Typed(&typed), Contents::Raw(&raw)] {
            let numbers = Elements { datatype, n_elements: 1, contents }.numbers().expect("they fit");
            prop_assert_eq!(numbers.len(), 1);
            // By bits, but for which NaN it is.
            prop_assert!(numbers[0].to_bits() == value.to_bits() || numbers[0].is_nan() && value.is_nan());
        }
    }

    #[test]
    fn raw_and_typed_texts_are_the_same(given in prop::collection::vec(".{0,20}", 0..5)) {
        let given: Vec<&str> = given.iter().map(String::as_str).collect();
        let typed = texts(&given);
        let raw = Bytes::from(raw_texts(&given.iter().map(|text| text.as_bytes()).collect::<Vec<_>>()));
        for contents in [Contents::Typed(&typed), Contents::Raw(&raw)] {
            let elements = Elements { datatype: Datatype::Bytes, n_elements: given.len(), contents };
            prop_assert_eq!(&elements.texts().expect("they fit"), &given);
        }
    }

    #[test]
    fn any_raw_bytes_are_read_or_refused(
        raw in prop::collection::vec(any::<u8>(), 0..40),
        n_elements in 0_usize..6,
        datatype in prop::sample::select(&Datatype::ALL[..]),
    ) {
        let raw = Bytes::from(raw);
        let elements = Elements { datatype, n_elements, contents: Contents::Raw(&raw) };
        if let Ok(numbers) = elements.numbers() {
            prop_assert_eq!(numbers.len(), n_elements);
        }
        if let Ok(texts) = elements.texts() {
            prop_assert_eq!(texts.len(), n_elements);
        }
    }
}

#[test]
fn a_matrix_and_a_tensor_a_feature_are_the_same_rows() {
    let expected = Inputs::Rows { n_rows: 2, values: vec![20.0, 1.5, 30.0, 2.5] };
    let matrix = request([tensor("input", "FP64", &[2, 2], fp64(&[20.0, 1.5, 30.0, 2.5]))]);
    assert_eq!(read(&matrix), Ok(expected));

    let age = InferTensorContents { int_contents: vec![20, 30], ..InferTensorContents::default() };
    let spent = InferTensorContents { fp32_contents: vec![1.5, 2.5], ..InferTensorContents::default() };
    let columns = request([tensor("spent", "FP32", &[2, 1], spent), tensor("age", "INT32", &[2], age)]);
    assert_eq!(read(&columns), read(&matrix));
    let raw: [&[u8]; 2] = [&[1.5_f32, 2.5].map(f32::to_le_bytes).concat(), &[20, 0, 0, 0, 30, 0, 0, 0]];
    assert_eq!(read(&with_raw(columns, &raw)), read(&matrix));
}

#[test]
fn users_are_named_typed_or_raw() {
    let expected = Inputs::Users(vec![UserId::known("ada"), UserId::known("bob")]);
    let typed = request([tensor("user_id", "BYTES", &[2], texts(&["ada", "bob"]))]);
    assert_eq!(read(&typed), Ok(expected));
    let raw = with_raw(typed.clone(), &[&raw_texts(&[b"ada", b"bob"])]);
    assert_eq!(read(&raw), read(&typed));
}

#[test]
fn an_answer_is_in_the_form_of_the_question() {
    let model = model();
    let scores = Scores { n_rows: 2, raw: vec![0.0, 1.0], outputs: vec![0.5, 0.75] };
    let all = outputs::requested(&model, &[]).expect("all");
    let [mut typed, mut raw] = [ModelInferResponse::default(), ModelInferResponse::default()];
    outputs::write(&scores, &all, false, &mut typed);
    outputs::write(&scores, &all, true, &mut raw);
    let described: Vec<_> = typed.outputs.iter().map(|output| (&*output.name, &output.shape[..])).collect();
    assert_eq!(described, [("probability", &[2, 1][..]), ("raw", &[2, 1])]);
    assert!(typed.raw_output_contents.is_empty());
    assert!(raw.outputs.iter().all(|output| output.contents.is_none()));
    for (typed, raw) in typed.outputs.iter().zip(&raw.raw_output_contents) {
        let typed = &typed.contents.as_ref().expect("typed").fp64_contents;
        assert_eq!(typed.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>(), *raw);
    }
    let chosen = [InferRequestedOutputTensor { name: "raw".into(), ..InferRequestedOutputTensor::default() }];
    let chosen = outputs::requested(&model, &chosen).expect("known");
    assert_eq!(chosen, [("raw", 1, outputs::Output::Raw)]);
}

fn refused(request: &ModelInferRequest, expected: Expect) {
    let refusal = read(request).expect_err("it is wrong");
    expected.assert_eq(&format!("{} {}: {}", refusal.reason.name(), refusal.field, refusal.message));
}

#[test]
fn wrong_names_and_mixtures_are_named() {
    let two = || fp64(&[1.0, 2.0]);
    refused(
        &request([]),
        expect!["TENSOR_UNKNOWN inputs: none is given: `input`, `user_id`, or a tensor a feature"],
    );
    refused(
        &request([tensor("agee", "FP64", &[2], two())]),
        expect![[
            r#"TENSOR_UNKNOWN inputs["agee"]: the model has no such input: `input`, `user_id`, or its features by name"#
        ]],
    );
    refused(
        &request([tensor("age", "FP64", &[2], two())]),
        expect![[
            r#"TENSOR_UNKNOWN inputs["spent"]: the model reads this feature, and no tensor has it: where it is missing, give NaN"#
        ]],
    );
    refused(
        &request([tensor("age", "FP64", &[2], two()), tensor("age", "FP64", &[2], two())]),
        expect![[r#"TENSOR_UNKNOWN inputs["age"]: it is given twice"#]],
    );
    refused(
        &request([tensor("age", "FP64", &[2], two()), tensor("user_id", "BYTES", &[1], texts(&["ada"]))]),
        expect![[
            r#"TENSORS_MIXED inputs["user_id"]: it stands for all features of a row: no other input goes with it"#
        ]],
    );
    let mut mixed = request([tensor("input", "FP64", &[1, 2], two())]);
    mixed.raw_input_contents = vec![Bytes::from(vec![0; 16])];
    refused(
        &mixed,
        expect![[
            r#"TENSORS_MIXED inputs["input"]: its contents are typed, and others are raw: send all of them in one way"#
        ]],
    );
    let inputs = [tensor("age", "FP64", &[2], two()), tensor("spent", "FP64", &[2], two())];
    refused(
        &with_raw(request(inputs), &[&[0; 16]]),
        expect!["TENSOR_CONTENTS raw_input_contents: 1 for 2 inputs"],
    );
    let mut shared = tensor("input", "FP64", &[1, 2], two());
    shared.parameters.insert("shared_memory_region".into(), InferParameter::default());
    refused(
        &request([shared]),
        expect![[
            r#"NOT_SUPPORTED inputs["input"].parameters["shared_memory_region"]: this server has no such parameter"#
        ]],
    );
}

#[test]
fn wrong_types_and_shapes_are_named() {
    let matrix = |shape: &[i64]| request([tensor("input", "FP64", shape, fp64(&[1.0, 2.0]))]);
    refused(
        &request([tensor("input", "BYTES", &[1, 2], texts(&["1", "2"]))]),
        expect![[r#"TENSOR_DATATYPE inputs["input"]: BYTES are no numbers"#]],
    );
    refused(
        &request([tensor("input", "FP16", &[1, 2], fp64(&[1.0, 2.0]))]),
        expect![[
            r#"TENSOR_DATATYPE inputs["input"]: "FP16" is none of BOOL, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FP32, FP64, BYTES"#
        ]],
    );
    refused(
        &request([tensor("user_id", "FP64", &[2], fp64(&[1.0, 2.0]))]),
        expect![[r#"TENSOR_DATATYPE inputs["user_id"]: FP64, but it holds BYTES"#]],
    );
    refused(&matrix(&[2]), expect![[r#"TENSOR_SHAPE inputs["input"]: [2] of 1 dimensions is not [n, 2]"#]]);
    refused(
        &matrix(&[2, 1]),
        expect![[
            r#"TENSOR_SHAPE inputs["input"]: [2, 1] of 2 dimensions is not [n, 2]: the model has 2 features"#
        ]],
    );
    refused(&matrix(&[-1, 2]), expect![[r#"TENSOR_SHAPE inputs["input"]: -1 rows"#]]);
    refused(
        &matrix(&[i64::MAX, 2]),
        expect![[r#"BATCH_TOO_LARGE inputs["input"]: 9223372036854775807 rows, at most 4 are permitted"#]],
    );
    refused(
        &request([
            tensor("age", "FP64", &[2], fp64(&[1.0, 2.0])),
            tensor("spent", "FP64", &[1], fp64(&[1.0])),
        ]),
        expect![[r#"TENSOR_SHAPE inputs["spent"]: 1 rows, but the first input has 2"#]],
    );
    refused(
        &request([tensor("user_id", "BYTES", &[1, 2], texts(&["ada", "bob"]))]),
        expect![[r#"TENSOR_SHAPE inputs["user_id"]: [1, 2] of 2 dimensions is not [n] or [n, 1]"#]],
    );
}

#[test]
fn wrong_contents_are_named() {
    let matrix = |datatype, contents| request([tensor("input", datatype, &[1, 2], contents)]);
    refused(
        &matrix("FP64", fp64(&[1.0])),
        expect![[r#"TENSOR_CONTENTS inputs["input"]: 1 elements in fp64_contents, but the shape has 2"#]],
    );
    refused(
        &matrix("FP32", fp64(&[1.0, 2.0])),
        expect![[r#"TENSOR_CONTENTS inputs["input"]: 0 elements in fp32_contents, but the shape has 2"#]],
    );
    let both = InferTensorContents { fp32_contents: vec![1.0, 2.0], ..fp64(&[1.0, 2.0]) };
    refused(
        &matrix("FP32", both),
        expect![[
            r#"TENSOR_CONTENTS inputs["input"]: elements are in fp64_contents, but those of FP32 belong in fp32_contents"#
        ]],
    );
    let wide = InferTensorContents { int_contents: vec![127, 128], ..InferTensorContents::default() };
    refused(
        &matrix("INT8", wide),
        expect![[r#"TENSOR_CONTENTS inputs["input"]: element 1 is 128, which INT8 cannot hold"#]],
    );
    refused(
        &with_raw(matrix("FP64", fp64(&[])), &[&[0; 15]]),
        expect![[
            r#"TENSOR_CONTENTS inputs["input"]: 15 raw bytes, but 2 elements of FP64 are of 8 bytes each"#
        ]],
    );

    let users = |raw: &[u8]| with_raw(request([tensor("user_id", "BYTES", &[2], texts(&[]))]), &[raw]);
    refused(
        &users(&raw_texts(&[b"ada"])),
        expect![[
            r#"TENSOR_CONTENTS inputs["user_id"]: 1 elements in raw_input_contents, but the shape has 2"#
        ]],
    );
    refused(
        &users(&raw_texts(&[b"ada", b"bob", b"eve"])),
        expect![[r#"TENSOR_CONTENTS inputs["user_id"]: 7 raw bytes follow the last of 2 elements"#]],
    );
    refused(
        &users(&[0, 0]),
        expect![[r#"TENSOR_CONTENTS inputs["user_id"]: the raw bytes end within the length of element 0"#]],
    );
    refused(
        &users(&[255, 255, 255, 255, b'a']),
        expect![[
            r#"TENSOR_CONTENTS inputs["user_id"]: element 0 says it has 4294967295 bytes, but 1 raw bytes are left"#
        ]],
    );
    refused(
        &users(&raw_texts(&[b"ada", &[0xff]])),
        expect![[r#"TENSOR_CONTENTS inputs["user_id"]: element 1 is not a text in UTF-8"#]],
    );
    refused(
        &users(&raw_texts(&[b"ada", b""])),
        expect![[r#"USER_ID_MISSING inputs["user_id"].contents[1]: the id is empty"#]],
    );
}
