//! Random expressions, through parser, checker and evaluation, against a
//! naive evaluator of the same tree.

use proptest::prelude::*;

use super::*;
use crate::engine::vector::Slot;

const N_NUMBERS: usize = 3;
const N_BOOLS: usize = 3;

#[derive(Clone, Debug)]
enum Number {
    Literal(i8),
    Feature(usize),
    Negate(Box<Self>),
    Arithmetic(char, Box<Self>, Box<Self>),
    Least(Box<Self>, Box<Self>),
    OrValue(Box<Self>, Box<Self>),
    If(Box<Bool>, Box<Self>, Box<Self>),
}

#[derive(Clone, Debug)]
enum Bool {
    Literal(bool),
    Feature(usize),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Same(Box<Self>, Box<Self>),
    Compare(&'static str, Box<Number>, Box<Number>),
    In(Box<Number>, Vec<i8>),
    Has(Box<Number>),
    OrValue(Box<Self>, Box<Self>),
}

/// What the features hold.
#[derive(Clone, Debug)]
struct Values {
    numbers: [Option<i8>; N_NUMBERS],
    bools: [Option<bool>; N_BOOLS],
}

impl Number {
    fn source(&self) -> String {
        match self {
            Self::Literal(n) => n.to_string(),
            Self::Feature(index) => format!("n{index}"),
            Self::Negate(x) => format!("-({})", x.source()),
            Self::Arithmetic(op, a, b) => format!("({} {op} {})", a.source(), b.source()),
            Self::Least(a, b) => format!("math.least({}, {})", a.source(), b.source()),
            Self::OrValue(a, b) => format!("({}).orValue({})", a.source(), b.source()),
            Self::If(c, a, b) => format!("({} ? {} : {})", c.source(), a.source(), b.source()),
        }
    }

    fn naive(&self, values: &Values) -> Option<f64> {
        let number = match self {
            Self::Literal(n) => f64::from(*n),
            Self::Feature(index) => f64::from(values.numbers[*index]?),
            Self::Negate(x) => -x.naive(values)?,
            Self::Arithmetic(op, a, b) => {
                let (a, b) = (a.naive(values)?, b.naive(values)?);
                match op {
                    '+' => a + b,
                    '-' => a - b,
                    '*' => a * b,
                    _ if b == 0.0 => return None,
                    _ => a / b,
                }
            }
            Self::Least(a, b) => {
                let (a, b) = (a.naive(values)?, b.naive(values)?);
                if a < b { a } else { b }
            }
            Self::OrValue(a, b) => a.naive(values).or(b.naive(values))?,
            Self::If(c, a, b) => if c.naive(values)? { a.naive(values) } else { b.naive(values) }?,
        };
        number.is_finite().then_some(number)
    }
}

impl Bool {
    fn source(&self) -> String {
        match self {
            Self::Literal(bool) => bool.to_string(),
            Self::Feature(index) => format!("b{index}"),
            Self::Not(x) => format!("!({})", x.source()),
            Self::And(a, b) => format!("({} && {})", a.source(), b.source()),
            Self::Or(a, b) => format!("({} || {})", a.source(), b.source()),
            Self::Same(a, b) => format!("({} == {})", a.source(), b.source()),
            Self::Compare(op, a, b) => format!("({} {op} {})", a.source(), b.source()),
            Self::In(x, list) => format!("({} in {list:?})", x.source()),
            Self::Has(x) => format!("has({})", x.source()),
            Self::OrValue(a, b) => format!("({}).orValue({})", a.source(), b.source()),
        }
    }

    /// Kleene's tables, as sets of what is still possible.
    fn naive(&self, values: &Values) -> Option<bool> {
        match self {
            Self::Literal(bool) => Some(*bool),
            Self::Feature(index) => values.bools[*index],
            Self::Not(x) => known(x.possible(values).iter().map(|x| !x)),
            Self::And(a, b) => known(pairs(a, b, values).map(|(a, b)| a && b)),
            Self::Or(a, b) => known(pairs(a, b, values).map(|(a, b)| a || b)),
            Self::Same(a, b) => known(pairs(a, b, values).map(|(a, b)| a == b)),
            Self::Compare(op, a, b) => {
                let (a, b) = (a.naive(values)?, b.naive(values)?);
                Some(match *op {
                    "==" => a == b,
                    "!=" => a != b,
                    "<" => a < b,
                    "<=" => a <= b,
                    ">" => a > b,
                    _ => a >= b,
                })
            }
            Self::In(x, list) => {
                let x = x.naive(values)?;
                Some(list.iter().any(|element| f64::from(*element) == x))
            }
            Self::Has(x) => Some(x.naive(values).is_some()),
            Self::OrValue(a, b) => a.naive(values).or(b.naive(values)),
        }
    }

