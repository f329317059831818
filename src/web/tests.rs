use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::config::Config;
use crate::metrics::tests::metrics;
use crate::shutdown::Shutdown;

/// A server that is unready for the reasons given.
#[derive(Default)]
struct Fixture {
    unready: Mutex<Vec<String>>,
}

impl Probe for Fixture {
    fn unready(&self) -> Vec<String> {
        self.unready.lock().expect("not poisoned").clone()
    }

    fn status(&self) -> Status {
        Status {
            version: "0.0.0",
            uptime_seconds: 1,
            unready: self.unready(),
            clock: ClockStatus { mode: "replay", now: "2011-01-01T00:00:00Z".into() },
            store: StoreStatus {
                directory: "data".into(),
                durability: "fsync",
                health: "healthy".into(),
                profiles: 3,
            },
            definitions: DefinitionsStatus { file: None, digest: "ab".into() },
            onnx: OnnxStatus { library: None, version: None },
            models: vec![ModelStatus {
                name: "purchase".into(),
                version: None,
                runtime: None,
                aliases: BTreeMap::new(),
                refused: Vec::new(),
            }],
            listen: ListenStatus {
                grpc: ([127, 0, 0, 1], 1).into(),
                http: ([127, 0, 0, 1], 2).into(),
                tls: false,
            },
        }
    }

    fn refresh(&self, metrics: &Metrics) {
        metrics.pipeline.profiles.set(42);
    }
}

/// Starts the pages on a free port.
async fn start(probe: Arc<Fixture>, token: &str, max_connections: usize) -> (SocketAddr, Shutdown) {
    let flags = [("server.token".to_owned(), token.to_owned())];
    let token = Config::from_layers(None, [], &flags).expect("valid").server.token;
    let metrics = Arc::new(metrics());
    let guard = Guard::new(token, metrics.clone());
    let connections =
        Connections::bind(([127, 0, 0, 1], 0).into(), max_connections).await.expect("a free port");
    let address = connections.local_addr().expect("bound");
    let shutdown = Shutdown::new();
    tokio::spawn(serve(connections, router(probe, metrics, guard), shutdown.token()));
    (address, shutdown)
}

/// The whole answer to a GET.
async fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    answer
}

#[tokio::test]
async fn readiness_names_its_reasons() {
    let probe = Arc::new(Fixture::default());
    let (address, _shutdown) = start(probe.clone(), "", 8).await;
    assert!(get(address, "/readyz", "").await.starts_with("HTTP/1.1 200"));
    probe.unready.lock().expect("not poisoned").push("recovering".into());
    let answer = get(address, "/readyz", "").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("recovering\n"), "{answer}");
    assert!(get(address, "/livez", "").await.starts_with("HTTP/1.1 200"), "alive all the same");
}

#[tokio::test]
async fn status_and_metrics_show_the_server() {
    let (address, _shutdown) = start(Arc::default(), "", 8).await;
    let answer = get(address, "/status", "").await;
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let status: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(status["clock"]["mode"], "replay");
    assert_eq!(status["models"][0]["version"], serde_json::Value::Null);
    assert_eq!(status["listen"]["grpc"], "127.0.0.1:1");
    let answer = get(address, "/metrics", "").await;
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("\ntipoff_profiles 42\n"), "{answer}");
}

#[tokio::test]
async fn with_a_token_only_the_probes_are_open() {
    let (address, _shutdown) = start(Arc::default(), "0123456789abcdef", 8).await;
    for path in ["/livez", "/readyz"] {
        assert!(get(address, path, "").await.starts_with("HTTP/1.1 200"), "{path}");
    }
    for path in ["/status", "/metrics"] {
        let answer = get(address, path, "").await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        assert!(answer.contains("www-authenticate: Bearer"), "{answer}");
        let answer = get(address, path, "authorization: Bearer 0123456789abcdef\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    assert!(get(address, "/nowhere", "").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_one_to_close() {
    let (address, _shutdown) = start(Arc::default(), "", 1).await;
    let idle = TcpStream::connect(address).await.expect("it listens");
    // The idle connection holds the only place; give the server time to accept it.
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let waiting = tokio::spawn(async move { get(address, "/livez", "").await });
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(!waiting.is_finished(), "the limit does not hold");
    drop(idle);
    assert!(waiting.await.expect("it answers").starts_with("HTTP/1.1 200"));
}
