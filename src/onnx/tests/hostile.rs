//! Files that must be refused, with what is wrong and where, before a runtime
//! sees them.

use super::made::{Bytes, Made, message, node, number, port, raw_floats, tensor, text};
use crate::onnx::graph::ZipMap;
use crate::onnx::{Graph, without_zip_maps};

fn refused(content: &[u8]) -> String {
    match Graph::read(content) {
        Ok(graph) => panic!("not refused: {graph:?}"),
        Err(error) => error.to_string(),
    }
}

fn outside(location: &str) -> Made {
    let place = [text(1, "location"), text(2, location)].concat();
    let data = [message(13, &place), number(14, 1)];
    Made::small().with(|made| made.initializers = vec![tensor("w", 1, &[2, 1], &data)])
}

/// An attribute with a subgraph.
fn branch(graph: &[u8]) -> Bytes {
    message(5, &[text(1, "then_branch"), message(6, graph), number(20, 5)].concat())
}

/// `If` within `If`, so many of them.
fn nested(depth: usize) -> Made {
    let mut made = Made::small();
    made.inputs.push(port("yes", 9, &[]));
    let mut inner = message(1, &node("Identity", &["rows"], &["o"])).to_vec();
    inner.extend(message(12, &port("o", 1, &[-1])));
    for _ in 0..depth {
        let around = [node("If", &["yes"], &["o"]), branch(&inner)].concat();
        inner = [message(1, &around), message(12, &port("o", 1, &[-1]))].concat();
    }
    made.nodes.push([node("If", &["yes"], &["unused"]), branch(&inner)].concat());
    made
}

fn with_initializer(initializer: Bytes) -> Made {
    Made::small().with(|made| made.initializers = vec![initializer])
}

fn with_node(node: Bytes) -> Made {
    Made::small().with(|made| made.nodes.push(node))
}

fn in_domain(domain: &str) -> Bytes {
    [node("Fused", &["z"], &["other"]), text(7, domain)].concat()
}

#[test]
fn the_small_one_is_read() {
    let content = Made::small().bytes();
    let graph = Graph::read(&content).expect("nothing is wrong");
    assert_eq!((graph.inputs[0].name, graph.outputs[0].name), ("rows", "scores"));
    let content = nested(7).bytes();
    assert_eq!(Graph::read(&content).expect("deep, but not too deep").inputs.len(), 2);
}

/// One that others read stays: what reads it needs it.
#[test]
fn only_a_zip_map_that_nothing_reads_comes_off() {
    let zip = |input, output| [node("ZipMap", &[input], &[output]), text(7, "ai.onnx.ml")].concat();
    let zipped = Made::small().with(|made| {
        made.nodes.push(zip("scores", "by_class"));
        made.outputs.push(text(1, "by_class"));
    });
    let content = zipped.bytes();
    let graph = Graph::read(&content).expect("nothing is wrong");
    assert_eq!(graph.zip_maps[..], [ZipMap { output: "by_class", tensor: "scores" }]);
    let without = without_zip_maps(&content, &graph).expect("readable").expect("something to take off");
    // The tensor is an output already.
    assert_eq!(without, Made::small().bytes());

    let read = zipped.clone().with(|made| made.nodes.push(node("Identity", &["by_class"], &["same"])));
    assert_eq!(Graph::read(&read.bytes()).expect("nothing is wrong").zip_maps, []);
    let again = zipped.with(|made| made.nodes.push(zip("by_class", "twice")));
    assert_eq!(Graph::read(&again.bytes()).expect("nothing is wrong").zip_maps, []);
}

