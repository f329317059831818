use std::fs;
use std::io::Write;

use expect_test::{Expect, expect};
use flate2::write::GzEncoder;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use tempfile::TempDir;

use super::*;
use crate::engine::time::Timestamp;

const PRODUCTS: &str = "\
sku,category,price,eco_friendly,code:text
p1,shoes,49.9,true,007
12,hats,20,,8
";

fn file(name: &str, content: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join(name);
    fs::write(&path, content).expect("written");
    (directory, path)
}

fn table(path: &Path, columns: &[&str]) -> Result<Table, Error> {
    TableFile::open(path)?.read("sku", columns)
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

#[test]
fn cells_are_typed_as_in_event_files() {
    let (_directory, path) = file("products.csv", PRODUCTS);
    assert_eq!(
        TableFile::open(&path).expect("it opens").columns(),
        ["sku", "category", "price", "eco_friendly", "code"]
    );
    let table = table(&path, &["code", "eco_friendly", "price"]).expect("it is read");
    assert_eq!(table.n_rows(), 2);
    let first = [Some(text("007")), Some(Value::Bool(true)), Some(Value::Number(49.9))];
    assert_eq!(table.row(&text("p1")), Some(&first[..]));
    let second = [Some(text("8")), None, Some(Value::Integer(20))];
    assert_eq!(table.row(&Value::Integer(12)), Some(&second[..]));
}

#[test]
fn compressed_tables_are_read_as_they_are() {
    let mut gz = GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(PRODUCTS.as_bytes()).expect("compressed");
    let gz = gz.finish().expect("compressed");
    let zst = zstd::encode_all(PRODUCTS.as_bytes(), 0).expect("compressed");
    for (name, bytes) in [("products.csv.gz", gz), ("products.CSV.zst", zst)] {
        let (_directory, path) = file(name, bytes);
        assert_eq!(table(&path, &["price"]).expect("it is read").n_rows(), 2, "{name}");
    }
}

#[test]
fn a_parquet_table_has_its_own_types() {
    let schema = "message products {
        required binary category (UTF8); optional double price; required int64 sku;
        required int64 since (TIMESTAMP(NANOS, true)); required int32 opens (TIME(MILLIS, true));
    }";
    let schema = Arc::new(parse_message_type(schema).expect("a schema"));
    let (_directory, path) = file("products.parquet", "");
    let out = fs::File::create(&path).expect("a file");
    let properties = WriterProperties::builder().set_compression(parquet::basic::Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(out, schema, Arc::new(properties)).expect("a writer");
    let mut group = writer.next_row_group().expect("a group");
    let texts = |texts: [&str; 3]| texts.map(ByteArray::from);
    for n in 0..5 {
        let mut column = group.next_column().expect("a column").expect("a column");
        let written = match n {
            0 => column.typed::<ByteArrayType>().write_batch(&texts(["12", "hats", "shoes"]), None, None),
            1 => column.typed::<DoubleType>().write_batch(&[9.5, f64::NAN], Some(&[1, 0, 1]), None),
            2 => column.typed::<Int64Type>().write_batch(&[7, 8, 9], None, None),
            3 => column.typed::<Int64Type>().write_batch(&[1_999_999, 0, -1], None, None),
            _ => column.typed::<Int32Type>().write_batch(&[1, 2, 3], None, None),
        };
        assert!(written.is_ok());
        column.close().expect("closed");
    }
    group.close().expect("closed");
    writer.close().expect("closed");

    let error = table(&path, &["opens"]).expect_err("a time of day").to_string();
    assert!(error.ends_with(r#"column "opens" has neither texts, numbers, booleans nor times"#), "{error}");
    let since = table(&path, &["since"]).expect("it is read");
    let at = |ms| Some(Value::Time(Timestamp::from_millis(ms)));
    for (key, expected) in [(7, at(1)), (8, at(0)), (9, at(-1))] {
        assert_eq!(since.row(&Value::Integer(key)), Some(&[expected][..]));
    }
    let table = table(&path, &["price", "category"]).expect("it is read");
    assert_eq!(table.n_rows(), 3);
    assert_eq!(table.row(&text("7")), Some(&[Some(Value::Number(9.5)), Some(text("12"))][..]));
    assert_eq!(table.row(&Value::Integer(8)), Some(&[None, Some(text("hats"))][..]));
    assert_eq!(table.row(&Value::Integer(9)), Some(&[None, Some(text("shoes"))][..]));
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_place() {
    let check = |name: &str, content: &[u8], expected: Expect| {
        let (directory, path) = file(name, content);
        let error = table(&path, &["price"]).expect_err("the file is right").to_string();
        expected.assert_eq(&error.replace(&format!("{}/", directory.path().display()), ""));
    };
    let csv = |content: &str, expected: Expect| check("a.csv", content.as_bytes(), expected);
    csv("", expect!["a.csv: header: the file is empty"]);
    csv("sku,price,sku:text", expect![[r#"a.csv: header: two columns are "sku""#]]);
    csv("sku,,price", expect!["a.csv: header: a column without a name"]);
    csv("sku,prize", expect![[r#"a.csv has no column "price""#]]);
    csv("id,price", expect![[r#"a.csv has no column "sku""#]]);
    csv("sku,price\na,1\nb", expect!["a.csv:3: line: not the 2 columns of the header, but 1"]);
    csv("sku,price\na,1\n,2", expect!["a.csv:3: sku: missing or empty"]);
    csv("sku,price\na,1\n\"b\",2\na,3", expect![[r#"a.csv:4: sku: the key "a" was in line 2 before"#]]);
    csv("sku,price:number\na,1\nb,cheap", expect!["a.csv:3: price: cheap is not a finite number"]);
    let long = format!("sku,price\na,{}", "x".repeat(5_000));
    csv(&long, expect!["a.csv:2: price: 5000 bytes, more than 4096"]);
    check("a.csv", b"sku,price\na,\xff", expect!["a.csv:2: price: not UTF-8"]);
    check(
        "a.jsonl",
        b"{}",
        expect!["a.jsonl: the name ends neither in .csv (with .gz or .zst) nor in .parquet"],
    );
    check("a.parquet", b"sku", expect!["a.parquet: EOF: Parquet file too small. Size is 3 but need 8"]);
}

#[test]
fn a_table_is_bounded() {
    let mut content = String::from("sku,price\n");
    for row in 0..=MAX_ROWS {
        content.push_str(&format!("{row},1\n"));
    }
    let (_directory, path) = file("a.csv", content);
    assert!(matches!(table(&path, &["price"]), Err(Error::TooManyRows { .. })));

    // A bomb: small on disk.
    let mut zst = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
    zst.write_all(b"sku,price,rest\n").expect("compressed");
    let rest = "x".repeat(1 << 19);
    for row in 0..=(MAX_BYTES >> 19) {
        writeln!(zst, "{row},1,{rest}").expect("compressed");
    }
    let (_directory, path) = file("a.csv.zst", zst.finish().expect("compressed"));
    assert!(matches!(table(&path, &["price"]), Err(Error::TooLarge { .. })));
}
