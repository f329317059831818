use std::path::Path;

use expect_test::{Expect, expect};

use super::*;

fn load(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, Error> {
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    Config::from_layers(Some((Path::new("/etc/tipoff.toml"), file)), owned(environment), &owned(flags))
}

fn check(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)], mistakes: Expect) {
    let error = load(file, environment, flags).expect_err("the configuration is wrong");
    mistakes.assert_eq(&error.to_string());
}

#[test]
fn the_defaults_are_valid() {
    let config = Config::from_layers(None, [], &[]).expect("the defaults are valid");
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:7600");
    assert_eq!(config.pipeline.clock, ClockMode::Wall);
    assert_eq!(config.store.segment_bytes, 64 << 20);
    assert!(config.pipeline.workers >= 1);
}

#[test]
fn every_default_is_read_and_commented() {
    // A key that nothing reads takes any value without a complaint.
    let mut section = String::new();
    let mut previous = "";
    let mut n_keys = 0;
    for line in DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            let key = format!("{section}.{name}");
            let flags = [(key.clone(), "\u{1}".to_owned())];
            let free_texts = ["definitions.file", "models.directory", "onnx.library", "store.directory"];
            let is_free_text = free_texts.contains(&&*key);
            let mistakes =
                Config::from_layers(None, [], &flags).err().map_or(0, |error| error.mistakes.len());
            assert!(is_free_text || mistakes > 0, "nothing reads {key}");
            assert!(previous.starts_with('#') || key == "server.tls.key_file", "{key} has no comment");
            n_keys += 1;
        }
        previous = line;
    }
    assert!(n_keys > 30, "found only {n_keys} keys");
}

#[test]
fn later_layers_win() {
    let file =
        "[server]\nlisten = \"127.0.0.1:1\"\nhttp_listen = \"127.0.0.1:2\"\n[limits]\nbatch_events = 10";
    let environment = [("TIPOFF__SERVER__HTTP_LISTEN", "127.0.0.1:3"), ("PATH", "/bin")];
    let config = load(file, &environment, &[("limits.batch_events", "20")]).expect("valid");
    assert_eq!(config.server.listen.port(), 1);
    assert_eq!(config.server.http_listen.port(), 3);
    assert_eq!(config.limits.batch_events, 20);
}

#[test]
fn relative_paths_in_a_file_count_from_its_directory() {
    let config = load("[store]\ndirectory = \"state\"", &[], &[("models.directory", "m")]).expect("valid");
    assert_eq!(config.store.directory, Path::new("/etc/state"));
    assert_eq!(config.models.directory, Path::new("m"));
}

