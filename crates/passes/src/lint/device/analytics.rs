//! `analytics.mil`, from the cache of Core ML's compiler.
//!
//! Where: `~/Library/Caches/<process>/com.apple.e5rt.e5bundlecache/<system>/
//! <hash>/<hash>.bundle/<engine>.bundle/analytics.mil`. The file is MIL text of
//! the program before it was divided; each operation has the attributes
//! `BackendSupport` (a list; `unsupported` for those that do not take it),
//! `EstimatedRuntime` (ms by backend), `SelectedBackend` and, where a backend
//! does not take it, `ValidationMessage`. The function has what changing
//! backends costs (`Launch_ane_ms`, `Src_ane_Dest_bnns_ms`). The form is known
//! from files that 751K/Apple-Neural-Engine-Microarchitecture-Study-M6 published
//! (`data/03_compile/opdispatch/ana`, an M4 with macOS 27.0.1).
//!
//! This reads the operations only, one statement after the other, and skips
//! what it does not know; it is no parser of MIL.

use std::collections::BTreeMap;

use super::{Error, Placed, Record, unit};

/// Reads an `analytics.mil`.
///
/// # Errors
/// The text is no MIL program, or no operation of it names a backend.
pub fn analytics(text: &str) -> Result<Record, Error> {
    let refuse = |reason: &str| Error::Analytics {
        reason: reason.to_owned(),
    };
    if !text.trim_start().starts_with("program(") {
        return Err(refuse("it does not begin with `program(`"));
    }
    let mut record = Record::default();
    let mut function = None;
    for statement in Statements::of(text) {
        if let Some(header) = statement.trim_start().strip_prefix("func ") {
            let name: String = header.chars().take_while(|c| is_name(*c)).collect();
            record.costs.extend(costs(header));
            function = Some(name);
            continue;
        }
        if let Some(placed) = operation(statement, function.as_deref()) {
            record.operations.push(placed);
        }
    }
    if record.operations.is_empty() {
        return Err(refuse(
            "no operation has the attribute SelectedBackend; it may be the model.mil of a \
             compiled model, which says nothing about devices",
        ));
    }
    Ok(record)
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '.' || c == ':'
}

/// Pieces of a text that end in `;`, `{` or `}` outside of strings, brackets and
/// parentheses.
struct Statements<'a> {
    rest: &'a str,
}

impl<'a> Statements<'a> {
    fn of(text: &'a str) -> Self {
        Self { rest: text }
    }
}

impl<'a> Iterator for Statements<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() {
            return None;
        }
        let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
        for (at, c) in self.rest.char_indices() {
            if quoted {
                quoted = c != '"' || escaped;
                escaped = c == '\\' && !escaped;
                continue;
            }
            match c {
                '"' => quoted = true,
                '(' | '[' => depth += 1,
                ')' | ']' => depth = depth.saturating_sub(1),
                ';' | '{' | '}' if depth == 0 => {
                    let statement = &self.rest[..at];
                    self.rest = &self.rest[at + c.len_utf8()..];
                    return Some(statement);
                }
                _ => {}
            }
        }
        Some(std::mem::take(&mut self.rest))
    }
}