    fn possible(&self, values: &Values) -> Vec<bool> {
        self.naive(values).map_or(vec![false, true], |bool| vec![bool])
    }
}

fn pairs<'a>(a: &'a Bool, b: &'a Bool, values: &'a Values) -> impl Iterator<Item = (bool, bool)> + 'a {
    a.possible(values).into_iter().flat_map(|a| b.possible(values).into_iter().map(move |b| (a, b)))
}

fn known(mut possible: impl Iterator<Item = bool>) -> Option<bool> {
    let first = possible.next()?;
    possible.all(|other| other == first).then_some(first)
}

fn bools() -> impl Strategy<Value = Bool> {
    let number_leaf =
        || prop_oneof![(-3i8..4).prop_map(Number::Literal), (0..N_NUMBERS).prop_map(Number::Feature)].boxed();
    let leaf = prop_oneof![
        any::<bool>().prop_map(Bool::Literal),
        (0..N_BOOLS).prop_map(Bool::Feature),
        (comparison(), number_leaf(), number_leaf()).prop_map(|(op, a, b)| Bool::Compare(
            op,
            Box::new(a),
            Box::new(b)
        )),
    ];
    leaf.prop_recursive(4, 24, 2, move |bools| {
        let number = number_leaf().prop_recursive(2, 6, 2, {
            let bools = bools.clone();
            move |numbers| {
                let pair = || (numbers.clone(), numbers.clone());
                prop_oneof![
                    numbers.clone().prop_map(|x| Number::Negate(Box::new(x))),
                    (prop_oneof![Just('+'), Just('-'), Just('*'), Just('/')], pair())
                        .prop_map(|(op, (a, b))| Number::Arithmetic(op, Box::new(a), Box::new(b))),
                    pair().prop_map(|(a, b)| Number::Least(Box::new(a), Box::new(b))),
                    pair().prop_map(|(a, b)| Number::OrValue(Box::new(a), Box::new(b))),
                    (bools.clone(), pair()).prop_map(|(c, (a, b))| Number::If(
                        Box::new(c),
                        Box::new(a),
                        Box::new(b)
                    )),
                ]
            }
        });
        let pair = || (bools.clone(), bools.clone());
        prop_oneof![
            bools.clone().prop_map(|x| Bool::Not(Box::new(x))),
            pair().prop_map(|(a, b)| Bool::And(Box::new(a), Box::new(b))),
            pair().prop_map(|(a, b)| Bool::Or(Box::new(a), Box::new(b))),
            pair().prop_map(|(a, b)| Bool::Same(Box::new(a), Box::new(b))),
            pair().prop_map(|(a, b)| Bool::OrValue(Box::new(a), Box::new(b))),
            (comparison(), number.clone(), number.clone()).prop_map(|(op, a, b)| Bool::Compare(
                op,
                Box::new(a),
                Box::new(b)
            )),
            (number.clone(), prop::collection::vec(-3i8..4, 1..4))
                .prop_map(|(x, list)| Bool::In(Box::new(x), list)),
            number.prop_map(|x| Bool::Has(Box::new(x))),
        ]
    })
}

fn comparison() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="])
}

fn values() -> impl Strategy<Value = Values> {
    let numbers = prop::array::uniform3(prop::option::of(-3i8..4));
    let bools = prop::array::uniform3(prop::option::of(any::<bool>()));
    (numbers, bools).prop_map(|(numbers, bools)| Values { numbers, bools })
}

fn definitions(tested: &str) -> String {
    let mut source = format!("[features.tested]\nexpression = '''{tested}'''\n");
    for index in 0..N_NUMBERS {
        source += &format!("[features.n{index}]\naggregate = 'count'\nof = 'a'\nwindow = '1d'\n");
    }
    for index in 0..N_BOOLS {
        source += &format!("[features.b{index}]\nexpression = 'n0 > {index}'\n");
    }
    source
}

proptest! {
    #[test]
    fn three_valued_logic_equals_the_naive_evaluator(tested in bools(), values in values()) {
        let source = tested.source();
        prop_assume!(source.len() <= 1_024);
        let plan = compiled(&definitions(&source));
        let mut vector = plan.empty_vector();
        let mut set = |name: String, value: Option<f64>| {
            if let Slot::Number(slot) = plan.feature(&name).unwrap().slot {
                vector.numbers[slot] = value.unwrap_or(f64::NAN);
            }
        };
        for (index, number) in values.numbers.iter().enumerate() {
            set(format!("n{index}"), number.map(f64::from));
        }
        for (index, bool) in values.bools.iter().enumerate() {
            set(format!("b{index}"), bool.map(|bool| f64::from(u8::from(bool))));
        }
        let scope =
            Scope { event: None, vector: &vector, traits: &[], scores: &[], now: Timestamp::default() };
        let Expression::Bool(compiled) = expression(&plan, "tested") else {
            return Err(TestCaseError::fail("not a condition"));
        };
        prop_assert_eq!(compiled.eval(&scope), tested.naive(&values), "{}", source);
    }
}
