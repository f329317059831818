//! The canonical text of an expression: the same for every way of spacing,
//! parenthesising, quoting and writing numbers.

use std::fmt::Write;

use cel::common::ast::{Expr, IdedExpr, LiteralValue};

use super::parse::Parsed;

pub(in crate::definitions) fn canonical(parsed: &Parsed<'_>) -> String {
    let mut text = String::new();
    write(&parsed.root, &mut text);
    text
}

fn write(expr: &IdedExpr, out: &mut String) {
    match &expr.expr {
        Expr::Ident(name) => out.push_str(name),
        Expr::Select(select) => {
            write(&select.operand, out);
            // Writing into a string cannot fail.
            let _ = write!(out, ".{:?}", select.field);
        }
        Expr::Literal(literal) => write_literal(literal, out),
        Expr::Call(call) => {
            if let Some(target) = &call.target {
                write(target, out);
                out.push('.');
            }
            out.push_str(&call.func_name);
            write_list(&call.args, out);
        }
        Expr::List(list) => write_list(&list.elements, out),
        // Refused by the check; nothing else can follow here.
        Expr::Map(_) | Expr::Struct(_) | Expr::Comprehension(_) | Expr::Unspecified => {}
    }
}

fn write_list(elements: &[IdedExpr], out: &mut String) {
    out.push('(');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(element, out);
    }
    out.push(')');
}

fn write_literal(literal: &LiteralValue, out: &mut String) {
    let _ = match literal {
        LiteralValue::Boolean(bool) => write!(out, "{}", bool.inner()),
        LiteralValue::Double(double) => write!(out, "{:?}", double.inner()),
        LiteralValue::Int(int) => write!(out, "{:?}", *int.inner() as f64),
        LiteralValue::UInt(uint) => write!(out, "{:?}", *uint.inner() as f64),
        LiteralValue::String(text) => write!(out, "{:?}", text.inner()),
        LiteralValue::Bytes(_) | LiteralValue::Null => Ok(()),
    };
}
