//! The Open Inference Protocol over the wire; `tritonclient.rs` has a client of others.

use tipoff::proto::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use tipoff::proto::inference::*;
use tipoff::proto::v1;
use tokio_stream::StreamExt;
use tonic::{Code, Request};

use super::failure;
use crate::harness::{TestServer, event, publish_model, user};

fn request(name: &str, datatype: &str, shape: &[i64], contents: InferTensorContents) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "buys".into(),
        id: "7".into(),
        inputs: vec![InferInputTensor {
            name: name.to_owned(),
            datatype: datatype.to_owned(),
            shape: shape.to_vec(),
            contents: Some(contents),
            ..InferInputTensor::default()
        }],
        ..ModelInferRequest::default()
    }
}

/// Rows of the one feature of `buys`, `views_7d`.
fn rows(values: &[f64]) -> ModelInferRequest {
    let contents = InferTensorContents { fp64_contents: values.to_vec(), ..InferTensorContents::default() };
    request("input", "FP64", &[values.len() as i64, 1], contents)
}

fn users(ids: &[&str]) -> ModelInferRequest {
    let bytes_contents = ids.iter().map(|id| id.as_bytes().to_vec()).collect();
    let contents = InferTensorContents { bytes_contents, ..InferTensorContents::default() };
    request("user_id", "BYTES", &[ids.len() as i64], contents)
}

