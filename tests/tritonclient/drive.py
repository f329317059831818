"""Drives a server with Triton's own client: `drive.py HOST:PORT`.

The server is the one of tests/it/tritonclient.rs: the model `buys` of the one
feature `views_7d` says 2 from three views on and -2 below, before its link;
`ada` has three views; `never_trained` has no artifact. The client is used as
it comes.
"""

import asyncio
import math
import queue
import sys

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

LIKELY, UNLIKELY = 1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))


def tensor(name, values, datatype):
    given = triton.InferInput(name, list(values.shape), datatype)
    given.set_data_from_numpy(values)
    return given


def matrix(values, dtype=np.float64, datatype="FP64"):
    return tensor("input", np.array(values, dtype=dtype).reshape(-1, 1), datatype)


def users(*ids):
    return tensor("user_id", np.array([user.encode() for user in ids], dtype=np.object_), "BYTES")


def refused(call, status, *words):
    try:
        call()
    except InferenceServerException as error:
        assert error.status() == f"StatusCode.{status}", error
        for word in words:
            assert word in error.message(), error
        return
    raise AssertionError(f"{status} was expected")


def about_the_server(client):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("buys") and client.is_model_ready("buys", "1")
    assert not client.is_model_ready("buys", "2")
    assert not client.is_model_ready("never_trained") and not client.is_model_ready("byus")
    server = client.get_server_metadata(as_json=True)
    assert server["name"] == "tipoff" and "user_id" in server["extensions"], server

    model = client.get_model_metadata("buys", as_json=True)
    assert model["versions"] == ["1"], model
    assert model["inputs"] == [{"name": "input", "datatype": "FP64", "shape": ["-1", "1"]}], model
    assert [output["name"] for output in model["outputs"]] == ["probability", "raw"], model

    config = client.get_model_config("buys").config
    assert config.max_batch_size == 8192, config
    assert list(config.input[0].dims) == [1] and config.input[0].name == "input", config
    assert config.parameters["features"].string_value == "views_7d", config

    index = {model.name: model for model in client.get_model_repository_index().models}
    assert (index["buys"].version, index["buys"].state) == ("1", "READY"), index
    assert index["never_trained"].state == "UNAVAILABLE" and index["never_trained"].reason, index


def rows(client):
    answer = client.infer("buys", [matrix([0, 2, 3, math.nan])], request_id="q1")
    probability = answer.as_numpy("probability")
    assert probability.shape == (4, 1) and probability.dtype == np.float64, probability
    assert np.array_equal(answer.as_numpy("raw").ravel(), [-2, -2, 2, -2])
    assert np.allclose(probability.ravel(), [UNLIKELY, UNLIKELY, LIKELY, UNLIKELY], rtol=1e-12)
    response = answer.get_response()
    assert (response.id, response.model_name, response.model_version) == ("q1", "buys", "1"), response

    for dtype, datatype in [
        (np.float32, "FP32"),
        (np.int8, "INT8"),
        (np.int16, "INT16"),
        (np.int32, "INT32"),
        (np.int64, "INT64"),
        (np.uint8, "UINT8"),
        (np.uint16, "UINT16"),
        (np.uint32, "UINT32"),
        (np.uint64, "UINT64"),
    ]:
        answer = client.infer("buys", [matrix([0, 3], dtype, datatype)])
        assert np.array_equal(answer.as_numpy("raw").ravel(), [-2, 2]), datatype

    only = client.infer(
        "buys",
        [tensor("views_7d", np.array([3.0, 0.0]), "FP64")],
        model_version="1",
        outputs=[triton.InferRequestedOutput("raw")],
        compression_algorithm="gzip",
    )
    assert only.as_numpy("probability") is None
    assert np.array_equal(only.as_numpy("raw").ravel(), [2, -2])

    many = client.infer("buys", [matrix(np.arange(8192) % 5)])
    assert np.array_equal(many.as_numpy("raw").ravel(), np.where(np.arange(8192) % 5 >= 3, 2, -2))


def known_users(client):
    answer = client.infer("buys", [users("ada", "nobody", "ada")])
    assert np.array_equal(answer.as_numpy("raw").ravel(), [2, -2, 2])


