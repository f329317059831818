use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::engine::event::{EventUid, Value};

/// The records of a file of this name and content.
fn read(name: &str, content: &[u8], mapping: &str) -> Vec<Result<Record, Error>> {
    let (_folder, path) = file(name, content);
    let mapping = mapping.parse().expect("a mapping");
    match Reader::open(&path, &mapping) {
        Ok(reader) => reader.collect(),
        Err(error) => vec![Err(error)],
    }
}

fn file(name: &str, content: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    fs::write(&path, content).expect("a file");
    (folder, path)
}

fn one(name: &str, content: &str, mapping: &str) -> Record {
    let mut records = read(name, content.as_bytes(), mapping);
    assert_eq!(records.len(), 1, "{content}");
    records.remove(0).expect("a record")
}

/// Field and problem of the only line.
fn problem(name: &str, content: &[u8]) -> (u64, String, Problem) {
    let mut records = read(name, content, "");
    match records.remove(0) {
        Err(Error::BadLine(bad)) => (bad.line, bad.field, bad.problem),
        other => panic!("{other:?}"),
    }
}

fn header_problem(content: &str, mapping: &str) -> HeaderProblem {
    match read("events.csv", content.as_bytes(), mapping).remove(0) {
        Err(Error::Header { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

fn property<'r>(record: &'r Record, name: &str) -> Option<&'r Value> {
    record.event.properties.iter().find(|(own, _)| &**own == name).map(|(_, value)| value)
}

#[test]
fn a_json_line_is_an_event() {
    let record = one(
        "events.jsonl",
        r#"{"user_id":"ann","anonymous_id":"v1","type":"purchase","time":"2026-01-01T00:00:00+01:00",
            "event_id":"e1","arrival_time":1767222001000,"channel":"web",
            "properties":{"value":12.0,"items":3,"gift":false,"note":null,"shop":{"city":"Bath"},"tags":["a",1]}}"#
            .replace('\n', " ")
            .as_str(),
        "",
    );
    assert_eq!(record.user, UserId::known("ann"));
    assert_eq!(record.event.uid, EventUid::of_id("e1"));
    assert_eq!(record.event.id.as_deref(), Some("e1"));
    assert_eq!(record.event.anonymous_id.as_deref(), Some("v1"));
    assert_eq!(&*record.event.kind, "purchase");
    assert_eq!(record.event.time.to_string(), "2025-12-31T23:00:00Z");
    assert_eq!(record.arrival, Some(Timestamp::from_millis(1_767_222_001_000)));
    let expected = [
        ("channel", Value::Text("web".into())),
        ("gift", Value::Bool(false)),
        ("items", Value::Integer(3)),
        ("shop.city", Value::Text("Bath".into())),
        ("tags", Value::Text(r#"["a",1]"#.into())),
        ("value", Value::Number(12.0)),
    ];
    let expected: Vec<(Box<str>, Value)> = expected.map(|(name, value)| (name.into(), value)).into();
    assert_eq!(record.event.properties, expected);
}

#[test]
fn a_csv_record_is_an_event() {
    let content = "\u{feff}user_id,anonymous_id,type,time,event_id,arrival_time,price,sku:text,note\r\n\
                   ,v1,view,1767222000000,,,2.50,007,\r\n\
                   7,v1,view,2025-12-31T23:00:00Z,e2,2025-12-31T23:00:01Z,,12,\"two\nlines, one cell\"\r\n";
    let records: Vec<Record> = read("events.csv", content.as_bytes(), "")
        .into_iter()
        .map(|record| record.expect("a record"))
        .collect();
    let [first, second] = &records[..] else { panic!("{records:?}") };
    assert_eq!(first.user, UserId::anonymous("v1"));
    assert_eq!(first.event.anonymous_id, None);
    assert_eq!(first.event.uid, EventUid::minted(0, 2));
    assert_eq!(property(first, "price"), Some(&Value::Number(2.5)));
    assert_eq!(property(first, "sku"), Some(&Value::Text("007".into())));
    assert_eq!(property(first, "note"), None);
    assert_eq!(second.user, UserId::known("7"));
    assert_eq!(second.event.anonymous_id.as_deref(), Some("v1"));
    assert_eq!(second.event.time, first.event.time);
    assert_eq!(second.arrival, Some(Timestamp::from_millis(1_767_222_001_000)));
    assert_eq!(property(second, "sku"), Some(&Value::Text("12".into())));
    assert_eq!(property(second, "note"), Some(&Value::Text("two\nlines, one cell".into())));
}

#[test]
fn foreign_files_are_read_through_a_mapping() {
    let retailrocket = one(
        "events.csv",
        "timestamp,visitorid,event,itemid,transactionid\n1433221332117,257597,view,355908,\n",
        "user_id=visitorid,type=event,time=timestamp,product=itemid:text,=transactionid",
    );
    assert_eq!(retailrocket.user, UserId::known("257597"));
    assert_eq!(property(&retailrocket, "product"), Some(&Value::Text("355908".into())));

    let rees46 = one(
        "events.csv",
        "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n\
         2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,72d76fde\n",
        "type=event_type,time=event_time",
    );
    assert_eq!(rees46.event.time.to_string(), "2019-10-01T00:00:00Z");
    assert_eq!(property(&rees46, "category_id"), Some(&Value::Integer(2_103_807_459_595_387_724)));
    assert_eq!(property(&rees46, "price"), Some(&Value::Number(35.79)));

    let segment = one(
        "events.json",
        r#"{"type":"track","userId":41,"event":"Order Completed","messageId":"m1","timestamp":"2026-01-01T00:00:00Z","context":{"ip":"::1","page":{"path":"/"}},"properties":{"revenue":5}}"#,
        "user_id=userId,type=event,event_id=messageId,time=timestamp,path=context.page.path,=context.ip,value=properties.revenue",
    );
    assert_eq!(segment.user, UserId::known("41"));
    assert_eq!(&*segment.event.kind, "Order Completed");
    let names: Vec<&str> = segment.event.properties.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["path", "type", "value"]);
}

#[test]
fn each_bad_json_line_is_named_and_passed_over() {
    let long_id = format!(r#"{{"user_id":"{}","type":"a","time":0}}"#, "x".repeat(257));
    let many = (0..65).map(|n| format!(r#""p{n}":1"#)).collect::<Vec<_>>().join(",");
    let many = format!(r#"{{"user_id":"u","type":"a","time":0,"properties":{{{many}}}}}"#);
    for (line, field, part) in [
        ("{", "line", "not JSON"),
        ("[1]", "line", "[1] is not an object"),
        (r#"{"user_id":"u","type":"a","time":0,"properties":{"x":1e999}}"#, "line", "not JSON"),
        (r#"{"type":"a","time":0}"#, "user_id", "missing"),
        (r#"{"user_id":"","type":"a","time":0}"#, "user_id", "missing"),
        (r#"{"user_id":1.5,"type":"a","time":0}"#, "user_id", "1.5 is not text or an integer"),
        (r#"{"user_id":"u","time":0}"#, "type", "missing"),
        (r#"{"user_id":"u","type":3,"time":0}"#, "type", "3 is not text"),
        (r#"{"user_id":"u","type":"a"}"#, "time", "missing"),
        (r#"{"user_id":"u","type":"a","time":"noon"}"#, "time", "noon is not RFC 3339"),
        (r#"{"user_id":"u","type":"a","time":1.5}"#, "time", "1.5 is not RFC 3339"),
        (
            r#"{"user_id":"u","type":"a","time":9223372036854775807}"#,
            "time",
            "is not within 1970-01-01T00:00:00Z to 9999-01-01T00:00:00Z",
        ),
        (r#"{"user_id":"u","type":"a","time":0,"time":0}"#, "time", "twice"),
        (r#"{"user_id":"u","type":"a","time":0,"x":1,"properties":{"x":1}}"#, "x", "twice"),
        (r#"{"user_id":"u","type":"a","time":-1}"#, "time", "is not within 1970"),
        (r#"{"user_id":"u\nv","type":"a","time":0}"#, "user_id", "control character U+000A at byte 1"),
        (r#"{"user_id":"u","type":"a","time":0,"":1}"#, "", "missing or empty"),
        (&long_id, "user_id", "257 bytes, more than 256"),
        (&many, "p64", "more than 64"),
        (r#"{"user_id":"u","type":"a","time":0,"x":-1e101}"#, "x", "is beyond 1e100"),
    ] {
        let good = r#"{"user_id":"u","type":"a","time":0}"#;
        let mut records = read("events.jsonl", format!("\n{line}\n{good}\n").as_bytes(), "");
        assert!(records.pop().expect("the good line").is_ok(), "{line}");
        let error = records.pop().expect("the bad line").expect_err(line);
        let Error::BadLine(bad) = &error else { panic!("{error}") };
        assert_eq!((bad.line, &*bad.field), (2, field), "{line}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn bad_csv_records_are_named() {
    let with = |line: &[u8]| problem("events.csv", &[b"user_id,type,time,x:number\n", line].concat());
    assert_eq!(with(b"u,a,0"), (2, "line".into(), Problem::Columns { found: 3, expected: 4 }));
    assert_eq!(with(b",a,0,"), (2, "user_id".into(), Problem::Missing));
    assert_eq!(with(b"u,\xff,0,"), (2, "type".into(), Problem::NotUtf8));
    let expected = "a finite number";
    assert_eq!(
        with(b"u,a,0,NaN"),
        (2, "x:number".into(), Problem::WrongType { found: "NaN".into(), expected })
    );
}

#[test]
fn bad_headers_are_named() {
    use HeaderProblem::{Empty, MissingColumn, Repeated, TooManyProperties, UnknownColumn, Unnamed};
    assert_eq!(header_problem("", ""), Empty);
    assert_eq!(header_problem("user_id,time\n", ""), MissingColumn("type"));
    assert_eq!(header_problem("type,time\n", ""), MissingColumn("user_id"));
    assert_eq!(header_problem("user_id,type,time,x,x\n", ""), Repeated("x".into()));
    assert_eq!(header_problem("user_id,type,time,x,x:text\n", ""), Repeated("x:text".into()));
    assert_eq!(header_problem("user_id,type,time,\n", ""), Unnamed);
    assert_eq!(header_problem("user_id,type,time\n", "x=y"), UnknownColumn("y".into()));
    let many: String = (0..65).map(|n| format!(",p{n}")).collect();
    let limit = MAX_PROPERTIES;
    assert_eq!(
        header_problem(&format!("user_id,type,time{many}\n"), ""),
        TooManyProperties { found: 65, limit }
    );
}

#[test]
fn lines_have_a_bound() {
    let long = format!("{{\"user_id\":\"{}\n{{", "x".repeat(MAX_LINE_BYTES));
    let (line, field, found) = problem("events.jsonl", long.as_bytes());
    let expected = Problem::TooLong { bytes: MAX_LINE_BYTES + 12, limit: MAX_LINE_BYTES };
    assert_eq!((line, &*field, found), (1, "line", expected));

    // A quote left open swallows the rest of the file.
    let open = format!("user_id,type,time\nu,a,0\n\"u,{}", "a,0\n".repeat(MAX_LINE_BYTES));
    let records = read("events.csv", open.as_bytes(), "");
    assert_eq!(records.len(), 2);
    let error = records[1].as_ref().expect_err("too long");
    assert!(matches!(error, Error::Read { line: 3, .. }), "{error}");
}

#[test]
fn compressed_files_are_read_as_they_are() {
    let plain = b"user_id,type,time\nu,a,1\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(plain).expect("bytes");
    let gzip = gzip.finish().expect("bytes");
    let zstd = zstd::encode_all(&plain[..], 3).expect("bytes");
    let expected = one("events.csv", "user_id,type,time\nu,a,1\n", "");
    for (name, bytes) in [("events.csv.gz", &gzip), ("Events.CSV.zst", &zstd)] {
        let records = read(name, bytes, "");
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].as_ref().expect("a record"), &expected, "{name}");
        // Cut off in the middle: an error, not a short file.
        let cut = read(name, &bytes[..bytes.len() - 5], "");
        assert!(
            cut.iter().any(|record| matches!(record, Err(Error::Io { .. } | Error::Read { .. }))),
            "{name}"
        );
    }
    assert!(matches!(read("events.parquet", plain, "")[0], Err(Error::UnknownFormat { .. })));
}

#[test]
fn a_file_is_refused_with_its_first_bad_lines_or_read_without_them() {
    let content = format!("{{}}\n{}", "{\"user_id\":\"u\",\"type\":\"a\",\"time\":0}\n[]\n".repeat(30));
    let (_folder, path) = file("events.jsonl", content.as_bytes());
    match load(&path, &Mapping::default(), OnBadLine::Refuse) {
        Err(Error::BadLines(lines)) => assert_eq!(lines.len(), 20),
        other => panic!("{other:?}"),
    }
    let loaded = load(&path, &Mapping::default(), OnBadLine::Skip).expect("records");
    assert_eq!((loaded.records.len(), loaded.n_skipped, loaded.skipped.len()), (30, 31, 20));
}

#[test]
fn records_load_in_the_order_of_arrival() {
    let content = "user_id,type,time,arrival_time\na,x,1,9\nb,x,5,\nc,x,2,5\nd,x,5,5\n";
    let (_folder, path) = file("events.csv", content.as_bytes());
    let loaded = load(&path, &Mapping::default(), OnBadLine::Refuse).expect("records");
    let users: String = loaded.records.iter().map(|record| record.user.id()).collect();
    assert_eq!(users, "bcda");
}

#[test]
fn progress_reaches_the_end() {
    let (_folder, path) = file("events.csv", b"user_id,type,time\nu,a,1\n");
    let mut reader = Reader::open(&path, &Mapping::default()).expect("a reader");
    let progress = reader.progress().clone();
    assert!(reader.by_ref().all(|record| record.is_ok()));
    assert_eq!((progress.bytes_read(), progress.bytes_total()), (24, 24));
}

/// An id or a name.
fn name() -> impl Strategy<Value = Box<str>> {
    "[a-z]{1,8}|\\PC{1,15}|[\"\\\\,{]{1,4}".prop_map(Into::into)
}

fn text() -> impl Strategy<Value = Box<str>> {
    "\\PC{0,20}|[\"\\\\\n\t,]{1,4}".prop_map(Into::into)
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(|text| Value::Text((*text).into())),
        (proptest::num::f64::NORMAL | proptest::num::f64::ZERO | proptest::num::f64::SUBNORMAL)
            .prop_filter_map("too large", |number| (number.abs() <= MAX_MAGNITUDE)
                .then_some(Value::Number(number))),
        any::<i64>().prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Bool),
    ]
}

prop_compose! {
    fn record()(
        id in name(),
        is_known: bool,
        anonymous_id in proptest::option::of(name()),
        event_id in name(),
        kind in name(),
        time in MIN_TIME.as_millis()..=MAX_TIME.as_millis(),
        arrival in proptest::option::of(MIN_TIME.as_millis()..=MAX_TIME.as_millis()),
        properties in proptest::collection::btree_map(name(), value(), 0..8),
    ) -> Record {
        let user = if is_known { UserId::known(&id) } else { UserId::anonymous(&id) };
        Record {
            user,
            event: Event {
                uid: EventUid::of_id(&event_id),
                id: Some(event_id),
                kind,
                time: Timestamp::from_millis(time),
                anonymous_id: anonymous_id.filter(|_| is_known),
                properties: properties.into_iter().collect(),
            },
            arrival: arrival.map(Timestamp::from_millis),
        }
    }
}

fn write_and_read(path: &Path, records: &[Record]) -> Vec<Record> {
    let mut writer = Writer::create(path).expect("a writer");
    for record in records {
        writer.write(record).expect("written");
    }
    writer.finish().expect("finished");
    let reader = Reader::open(path, &Mapping::default()).expect("a reader");
    reader.map(|record| record.expect("a record")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read_back(records in proptest::collection::vec(record(), 0..20)) {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["events.jsonl", "events.jsonl.gz", "events.jsonl.zst"] {
            prop_assert_eq!(&write_and_read(&folder.path().join(name), &records), &records);
        }
    }

    #[test]
    fn no_line_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,80}") {
        for content in [&bytes[..], text.as_bytes()] {
            read("events.jsonl", content, "");
            read("events.csv", content, "");
            read("events.csv", &[b"user_id,type,time,x,y\n", content].concat(), "");
            read("events.jsonl.zst", content, "");
            read("events.csv.gz", content, "");
        }
    }
}

/// The committed data keeps what its description says.
mod online_retail {
    use std::collections::HashSet;

    use super::*;

    fn number(record: &Record, name: &str) -> f64 {
        property(record, name).and_then(Value::as_number).unwrap_or_else(|| panic!("{name} of {record:?}"))
    }

    #[test]
    fn the_file_is_as_described() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/online-retail/events.csv.zst");
        let mapping = Mapping::default();
        let records: Vec<Record> = Reader::open(&path, &mapping)
            .expect("the file")
            .collect::<Result<_, _>>()
            .expect("nothing but events");
        let of = |kind: &str| records.iter().filter(|record| &*record.event.kind == kind).collect::<Vec<_>>();
        let (purchases, returns) = (of("purchase"), of("return"));
        assert_eq!((records.len(), purchases.len(), returns.len()), (21_785, 18_402, 3_383));
        let users: HashSet<&UserId> = records.iter().map(|record| &record.user).collect();
        let ids: HashSet<&str> = records.iter().filter_map(|record| record.event.id.as_deref()).collect();
        assert_eq!((users.len(), ids.len()), (4_362, 21_785));

        let keys: Vec<_> =
            records.iter().map(|record| (record.event.time, record.event.id.clone())).collect();
        assert!(keys.is_sorted());
        assert_eq!(records[0].event.time.to_string(), "2010-12-01T08:26:00Z");
        assert_eq!(records[21_784].event.time.to_string(), "2011-12-09T12:50:00Z");
        // Summer time: 08:16 in London.
        let summer = records.iter().find(|record| record.event.id.as_deref() == Some("558638"));
        assert_eq!(summer.expect("the invoice").event.time.to_string(), "2011-07-01T07:16:00Z");

        let pence = |records: &[&Record]| {
            records.iter().map(|record| (number(record, "value") * 100.0).round() as i64).sum::<i64>()
        };
        assert_eq!((pence(&purchases), pence(&returns)), (876_106_665, 47_440_333));
        for record in &records {
            assert!(number(record, "value") > 0.0 && number(record, "items") >= 1.0);
            assert!(number(record, "products") >= 1.0 && number(record, "max_price") > 0.0);
            assert!(matches!(property(record, "top_product"), Some(Value::Text(_))));
            assert!(matches!(property(record, "country"), Some(Value::Text(_))));
        }
    }
}