#[test]
fn bad_files_are_refused_with_what_and_where() {
    let zoo: Vec<(&str, Made, &str)> = vec![
        (
            "external data",
            outside("weights.bin"),
            "the data of the tensor \"w\" is outside the file (location: weights.bin)",
        ),
        ("a path to the root", outside("/etc/passwd"), "(location: /etc/passwd)"),
        (
            "a path upwards",
            outside("../../secrets"),
            "initializer 0: the data of the tensor \"w\" is outside",
        ),
        (
            "a place without a location",
            with_initializer(tensor("w", 1, &[2, 1], &[number(14, 1)])),
            "the tensor \"w\" is outside the file",
        ),
        (
            "external data of an attribute",
            with_node(
                [
                    node("Constant", &[], &["c"]),
                    message(
                        5,
                        &[text(1, "value"), message(5, &tensor("", 1, &[1], &[number(14, 1)]))].concat(),
                    ),
                ]
                .concat(),
            ),
            "node 2 (Constant), attribute \"value\": the data of the tensor \"\" is outside",
        ),
        (
            "a huge tensor",
            with_initializer(tensor("w", 1, &[1 << 31, 1 << 31], &[])),
            "tensor \"w\": 4611686018427387904 elements, of at most",
        ),
        (
            "an overflowing tensor",
            with_initializer(tensor("w", 1, &[i64::MAX, i64::MAX, 4], &[])),
            "tensor \"w\": 18446744073709551615 elements",
        ),
        ("a negative size", with_initializer(tensor("w", 1, &[-1], &[])), "elements, of at most"),
        (
            "a tensor of too little",
            with_initializer(tensor("w", 1, &[2, 1], &[raw_floats(&[0.5])])),
            "tensor \"w\": 2 elements take 8 bytes, but it holds 4",
        ),
        (
            "a tensor of too much",
            with_initializer(tensor("w", 1, &[1], &[message(4, &[0; 12])])),
            "1 elements take 1 elements, but it holds 3",
        ),
        (
            "data twice",
            with_initializer(tensor("w", 1, &[2], &[raw_floats(&[1.0, 2.0]), message(4, &[0; 8])])),
            "both raw and listed data",
        ),
        (
            "half a float",
            with_initializer(tensor("w", 1, &[1], &[message(4, &[0; 3])])),
            "packed floats of no whole number",
        ),
        (
            "an unknown element type",
            with_initializer(tensor("w", 99, &[1], &[raw_floats(&[0.5])])),
            "tensor \"w\": the element type 99 is not supported",
        ),
        (
            "too many dimensions",
            with_initializer(tensor("w", 1, &[1; 17], &[raw_floats(&[0.5])])),
            "more than 16 dimensions",
        ),
        (
            "an initializer twice",
            Made::small().with(|made| made.initializers.push(made.initializers[0].clone())),
            "initializer \"w\": there twice",
        ),
        (
            "a cycle",
            Made::small().with(|made| {
                made.nodes = vec![node("Add", &["rows", "b"], &["a"]), node("Identity", &["a"], &["b"])];
            }),
            "node 0 (Add): reads \"b\", which nothing before it makes (or a cycle)",
        ),
        (
            "a node that reads itself",
            with_node(node("Identity", &["me"], &["me"])),
            "node 2 (Identity): reads \"me\"",
        ),
        ("an input that is not there", with_node(node("Relu", &["nothing"], &["r"])), "reads \"nothing\""),
        ("a value twice", with_node(node("Relu", &["z"], &["scores"])), "value \"scores\": made twice"),
        (
            "an output that nothing makes",
            Made::small().with(|made| made.outputs.push(port("other", 1, &[-1]))),
            "output \"other\": nothing makes it",
        ),
        (
            "an output without a name",
            Made::small().with(|made| made.outputs.push(Bytes::new())),
            "an input or output without a name",
        ),
        ("no operator", with_node(node("", &["z"], &["r"])), "node 2 (): no operator"),
        (
            "a custom domain",
            with_node(in_domain("evil.plugins")).with(|made| made.opsets.push(("evil.plugins", 1))),
            "node 2 (Fused): the operator domain \"evil.plugins\" is not supported",
        ),
        (
            "a domain of the runtime's own",
            with_node(in_domain("com.microsoft")).with(|made| made.opsets.push(("com.microsoft", 1))),
            "the operator domain \"com.microsoft\"",
        ),
        (
            "a domain that is not imported",
            with_node(in_domain("ai.onnx.ml")).with(|made| made.opsets.truncate(1)),
            "does not import its domain \"ai.onnx.ml\"",
        ),
        (
            "an old operator set",
            Made::small().with(|made| made.opsets[0].1 = 6),
            "the operator set 6, older than 7",
        ),
        ("no operator set", Made::small().with(|made| made.opsets.clear()), "the operator set 0"),
        ("a loop", with_node(node("Loop", &["rows"], &["l"])), "node 2 (Loop): a loop is not supported"),
        ("chance", with_node(node("RandomUniform", &[], &["r"])), "node 2 (RandomUniform): chance"),
        ("graphs in graphs", nested(9), "a graph more than 8 deep in others is not supported"),
        ("graphs in graphs without end", nested(400), "a graph more than 8 deep"),
        (
            "a function",
            Made::small().with(|made| made.in_model = message(25, &text(1, "f"))),
            "a function of the model's own",
        ),
        ("training", Made::small().with(|made| made.in_model = message(20, &[])), "goes on training"),
        (
            "a sparse initializer",
            Made::small().with(|made| made.in_graph = message(15, &[])),
            "a sparse initializer",
        ),
        (
            "too many nodes",
            Made::small().with(|made| made.nodes = vec![node("Identity", &["rows"], &[]); (1 << 16) + 1]),
            "more than 65536 nodes",
        ),
        (
            "too many values",
            with_node([node("Split", &["z"], &[]), text(2, "").repeat(9), outputs(1 << 18)].concat()),
            "more than 262144 values",
        ),
        (
            "too many attributes",
            with_node([node("Relu", &["z"], &["r"]), message(5, &text(1, "a")).repeat(257)].concat()),
            "node 2 (Relu): more than 256 attributes",
        ),
        (
            "too many inputs",
            Made::small().with(|made| made.inputs = vec![port("rows", 1, &[-1, 2]); 4_097]),
            "more than 4096 inputs",
        ),
        (
            "a number for a name",
            with_node([node("Relu", &["z"], &["r"]), number(1, 7)].concat()),
            "a number where a message should be",
        ),
        ("a name of control characters", with_node(node("Re\nlu", &["z"], &["r"])), "not a plain text"),
    ];
    assert!(zoo.len() >= 40, "{}", zoo.len());
    for (what, made, expected) in zoo {
        let reason = refused(&made.bytes());
        assert!(reason.contains(expected), "{what}: {reason:?} does not say {expected:?}");
    }
}