#[test]
fn unknown_keys_are_refused_with_the_nearest() {
    check(
        "lissten = 1\n\n[server]\n  lisen = \"127.0.0.1:1\"\n[servre]\ntoken = \"x\"\n[clock]\n[log.color]\nüber = 1\n[stroe]\ndirectory = \"x\"",
        &[("TIPOFF__PIPELINE__WORKER", "2"), ("TIPOFF__", "")],
        &[("batch_events", "3")],
        expect![[r#"
            /etc/tipoff.toml:1:1: unknown key `lissten`
            /etc/tipoff.toml:4:3: unknown key `server.lisen`; did you mean `server.listen`?
            /etc/tipoff.toml:6:1: unknown key `servre.token`; did you mean `server.token`?
            /etc/tipoff.toml:7:2: unknown key `clock`; did you mean `pipeline.clock`?
            /etc/tipoff.toml:9:1: invalid unquoted key, expected letters, numbers, `-`, `_`
            /etc/tipoff.toml:9:1: unknown key `log.color.über`
            /etc/tipoff.toml:11:1: unknown key `stroe.directory`; did you mean `store.directory`?
            environment TIPOFF__: unknown key ``
            environment TIPOFF__PIPELINE__WORKER: unknown key `pipeline.worker`; did you mean `pipeline.workers`?
            flag for batch_events: unknown key `batch_events`; did you mean `limits.batch_events`?"#]],
    );
}

#[test]
fn wrong_types_and_values_are_refused_by_what_was_expected() {
    check(
        r#"
limits = 3
[server]
listen = "localhost"
insecure = "yes"
keepalive_timeout = 10
[server.token]
a = 1
[store]
durability = "maybe"
segment_bytes = "64MB"
group_window = "1h"
[pipeline]
workers = -1
queue_events = [1]
[log]
level = "tipoff=loud"
"#,
        &[],
        &[
            ("limits.number_magnitude", "NaN"),
            ("pipeline.clock", "Replay"),
            ("limits.header_bytes", "2MiB"),
            ("store.view_cache_bytes", "0GiB"),
        ],
        expect![[r#"
            /etc/tipoff.toml:2:1: `limits` is a section
            /etc/tipoff.toml:4:1: `server.listen`: expected an address and port such as "127.0.0.1:7600" or "[::1]:7600"
            /etc/tipoff.toml:5:1: `server.insecure`: expected true or false
            /etc/tipoff.toml:6:1: `server.keepalive_timeout`: expected a duration such as "250ms", "10s" or "24h"
            /etc/tipoff.toml:8:1: unknown key `server.token.a`; did you mean `server.token`?
            /etc/tipoff.toml:10:1: `store.durability`: "maybe" is not one of "fsync", "interval", "memory"
            /etc/tipoff.toml:11:1: `store.segment_bytes`: expected a size such as "512B", "64KiB" or "4MiB"
            /etc/tipoff.toml:12:1: `store.group_window`: 1h is not within 0ms to 100ms
            /etc/tipoff.toml:14:1: `pipeline.workers`: expected a whole number
            /etc/tipoff.toml:15:1: `pipeline.queue_events` cannot be an array
            /etc/tipoff.toml:17:1: `log.level`: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5
            flag for limits.header_bytes: `limits.header_bytes`: 2MiB is not within 1KiB to 1MiB
            flag for limits.number_magnitude: `limits.number_magnitude`: NaN is not within 1.0 to 1e100
            flag for pipeline.clock: `pipeline.clock`: "Replay" is not one of "wall", "replay"
            flag for store.view_cache_bytes: `store.view_cache_bytes`: 0B is not within 1MiB to 1024GiB"#]],
    );
}

#[test]
fn broken_syntax_is_reported_with_everything_else() {
    check(
        "[server\nlisten = 3\n[log]\nlevle = \"info\"\n",
        &[],
        &[],
        expect![[r#"
        /etc/tipoff.toml:1:8: unclosed table, expected `]`
        /etc/tipoff.toml:4:1: unknown key `log.levle`; did you mean `log.level`?"#]],
    );
}

#[test]
fn beyond_loopback_a_token_or_a_word_is_needed() {
    let open = "[server]\nlisten = \"0.0.0.0:7600\"\nhttp_listen = \"[::]:7601\"";
    check(
        open,
        &[],
        &[],
        expect![[r#"
        /etc/tipoff.toml:2:1: `server.listen`: 0.0.0.0:7600 is beyond loopback and anyone could call: set `server.token_file`, or `server.insecure = true` if that is meant
        /etc/tipoff.toml:3:1: `server.http_listen`: [::]:7601 is beyond loopback and anyone could call: set `server.token_file`, or `server.insecure = true` if that is meant"#]],
    );
    check(
        open,
        &[("TIPOFF__SERVER__TOKEN", "short")],
        &[],
        expect![
            "environment TIPOFF__SERVER__TOKEN: `server.token`: a token is 16 to 1,024 visible ASCII characters"
        ],
    );
    load(open, &[], &[("server.insecure", "true")]).expect("meant so");
    let config = load(open, &[("TIPOFF__SERVER__TOKEN", "0123456789abcdef")], &[]).expect("guarded");
    let token = config.server.token.expect("set");
    assert_eq!(token.reveal(), "0123456789abcdef");
    assert_eq!(format!("{token:?}"), "Token(…)");
}

#[test]
fn a_token_can_stand_in_a_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("token");
    std::fs::write(&path, "0123456789abcdef\n").expect("written");
    let flags = [("server.token_file".to_owned(), path.display().to_string())];
    let config = Config::from_layers(None, [], &flags).expect("valid");
    assert_eq!(config.server.token.expect("set").reveal(), "0123456789abcdef");
}

#[test]
fn missing_files_and_half_a_pair_are_refused() {
    check(
        "[server]\ntoken_file = \"none\"\n[server.tls]\ncert_file = \"cert.pem\"",
        &[],
        &[],
        expect![[r#"
            /etc/tipoff.toml:2:1: `server.token_file`: /etc/none: No such file or directory (os error 2)
            /etc/tipoff.toml:4:1: `server.tls.cert_file`: /etc/cert.pem: No such file or directory (os error 2)
            /etc/tipoff.toml:4:1: `server.tls.cert_file`: `server.tls.key_file` is missing"#]],
    );
    check(
        "",
        &[("TIPOFF__STORE__DIRECTORY", "")],
        &[],
        expect!["environment TIPOFF__STORE__DIRECTORY: `store.directory`: must not be empty"],
    );
}

#[test]
fn an_unreadable_file_is_one_mistake() {
    let error = Config::load(Some(Path::new("/nowhere/tipoff.toml")), &[]).expect_err("missing");
    expect!["/nowhere/tipoff.toml: No such file or directory (os error 2)"].assert_eq(&error.to_string());
}