/// The typed values of an output.
fn values<'r>(response: &'r ModelInferResponse, output: &str) -> &'r [f64] {
    let output = response.outputs.iter().find(|tensor| tensor.name == output).expect("answered");
    &output.contents.as_ref().expect("typed").fp64_contents
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_users_are_scored_as_the_scoring_service_does() {
    let server = TestServer::start(&[]).await;
    server.accept((0..3).map(|i| event("ada", "page_view", 1_000_000 + i))).await;
    let mut inference = server.inference();

    let response = inference.model_infer(rows(&[3.0, 0.0, f64::NAN])).await.expect("scored").into_inner();
    assert_eq!((response.model_name.as_str(), response.model_version.as_str()), ("buys", "1"));
    assert_eq!(response.id, "7");
    assert_eq!(values(&response, "raw"), [2.0, -2.0, -2.0]);
    assert!(response.raw_output_contents.is_empty());

    let response = inference.model_infer(users(&["ada", "nobody"])).await.expect("scored").into_inner();
    assert_eq!(values(&response, "raw"), [2.0, -2.0]);
    for (index, id) in ["ada", "nobody"].into_iter().enumerate() {
        let request = v1::ScoreRequest { user: user(id), ..v1::ScoreRequest::default() };
        let scored = server.scoring().score(request).await.expect("scored").into_inner();
        assert_eq!(values(&response, "probability")[index], scored.scores[0].outputs[0].value);
    }

    let mut raw = rows(&[]);
    (raw.inputs[0].contents, raw.inputs[0].shape) = (None, vec![1, 1]);
    raw.raw_input_contents = vec![3.0_f64.to_le_bytes().to_vec().into()];
    raw.outputs = vec![InferRequestedOutputTensor { name: "raw".into(), ..Default::default() }];
    let response = inference.model_infer(raw).await.expect("scored").into_inner();
    assert_eq!(response.raw_output_contents, [2.0_f64.to_le_bytes()]);
    assert_eq!(response.outputs.len(), 1);
    assert!(response.outputs[0].contents.is_none());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_names_its_tensor_and_reason() {
    let server = TestServer::start(&[("limits.inference_rows", "2")]).await;
    let mut inference = server.inference();
    let of_model = |name: &str, version: &str| ModelInferRequest {
        model_name: name.to_owned(),
        model_version: version.to_owned(),
        ..rows(&[1.0])
    };
    let asked = |name: &str| ModelInferRequest {
        outputs: vec![InferRequestedOutputTensor { name: name.to_owned(), ..Default::default() }],
        ..rows(&[1.0])
    };
    for (request, code, reason, message) in [
        (of_model("byus", ""), Code::NotFound, "MODEL_UNKNOWN", "byus"),
        (of_model("buys", "2"), Code::NotFound, "MODEL_UNKNOWN", "loaded: 1"),
        (of_model("never_trained", ""), Code::Unavailable, "MODEL_NOT_LOADED", "no artifact"),
        (asked("margin"), Code::InvalidArgument, "TENSOR_UNKNOWN", "margin"),
        (rows(&[1.0; 3]), Code::ResourceExhausted, "BATCH_TOO_LARGE", "at most 2"),
        (users(&["ada", ""]), Code::InvalidArgument, "USER_ID_MISSING", "contents[1]"),
        (
            request("views_7d", "BYTES", &[1], InferTensorContents::default()),
            Code::InvalidArgument,
            "TENSOR_DATATYPE",
            "views_7d",
        ),
    ] {
        let status = inference.model_infer(request).await.expect_err(reason);
        assert_eq!(failure(&status), (code, reason.to_owned()));
        assert!(status.message().contains(message), "{status:?}");
    }
    let status = inference.system_shared_memory_status(SharedMemoryRequest {}).await.expect_err("none");
    assert_eq!(failure(&status), (Code::Unimplemented, "NOT_SUPPORTED".into()));

    let metrics = inference.model_statistics(ModelStatisticsRequest::default()).await.expect("counted");
    let [statistics] = metrics.get_ref().model_stats.as_slice() else { panic!("{metrics:?}") };
    let times = statistics.inference_stats.as_ref().expect("always");
    assert_eq!(times.fail.expect("always").count, 4);
    assert_eq!((statistics.inference_count, statistics.last_inference), (0, 0));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_asked_for_here_too() {
    let server = TestServer::start(&[("server.token", "0123456789abcdef")]).await;
    let mut inference = server.inference();
    let status = inference.model_infer(rows(&[1.0])).await.expect_err("no token");
    assert_eq!(failure(&status), (Code::Unauthenticated, "TOKEN_MISSING".into()));
    let mut request = Request::new(rows(&[1.0]));
    request.metadata_mut().insert("authorization", "Bearer 0123456789abcdef".parse().expect("a header"));
    inference.model_infer(request).await.expect("scored");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_after_a_refused_batch_and_ends_when_the_server_drains() {
    let server = TestServer::start(&[]).await;
    let (send, batches) = tokio::sync::mpsc::channel(4);
    let batches = tokio_stream::wrappers::ReceiverStream::new(batches);
    for batch in [rows(&[3.0]), users(&[""]), rows(&[0.0])] {
        send.send(batch).await.expect("there is room");
    }
    let answers = server.inference().model_stream_infer(batches).await.expect("opened").into_inner();
    let mut answers = answers.map(|answer| answer.expect("no failure"));
    let scored = |answer: &ModelStreamInferResponse| {
        values(answer.infer_response.as_ref().expect("always"), "raw").to_vec()
    };
    assert_eq!(scored(&answers.next().await.expect("answered")), [2.0]);
    let refused = answers.next().await.expect("answered");
    assert!(refused.error_message.contains("contents[0]"), "{refused:?}");
    assert_eq!(refused.infer_response.expect("always").id, "7");
    assert_eq!(scored(&answers.next().await.expect("answered")), [-2.0]);
    server.app().shutdown().drain();
    assert!(answers.next().await.is_none(), "a stream that goes on would hold up the stop");
    drop(send);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_needs_is_unloaded_and_what_was_rolled_back_stays_so() {
    let server = TestServer::start(&[]).await;
    let mut inference = server.inference();
    let load = || RepositoryModelLoadRequest { model_name: "buys".to_owned(), ..Default::default() };
    let unload =
        |name: &str| RepositoryModelUnloadRequest { model_name: name.to_owned(), ..Default::default() };
    let ready = async || {
        let request = RepositoryIndexRequest { ready: true, ..Default::default() };
        let index = server.inference().repository_index(request).await.expect("listed").into_inner();
        index.models.into_iter().map(|model| model.version).collect::<Vec<_>>()
    };
    for _ in 0..2 {
        publish_model(server.directory.path());
        inference.repository_model_load(load()).await.expect("loaded");
    }
    assert_eq!(ready().await, ["3", "2", "1"]);
    inference.repository_model_unload(unload("buys")).await.expect("unloaded");
    assert_eq!(ready().await, ["3", "2"]);
    let status = inference.repository_model_unload(unload("buys")).await.expect_err("all are needed");
    assert_eq!(failure(&status), (Code::FailedPrecondition, "MODEL_IN_USE".into()));
    assert!(status.message().contains("stable points to version 3"), "{status:?}");

    let rollback = v1::RollbackRequest { name: "buys".into(), who: "ada".into(), ..Default::default() };
    server.models().rollback(rollback).await.expect("rolled back");
    inference.repository_model_load(load()).await.expect("as it was");
    let response = inference.model_infer(rows(&[3.0])).await.expect("scored").into_inner();
    assert_eq!(response.model_version, "2");
    inference.repository_model_unload(unload("buys")).await.expect("unloaded");
    assert_eq!(ready().await, ["2"]);

    let parameters = |name: &str| [(name.to_owned(), ModelRepositoryParameter::default())].into();
    let other = RepositoryModelUnloadRequest { parameters: parameters("force"), ..unload("buys") };
    let known =
        RepositoryModelUnloadRequest { parameters: parameters("unload_dependents"), ..unload("buys") };
    for (request, code, reason) in [
        (unload("byus"), Code::NotFound, "MODEL_UNKNOWN"),
        (other, Code::Unimplemented, "NOT_SUPPORTED"),
        (known, Code::FailedPrecondition, "MODEL_IN_USE"),
    ] {
        let status = inference.repository_model_unload(request).await.expect_err(reason);
        assert_eq!(failure(&status), (code, reason.to_owned()));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_is_loaded_and_a_broken_one_names_its_reason() {
    let server = TestServer::start(&[]).await;
    let mut inference = server.inference();
    let load = |name: &str| RepositoryModelLoadRequest { model_name: name.to_owned(), ..Default::default() };
    publish_model(server.directory.path());
    inference.repository_model_load(load("buys")).await.expect("loaded");
    let response = inference.model_infer(rows(&[3.0])).await.expect("scored").into_inner();
    assert_eq!(response.model_version, "2");
    let statistics = inference.model_statistics(ModelStatisticsRequest::default()).await.expect("counted");
    assert_eq!(statistics.get_ref().model_stats[0].version, "2");
    assert_eq!(statistics.get_ref().model_stats[0].inference_count, 1);

    publish_model(server.directory.path());
    std::fs::write(server.directory.path().join("models/buys/3/forest.json"), "{}").expect("written");
    let status = inference.repository_model_load(load("buys")).await.expect_err("it is broken");
    assert!(status.message().contains("forest.json has 2 bytes"), "{status:?}");
    let index = inference.repository_index(RepositoryIndexRequest::default()).await.expect("listed");
    let shown: Vec<_> = index.get_ref().models.iter().map(|m| (&*m.name, &*m.version, &*m.state)).collect();
    // The first is kept for a rollback.
    let expected = [
        ("buys", "3", "UNAVAILABLE"),
        ("buys", "2", "READY"),
        ("buys", "1", "READY"),
        ("never_trained", "", "UNAVAILABLE"),
    ];
    assert_eq!(shown, expected);

    for (request, code, reason) in [
        (load("byus"), Code::NotFound, "MODEL_UNKNOWN"),
        (load("never_trained"), Code::Unavailable, "MODEL_NOT_LOADED"),
        (
            RepositoryModelLoadRequest {
                parameters: [("config".to_owned(), ModelRepositoryParameter::default())].into(),
                ..load("buys")
            },
            Code::Unimplemented,
            "NOT_SUPPORTED",
        ),
    ] {
        let status = inference.repository_model_load(request).await.expect_err(reason);
        assert_eq!(failure(&status), (code, reason.to_owned()));
    }
    server.stop().await;
}