def mistakes(client):
    def infer(*inputs, model="buys", **options):
        return lambda: client.infer(model, list(inputs), **options)

    good = matrix([3])
    refused(infer(good, model="byus"), "NOT_FOUND", "byus")
    refused(infer(good, model_version="7"), "NOT_FOUND", "version 7 is not loaded")
    refused(infer(good, model="never_trained"), "UNAVAILABLE", "no artifact")
    words = tensor("input", np.array([[b"3"]], dtype=np.object_), "BYTES")
    refused(infer(words), "INVALID_ARGUMENT", 'inputs["input"]', "BYTES")
    refused(infer(tensor("user_id", np.array([1.0]), "FP64")), "INVALID_ARGUMENT", 'inputs["user_id"]')
    half = tensor("input", np.array([[3]], dtype=np.float16), "FP16")
    refused(infer(half), "INVALID_ARGUMENT", 'inputs["input"]', "FP16")
    wide = tensor("input", np.zeros((2, 2)), "FP64")
    refused(infer(wide), "INVALID_ARGUMENT", 'inputs["input"]', "[2, 2]", "[n, 1]")
    refused(infer(tensor("views", np.array([3.0]), "FP64")), "INVALID_ARGUMENT", 'inputs["views"]')
    refused(infer(good, users("ada")), "INVALID_ARGUMENT", "no other input")
    refused(infer(good, outputs=[triton.InferRequestedOutput("score")]), "INVALID_ARGUMENT", 'outputs["score"]')
    refused(infer(matrix(np.zeros(8193))), "RESOURCE_EXHAUSTED", "8193 rows")
    refused(infer(good, sequence_id=1), "UNIMPLEMENTED", "sequence_id")
    refused(lambda: client.get_model_metadata("byus"), "NOT_FOUND", "byus")
    refused(lambda: client.get_model_config("byus"), "NOT_FOUND", "byus")
    refused(client.get_system_shared_memory_status, "UNIMPLEMENTED", "shares no memory")
    refused(lambda: client.load_model("byus"), "NOT_FOUND", "byus")
    client.load_model("buys")
    refused(lambda: client.unload_model("byus"), "NOT_FOUND", "byus")
    refused(lambda: client.unload_model("buys"), "FAILED_PRECONDITION", "stable points to version")


def statistics(client):
    [model] = client.get_inference_statistics("buys").model_stats
    before = model.inference_count
    client.infer("buys", [matrix([1, 2, 3])])
    [model] = client.get_inference_statistics("buys").model_stats
    assert model.inference_count == before + 3, model
    assert model.inference_stats.success.count == model.execution_count > 0, model
    assert model.inference_stats.success.ns > 0 and model.inference_stats.fail.count > 0, model
    assert [model.name for model in client.get_inference_statistics().model_stats] == ["buys"]


def stream(client):
    answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    client.async_stream_infer("buys", [matrix([3])])
    client.async_stream_infer("buys", [users("")])
    client.async_stream_infer("buys", [users("ada")])
    first, second, third = (answers.get(timeout=30) for _ in range(3))
    client.stop_stream()
    assert first[0].as_numpy("raw").ravel()[0] == 2 and third[0].as_numpy("raw").ravel()[0] == 2
    assert second[0] is None and "contents[0]" in second[1].message(), second


async def aio(address):
    async with triton_aio.InferenceServerClient(address) as client:
        assert await client.is_server_live() and await client.is_model_ready("buys")
        batches = [client.infer("buys", [matrix([views] * 10)]) for views in range(6)]
        for views, answer in enumerate(await asyncio.gather(*batches)):
            assert set(answer.as_numpy("raw").ravel()) == {2 if views >= 3 else -2}
        answer = await client.infer("buys", [users("ada")])
        assert np.allclose(answer.as_numpy("probability"), LIKELY)
        try:
            await client.infer("byus", [matrix([1])])
        except InferenceServerException as error:
            assert error.status() == "StatusCode.NOT_FOUND", error
        else:
            raise AssertionError("an unknown model was scored")


def main():
    address = sys.argv[1]
    with triton.InferenceServerClient(address) as client:
        for part in [about_the_server, rows, known_users, mistakes, statistics, stream]:
            part(client)
            print(part.__name__, "holds")
    asyncio.run(aio(address))
    print("aio holds")


if __name__ == "__main__":
    main()