fn outputs(n: usize) -> Bytes {
    (0..n).flat_map(|index| text(2, &format!("v{index}"))).collect()
}

#[test]
fn what_is_no_model_at_all_is_refused() {
    for (content, expected) in [
        (&b""[..], "no graph"),
        // What is run would be both, and what is checked the second.
        (&[nested(2).bytes(), Made::small().bytes()].concat(), "two graphs"),
        (b"\x80\x04\x95", "the file ends within a field"),
        (b"<html>", "byte 1: no field has this wire type"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "a number of more than 64 bits"),
    ] {
        let reason = refused(content);
        assert!(reason.contains(expected), "{content:?}: {reason:?} does not say {expected:?}");
    }
}

/// Cut anywhere, or with any byte changed: an error, or a graph; never a panic.
#[test]
fn damage_anywhere_is_an_error_or_another_graph() {
    let whole = nested(2).bytes();
    let mut n_refused = 0;
    for cut in 0..whole.len() {
        n_refused += usize::from(Graph::read(&whole[..cut]).is_err());
    }
    assert!(n_refused * 10 > whole.len() * 9, "{n_refused} of {}", whole.len());
    for at in 0..whole.len() {
        for value in [0, 0x7f, 0x80, 0xff, whole[at] ^ 1, whole[at] ^ 8] {
            let mut changed = whole.clone();
            changed[at] = value;
            let _ = Graph::read(&changed);
        }
    }
}
