use std::fs;
use std::io::Write;

use expect_test::{Expect, expect};
use parquet::data_type::{BoolType, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::*;

/// Every row of a file by the model's inputs `a` and `b`, or the error.
fn read(name: &str, content: &[u8], inputs: Inputs<'_>) -> Result<Vec<f64>, String> {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join(name);
    fs::write(&path, content).expect("written");
    let without_folder =
        |error: Error| error.to_string().replace(&format!("{}/", folder.path().display()), "");
    let mut rows = Rows::open(&path, inputs).map_err(without_folder)?;
    let mut values = Vec::new();
    while rows.read(2, &mut values).map_err(without_folder)? > 0 {}
    Ok(values)
}

fn names() -> [Arc<str>; 2] {
    ["a".into(), "b".into()]
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn columns_are_found_by_name_or_taken_by_position() {
    let names = names();
    let content = b"b,id,a\n1,x,2\n,y,inf\n-0.0,z,0.1\n";
    let values = read("rows.csv", content, Inputs::ByName(&names)).expect("rows");
    assert_eq!(bits(&values), bits(&[2.0, 1.0, f64::INFINITY, f64::NAN, 0.1, -0.0]));
    let values = read("rows.csv", b"\"x\",y\r\n1,2\r\nTrue,4", Inputs::ByPosition(2));
    assert_eq!(values.expect("rows"), [1.0, 2.0, 1.0, 4.0]);
    let mut zipped = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
    zipped.write_all(b"a,b\n1,2\n").expect("written");
    let zipped = zipped.finish().expect("written");
    assert_eq!(read("rows.csv.zst", &zipped, Inputs::ByName(&names)).expect("rows"), [1.0, 2.0]);
}

#[test]
fn every_number_comes_back_bit_for_bit() {
    let numbers = [f64::MIN_POSITIVE, 5e-324, 0.1, 1e300, -1.0 / 3.0, f64::MAX, f64::NEG_INFINITY];
    let content: String = numbers.iter().map(|number| format!("{number:?}\n")).collect();
    let values = read("rows.csv", format!("x\n{content}").as_bytes(), Inputs::ByPosition(1)).expect("rows");
    assert_eq!(bits(&values), bits(&numbers));
}

#[test]
fn an_empty_line_is_a_row_where_there_is_one_column() {
    let rows = |content: &[u8]| bits(&read("rows.csv", content, Inputs::ByPosition(1)).expect("rows"));
    let nan = f64::NAN;
    assert_eq!(rows(b"x\n1\n\n2\n\n"), bits(&[1.0, nan, 2.0, nan]));
    assert_eq!(rows(b"x\r\n\r\n\r\n1\r\n\r\n"), bits(&[nan, nan, 1.0, nan]));
    assert_eq!(rows(b"\n\n\"x\"\n\n\"1\"\n \n\n2"), bits(&[nan, 1.0, nan, nan, 2.0]));
    // More than are read at a time.
    assert_eq!(rows(&[&b"x\n"[..], &[b'\n'; 20_000]].concat()).len(), 20_000);
    let error = read("rows.csv", b"x\n\n\ny\n", Inputs::ByPosition(1)).expect_err("no number");
    expect![[r#"rows.csv:4: x: "y" is no number"#]].assert_eq(&error);
    // Where there are several, their commas are the row.
    let values = read("rows.csv", b"a,b\n1,2\n\n,\n3,4\n", Inputs::ByName(&names())).expect("rows");
    assert_eq!(bits(&values), bits(&[1.0, 2.0, nan, nan, 3.0, 4.0]));
}

fn refused(name: &str, content: &[u8], expected: Expect) {
    expected.assert_eq(&read(name, content, Inputs::ByName(&names())).expect_err("it is wrong"));
}

#[test]
fn what_is_wrong_names_its_row_and_column() {
    refused("rows.csv", b"a,b\n1,2\n3,x\n", expect![[r#"rows.csv:3: b: "x" is no number"#]]);
    refused("rows.csv", b"a,b\n1,2,3\n", expect!["rows.csv:2: 3 values under a header of 2"]);
    refused(
        "rows.csv",
        b"a,c\n1,2\n",
        expect![[r#"rows.csv: the model's input "b" is no column; there are a, c"#]],
    );
    refused("rows.csv", b"a,b,b\n1,2,3\n", expect![[r#"rows.csv: two columns are called "b""#]]);
    refused("rows.csv", b"a,b\n1,\xff\n", expect![[r#"rows.csv:2: b: "�" is no number"#]]);
    refused(
        "rows.parquet",
        b"a,b\n1,2\n",
        expect!["rows.parquet: Parquet error: Invalid Parquet file. Corrupt footer"],
    );
    let error = read("rows.csv", b"a\n1\n", Inputs::ByPosition(2)).expect_err("too few");
    expect!["rows.csv: 1 columns for the 2 inputs of a model that has no names for them"].assert_eq(&error);
}

/// A table of `b` (whole numbers), `name` (texts), `a` (numbers, the second is null), `is` (booleans).
fn parquet(folder: &Path) -> PathBuf {
    let schema = "message rows { required int64 b; required binary name (UTF8); optional double a; required boolean is; }";
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    let path = folder.join("rows.parquet");
    let file = fs::File::create(&path).expect("created");
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(file, schema, properties).expect("a writer");
    for first in [1, 3] {
        let mut group = writer.next_row_group().expect("a group");
        macro_rules! column {
            ($type:ty, $values:expr, $levels:expr) => {
                let mut column = group.next_column().expect("no failure").expect("a column");
                column.typed::<$type>().write_batch($values, $levels, None).expect("written");
                column.close().expect("closed");
            };
        }
        column!(Int64Type, &[first, first + 1], None);
        column!(ByteArrayType, &["x".into(), "y".into()], None);
        column!(DoubleType, &[0.1], Some(&[1, 0]));
        column!(BoolType, &[true, false], None);
        group.close().expect("closed");
    }
    writer.close().expect("closed");
    path
}

#[test]
fn parquet_is_read_across_row_groups() {
    let folder = tempfile::tempdir().expect("folder");
    let path = parquet(folder.path());
    let inputs: [Arc<str>; 3] = ["a".into(), "is".into(), "b".into()];
    let mut rows = Rows::open(&path, Inputs::ByName(&inputs)).expect("it opens");
    let mut values = Vec::new();
    assert_eq!(rows.read(3, &mut values).expect("rows"), 3);
    assert_eq!(rows.progress(), (3, 4));
    assert_eq!(rows.read(3, &mut values).expect("rows"), 1);
    let nan = f64::NAN;
    assert_eq!(bits(&values), bits(&[0.1, 1.0, 1.0, nan, 0.0, 2.0, 0.1, 1.0, 3.0, nan, 0.0, 4.0]));

    let inputs: [Arc<str>; 1] = ["name".into()];
    let mut rows = Rows::open(&path, Inputs::ByName(&inputs)).expect("it opens");
    let error = rows.read(1, &mut Vec::new()).expect_err("texts").to_string();
    assert!(error.ends_with("rows.parquet:1: name: \"\\\"x\\\"\" is no number"), "{error}");
}