/// Where a character stands first outside of strings and of every bracket.
fn outside(text: &str, wanted: char) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (at, c) in text.char_indices() {
        if quoted {
            quoted = c != '"' || escaped;
            escaped = c == '\\' && !escaped;
            continue;
        }
        if c == wanted && depth == 0 {
            return Some(at);
        }
        match c {
            '"' => quoted = true,
            '(' | '[' | '<' | '{' => depth += 1,
            ')' | ']' | '>' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// What is between the bracket that `text` begins with and its partner, and
/// what follows.
fn bracketed(text: &str) -> Option<(&str, &str)> {
    let open = text.chars().next()?;
    let close = match open {
        '(' => ')',
        '[' => ']',
        '{' => '}',
        _ => return None,
    };
    let at = outside(&text[1..], close)? + 1;
    Some((&text[1..at], &text[at + 1..]))
}

/// `type name, type name = op<opset>(arguments)[attributes]`.
fn operation(statement: &str, function: Option<&str>) -> Option<Placed> {
    let equals = outside(statement, '=')?;
    let (results, rest) = (&statement[..equals], statement[equals + 1..].trim_start());
    let op_type: String = rest.chars().take_while(|c| is_name(*c)).collect();
    let rest = &rest[op_type.len()..];
    let rest = &rest[rest.find('(')?..];
    let (_, rest) = bracketed(rest)?;
    let (attributes, _) = bracketed(rest.trim_start())?;
    let attributes = list_of_attributes(attributes);
    let backend = strings(attributes.get("SelectedBackend")?)
        .into_iter()
        .next()?;
    let supported = attributes.get("BackendSupport").map(|v| strings(v));
    let supported = supported.unwrap_or_default().into_iter();
    let pairs = |key: &str| {
        attributes
            .get(key)
            .map(|v| dictionary(v))
            .unwrap_or_default()
    };
    let estimates = pairs("EstimatedRuntime").into_iter();
    Some(Placed {
        function: function.map(str::to_owned),
        outputs: results_of(results),
        op_type: op_type.rsplit("::").next().unwrap_or_default().to_owned(),
        unit: unit(&backend),
        backend,
        supported: supported.filter(|s| s != "unsupported").collect(),
        estimates: estimates
            .filter_map(|(k, v)| Some((k, number(&v)?)))
            .collect(),
        cost: None,
        messages: pairs("ValidationMessage").into_iter().collect(),
    })
}

/// The names of `type name, type name`.
fn results_of(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = outside(rest, ',').unwrap_or(rest.len());
        if let Some(name) = rest[..end].split_whitespace().next_back() {
            names.push(name.to_owned());
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    names
}

/// `key = value, key = value`, values as they are written.
fn list_of_attributes(text: &str) -> BTreeMap<&str, &str> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = outside(rest, ',').unwrap_or(rest.len());
        if let Some((key, value)) = rest[..end].split_once('=') {
            found.insert(key.trim(), value.trim());
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    found
}

/// Every string literal of a value, without its escapes.
fn strings(value: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut characters = value.chars();
    while let Some(c) = characters.next() {
        if c != '"' {
            continue;
        }
        let mut text = String::new();
        while let Some(c) = characters.next() {
            match c {
                '"' => break,
                '\\' => match characters.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some(other) => text.push(other),
                    None => break,
                },
                other => text.push(other),
            }
        }
        found.push(text);
    }
    found
}

/// The pairs of `dict<..>({{"key", value}, {"key", value}})`: values as written,
/// string literals without quotes.
fn dictionary(value: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let Some(at) = value.find("({") else {
        return found;
    };
    let Some((mut pairs, _)) = bracketed(&value[at + 1..]) else {
        return found;
    };
    while let Some(at) = pairs.find('{') {
        let Some((pair, rest)) = bracketed(&pairs[at..]) else {
            break;
        };
        pairs = rest;
        if let Some(comma) = outside(pair, ',') {
            let (key, value) = (&pair[..comma], pair[comma + 1..].trim());
            let text = strings(value).into_iter().next();
            let key = strings(key).into_iter().next();
            found.extend(key.map(|key| (key, text.unwrap_or_else(|| value.to_owned()))));
        }
    }
    found
}

/// `Launch_ane_ms = fp64(0x1p-3)` and the like of a function.
fn costs(header: &str) -> Vec<(String, f64)> {
    let attributes = header.find('[').and_then(|_| {
        // The parameters come first and have brackets of their own.
        let after = header.find('(').and_then(|at| bracketed(&header[at..]))?.1;
        bracketed(after.trim_start())
    });
    let attributes = attributes.map(|(inside, _)| list_of_attributes(inside));
    let all = attributes.unwrap_or_default().into_iter();
    all.filter(|(key, _)| key.ends_with("_ms"))
        .filter_map(|(key, value)| {
            let inside = value.split_once('(').map_or(value, |(_, rest)| rest);
            Some((key.to_owned(), number(inside.trim_end_matches(')'))?))
        })
        .collect()
}

/// A decimal number, or a hexadecimal one as C writes it (`0x1.8p-3`).
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    let Some(hex) = digits.strip_prefix("0x") else {
        return text.parse().ok().filter(|x: &f64| x.is_finite());
    };
    let (mantissa, exponent) = hex.split_once('p')?;
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut value = 0.0;
    for c in whole.chars() {
        value = value * 16.0 + f64::from(c.to_digit(16)?);
    }
    let mut place = 1.0 / 16.0;
    for c in part.chars() {
        value += place * f64::from(c.to_digit(16)?);
        place /= 16.0;
    }
    let exponent: i32 = exponent.parse().ok()?;
    Some(sign * value * 2f64.powi(exponent)).filter(|x| x.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::finding::Unit;

    /// Made by hand in the form that the module describes.
    const SAMPLE: &str = r#"program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3600.25.2"}})]
{
    func main<ios18>(tensor_buffer<fp16, shape=[1, 8], strides=[8, 1]> x) [Launch_ane_ms = fp64(0x1p-3), Src_ane_Dest_bnns_ms = fp64(0x1.8p-3)] {
            tensor<fp16, [1, 8]> x_4D454D5F4F5054 = tensor_buffer_to_tensor<ios17>(input = x)[BackendSupport = list<string, 2>(["bnns", "ane"]), EstimatedRuntime = dict<string, fp64>({{"ane", 0}, {"bnns", 0}}), SelectedBackend = string("bnns"), milId = uint64(0)];
            tensor<fp16, [1, 8]> a = acos(x = x_4D454D5F4F5054)[BackendSupport = list<string, 3>(["unsupported", "bnns", "classic_cpu"]), EstimatedRuntime = dict<string, fp64>({{"bnns", 0.0043}, {"classic_cpu", 0.25}}), SelectedBackend = string("bnns"), ValidationMessage = dict<string, string>({{"ane", "Unsupported MIL operation \"acos\"; {so} [it] (is)"}}), milId = uint64(1), name = string("a")];
            tensor<fp16, [1, 4]> b0, tensor<fp16, [1, 4]> b1 = split(axis = int32(1), num_splits = int32(2), x = a)[BackendSupport = list<string, 1>(["ane"]), SelectedBackend = string("ane"), milId = uint64(2)];
        } -> (b0, b1);
}"#;

    #[test]
    fn operations_are_read() {
        let record = analytics(SAMPLE).unwrap();
        assert_eq!(record.costs["Launch_ane_ms"], 0.125);
        assert_eq!(record.costs["Src_ane_Dest_bnns_ms"], 0.1875);
        assert_eq!(record.operations.len(), 3);
        let acos = &record.operations[1];
        assert_eq!(acos.function.as_deref(), Some("main"));
        assert_eq!(
            (acos.op_type.as_str(), acos.unit),
            ("acos", Some(Unit::Cpu))
        );
        assert_eq!(acos.outputs, ["a"]);
        assert_eq!(acos.supported, ["bnns", "classic_cpu"]);
        assert_eq!(acos.estimates["classic_cpu"], 0.25);
        assert_eq!(
            acos.messages["ane"],
            "Unsupported MIL operation \"acos\"; {so} [it] (is)"
        );
        assert_eq!(acos.takes_neural_engine(), Some(false));
        let split = &record.operations[2];
        assert_eq!(split.outputs, ["b0", "b1"]);
        assert_eq!(split.takes_neural_engine(), Some(true));
        println!("{} operations", record.operations.len());
    }

    #[test]
    fn other_texts_are_refused() {
        let plain = "program(1.0)\n{ func main<ios15>(tensor<fp32, [1]> x) { tensor<fp32, [1]> y \
                     = relu(x = x)[name = string(\"y\")]; } -> (y); }";
        for (text, word) in [
            ("", "program("),
            ("{}", "program("),
            (plain, "SelectedBackend"),
        ] {
            let error = analytics(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn damage_does_no_harm() {
        let mut read = 0;
        for at in (0..SAMPLE.len()).filter(|&at| SAMPLE.is_char_boundary(at)) {
            read += usize::from(analytics(&SAMPLE[..at]).is_ok());
            for with in ["\"", "{", "]", "=", "é"] {
                let text = format!("{}{with}{}", &SAMPLE[..at], &SAMPLE[at..]);
                let _ = analytics(&text);
            }
        }
        println!("{read} of {} beginnings hold an operation", SAMPLE.len());
        assert!(read > 0);
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(number("0x1p-3"), Some(0.125));
        assert_eq!(number("-0x1.8p1"), Some(-3.0));
        assert_eq!(number("1e-3"), Some(0.001));
        for bad in [
            "",
            "0x",
            "0xp",
            "0x1",
            "inf",
            "x",
            "0x1p99999",
            "0x1p9999999999",
        ] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }
}
