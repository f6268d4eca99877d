//! Reads MIL text: recursive descent over the tokens of [`lex`](super::lex).
//!
//! An error is recorded with its place, and reading goes on behind the next
//! `;`, so that one run shows several. Nothing is allocated by a number in the
//! text but what `splat`, `seeded` and `hex` make, and that has a limit.

use std::collections::HashMap;
use std::ops::Range;

use super::lex::{Kind, Lexer, Token};
use super::{Dialect, Parsed};
use crate::arena::{BlockId, Id, OpId, ValueId};
use crate::diagnostic::{Diagnostic, Location, Severity, TextSpan};
use crate::ops::Opset;
use crate::program::{Arg, Block, Function, Op, Program, Value, ValueDef};
use crate::types::ValueType;

/// More errors than a person reads at once; usually they follow from the first.
const MAX_ERRORS: usize = 30;

/// Blocks in blocks, as in a package.
const MAX_BLOCKS: usize = 64;

/// An error has been recorded; the construct around it is given up.
pub(super) struct Stop;

pub(super) type Parse<T> = Result<T, Stop>;

pub(super) struct Parser<'t> {
    pub(super) text: &'t str,
    lexer: Lexer<'t>,
    /// The next token, not yet taken.
    pub(super) token: Token,
    /// The one after it.
    pub(super) ahead: Token,
    /// Where the last token that was taken ends.
    last_end: usize,
    pub(super) program: Program,
    /// Names in scope, innermost last.
    scopes: Vec<HashMap<String, ValueId>>,
    /// Where each value is defined, by id.
    value_places: Vec<Range<usize>>,
    /// Where each operation stands, by id.
    op_places: Vec<Range<usize>>,
    /// Where the attributes of each function stand.
    attribute_places: Vec<Vec<Range<usize>>>,
    /// Whether results of the function could not be read, so that names may be
    /// unknown without being wrong.
    results_lost: bool,
    /// Bytes that `splat`, `seeded` and `hex` may still make.
    pub(super) budget: u64,
    /// Nested types and constants around this place.
    pub(super) depth: usize,
    errors: Vec<Diagnostic>,
}

impl<'t> Parser<'t> {
    pub(super) fn new(text: &'t str, budget: u64) -> Self {
        let mut lexer = Lexer::new(text);
        let token = lexer.next();
        let ahead = lexer.next();
        Self {
            text,
            lexer,
            token,
            ahead,
            last_end: 0,
            program: Program {
                version: 1,
                ..Program::default()
            },
            scopes: Vec::new(),
            value_places: Vec::new(),
            op_places: Vec::new(),
            attribute_places: Vec::new(),
            results_lost: false,
            budget,
            depth: 0,
            errors: Vec::new(),
        }
    }

    pub(super) fn run(mut self) -> Result<Parsed, Vec<Diagnostic>> {
        let dialect = self.whole().unwrap_or_default();
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        Ok(Parsed {
            program: self.program,
            dialect,
            ops: self.op_places,
            values: self.value_places,
            attributes: self.attribute_places,
        })
    }

    /// `program(1.3) [attributes] { functions }`
    fn whole(&mut self) -> Parse<Dialect> {
        let dialect = self.header()?;
        if self.is_mark(b'[') {
            self.program.attributes = self.attributes()?;
        }
        self.mark(b'{', "before the functions")?;
        while !self.is_mark(b'}') && self.token.kind != Kind::End {
            if self.function().is_err() {
                if self.is_full() {
                    return Err(Stop);
                }
                self.skip_function();
            }
        }
        self.mark(b'}', "after the functions")?;
        if self.token.kind != Kind::End {
            return Err(self.unexpected("the end of the text"));
        }
        Ok(dialect)
    }

    fn header(&mut self) -> Parse<Dialect> {
        self.keyword("program")?;
        self.mark(b'(', "before the version")?;
        let version = self.token;
        let dialect = match (version.kind, self.spelled(version)) {
            (Kind::Number, "1.0") => Dialect::V1_0,
            (Kind::Number, "1.3") => Dialect::V1_3,
            (Kind::Number, other) => {
                let message = format!("program({other}) is not known; known are 1.0 and 1.3");
                return Err(self.fail("mil-version", version.range(), message));
            }
            _ => return Err(self.unexpected("a version, 1.0 or 1.3")),
        };
        self.take();
        self.mark(b')', "after the version")?;
        Ok(dialect)
    }

    /// `func name<opset>(inputs) [attributes] { operations } -> (outputs);`
    fn function(&mut self) -> Parse<()> {
        self.keyword("func")?;
        let (name, place) = self.name("the function's name")?;
        self.mark(b'<', "before the opset")?;
        let (opset, _) = self.name("the opset, such as ios17")?;
        let opset = Opset::from_text_name(&opset).map_or(opset, |known| known.name().to_owned());
        self.mark(b'>', "after the opset")?;
        self.results_lost = false;
        self.mark(b'(', "before the inputs")?;
        let inputs = self.typed_names(b')')?;
        self.mark(b')', "after the inputs")?;

        let known = self.program.functions.iter().position(|f| f.name == name);
        self.scopes = vec![HashMap::new()];
        match known {
            None => {
                let index = self.program.functions.len();
                let inputs = self.define(inputs, |n| ValueDef::FunctionInput(index, n));
                self.program.functions.push(Function {
                    name,
                    opset: opset.clone(),
                    inputs,
                    specializations: Vec::new(),
                    attributes: Vec::new(),
                });
                self.attribute_places.push(Vec::new());
            }
            Some(index) => self.another_body(index, &opset, inputs, place)?,
        }
        let index = known.unwrap_or(self.program.functions.len() - 1);
        if self.is_mark(b'[') {
            let mut places = Vec::new();
            self.program.functions[index].attributes = self.attributes_at(&mut places)?;
            self.attribute_places[index] = places;
        }
        let body = self.block(None)?;
        self.program.functions[index]
            .specializations
            .push((opset, body));
        self.mark(b';', "after the function")
    }

    /// The same function for another opset. It has the same inputs.
    fn another_body(
        &mut self,
        index: usize,
        opset: &str,
        inputs: Vec<TypedName>,
        place: Range<usize>,
    ) -> Parse<()> {
        let function = &self.program.functions[index];
        let name = function.name.clone();
        if function.specializations.iter().any(|(o, _)| o == opset) {
            let message = format!("the function `{name}` is given twice for this opset");
            return Err(self.fail("mil-name", place, message));
        }
        let known = function.inputs.clone();
        let same = known.len() == inputs.len()
            && known.iter().zip(&inputs).all(|(&id, input)| {
                let value = &self.program.values[id];
                value.name == input.name && value.ty == input.ty
            });
        if !same {
            let message = format!("the function `{name}` has other inputs for another opset");
            return Err(self.fail("mil-name", place, message));
        }
        for id in known {
            let name = self.program.values[id].name.clone();
            self.scopes[0].insert(name, id);
        }
        Ok(())
    }

    /// `{ operations } -> (outputs)`; the scope around it is the last one.
    fn block(&mut self, parent: Option<OpId>) -> Parse<BlockId> {
        if self.scopes.len() > MAX_BLOCKS {
            let message = format!("blocks are nested more than {MAX_BLOCKS} deep");
            return Err(self.fail("mil-limit", self.token.range(), message));
        }
        let id = self.program.blocks.push(Block {
            parent,
            ..Block::default()
        });
        self.scopes.push(HashMap::new());
        let read = self.block_content(id);
        self.scopes.pop();
        read.map(|()| id)
    }

    fn block_content(&mut self, id: BlockId) -> Parse<()> {
        if self.is_mark(b'(') {
            self.take();
            let inputs = self.typed_names(b')')?;
            self.mark(b')', "after the block's inputs")?;
            let inputs = self.define(inputs, |n| ValueDef::BlockInput(id, n));
            self.program.blocks[id].inputs = inputs;
        }
        if self.is_mark(b'[') {
            self.program.blocks[id].attributes = self.attributes()?;
        }
        self.mark(b'{', "before the operations")?;
        while !self.is_mark(b'}') && self.token.kind != Kind::End {
            match self.operation() {
                Ok(op) => self.program.blocks[id].ops.push(op),
                Err(Stop) if self.is_full() => return Err(Stop),
                Err(Stop) => self.skip_operation(),
            }
        }
        self.mark(b'}', "after the operations")?;
        if self.token.kind != Kind::Arrow {
            return Err(self.unexpected("`->` and the block's outputs"));
        }
        self.take();
        self.mark(b'(', "before the outputs")?;
        let mut outputs = Vec::new();
        self.list(b')', |p| {
            let (name, place) = p.name("the name of an output")?;
            outputs.push(p.used(&name, place));
            Ok(())
        })?;
        self.program.blocks[id].outputs = outputs;
        self.mark(b')', "after the outputs")
    }

    /// `type name, type name = op(arguments)[attributes] blocks;`
    fn operation(&mut self) -> Parse<OpId> {
        let start = self.token.start;
        let has_results = !(self.token.kind == Kind::Word && is_mark(self.ahead, b'('));
        let results = if has_results {
            let results = self
                .typed_names(b'=')
                .inspect_err(|_| self.results_lost = true)?;
            if !self.is_mark(b'=') {
                self.results_lost = true;
            }
            self.mark(b'=', "between results and operation")?;
            results
        } else {
            Vec::new()
        };
        let read = self.operation_right(start);
        // The results exist even if the rest is wrong, or every use of them
        // would be another error.
        let op = read.as_ref().map_or(OpId::new(usize::MAX), |&op| op);
        let outputs = self.define(results, |n| ValueDef::Op(op, n));
        let op = read?;
        self.program.ops[op].outputs = outputs;
        if self.mark(b';', "after the operation").is_err() {
            // It is only forgotten when another operation begins here.
            let begins = matches!(self.token.kind, Kind::Word | Kind::Mark(b'}'));
            if !begins || self.is_full() {
                return Err(Stop);
            }
        }
        Ok(op)
    }

    fn operation_right(&mut self, start: usize) -> Parse<OpId> {
        let (op_type, place) = self.name("the type of an operation")?;
        self.mark(b'(', "before the arguments")?;
        let mut op = Op::new(op_type);
        self.list(b')', |p| {
            let (param, at) = p.name("the name of a parameter")?;
            if op.inputs.iter().any(|(name, _)| *name == param) {
                let message = format!("the parameter `{param}` is given twice");
                return Err(p.fail("mil-name", at, message));
            }
            p.mark(b'=', "between parameter and argument")?;
            let args = p.arguments()?;
            op.inputs.push((param, args));
            Ok(())
        })?;
        self.mark(b')', "after the arguments")?;
        if self.is_mark(b'[') {
            op.attributes = self.attributes()?;
        }
        let id = self.program.ops.push(op);
        self.op_places.push(start..place.end);
        while self.is_mark(b'{') || self.is_mark(b'(') {
            let block = self.block(Some(id))?;
            self.program.ops[id].blocks.push(block);
            if self.is_mark(b',') {
                self.take();
            }
        }
        Ok(id)
    }

    /// One argument, or several in parentheses.
    fn arguments(&mut self) -> Parse<Vec<Arg>> {
        if !self.is_mark(b'(') {
            return Ok(vec![self.argument()?]);
        }
        self.take();
        let mut args = Vec::new();
        self.list(b')', |p| {
            args.push(p.argument()?);
            Ok(())
        })?;
        self.mark(b')', "after the arguments of the parameter")?;
        Ok(args)
    }

    fn argument(&mut self) -> Parse<Arg> {
        let is_type = is_mark(self.ahead, b'(') || is_mark(self.ahead, b'<');
        if self.token.kind == Kind::Word && is_type {
            return Ok(Arg::Const(self.constant()?));
        }
        let (name, place) = self.name("a value or a constant")?;
        Ok(Arg::Value(self.used(&name, place)))
    }

    /// `type name, type name` up to `end`.
    fn typed_names(&mut self, end: u8) -> Parse<Vec<TypedName>> {
        let mut names = Vec::new();
        self.list(end, |p| {
            let ty = p.value_type()?;
            let (name, place) = p.name("the name of a value")?;
            names.push(TypedName { name, ty, place });
            Ok(())
        })?;
        Ok(names)
    }

    /// Items with commas between them, up to `end`, which is left.
    pub(super) fn list(
        &mut self,
        end: u8,
        mut item: impl FnMut(&mut Self) -> Parse<()>,
    ) -> Parse<()> {
        if self.is_mark(end) {
            return Ok(());
        }
        loop {
            item(self)?;
            if !self.is_mark(b',') {
                return Ok(());
            }
            self.take();
        }
    }

    /// New values of the innermost scope.
    fn define(&mut self, names: Vec<TypedName>, def: impl Fn(usize) -> ValueDef) -> Vec<ValueId> {
        let mut ids = Vec::with_capacity(names.len());
        for (n, TypedName { name, ty, place }) in names.into_iter().enumerate() {
            let id = self.program.values.push(Value {
                name: name.clone(),
                ty,
                def: def(n),
            });
            self.value_places.push(place.clone());
            ids.push(id);
            let scope = self.scopes.last_mut();
            if let Some(first) = scope.and_then(|scope| scope.insert(name.clone(), id)) {
                let first = self.value_places[first.index()].clone();
                let line = TextSpan::of(self.text, first).line;
                let message = format!("`{name}` is defined twice here; first in line {line}");
                self.fail("mil-name", place, message);
            }
        }
        ids
    }

    /// The value that a name means here.
    fn used(&mut self, name: &str, place: Range<usize>) -> ValueId {
        if let Some(&id) = self.scopes.iter().rev().find_map(|scope| scope.get(name)) {
            return id;
        }
        if !self.results_lost {
            let message = format!("there is no value named `{name}` here");
            self.fail("mil-name", place.clone(), message);
        }
        self.value_places.push(place);
        self.program.values.push(Value {
            name: name.to_owned(),
            ty: ValueType::Missing,
            def: ValueDef::Undefined,
        })
    }

    /// A word, or any text in quotes.
    pub(super) fn name(&mut self, wanted: &str) -> Parse<(String, Range<usize>)> {
        let token = self.token;
        let name = match token.kind {
            Kind::Word => self.spelled(token).to_owned(),
            Kind::Quoted => self.unquoted(token)?,
            _ => return Err(self.unexpected(wanted)),
        };
        self.take();
        Ok((name, token.range()))
    }

    /// What a token between quotes says.
    pub(super) fn unquoted(&mut self, token: Token) -> Parse<String> {
        let inside = &self.text[token.start + 1..token.end - 1];
        let mut out = String::with_capacity(inside.len());
        let mut chars = inside.char_indices();
        while let Some((at, c)) = chars.next() {
            if c != '\\' {
                out.push(c);
                continue;
            }
            out.push(match chars.next().map(|(_, c)| c) {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some(c @ ('"' | '\\')) => c,
                other => {
                    let start = token.start + 1 + at;
                    let end = start + 1 + other.map_or(0, char::len_utf8);
                    let message = "only \\\" \\\\ \\n \\r \\t are written with a backslash";
                    return Err(self.fail("mil-syntax", start..end, message));
                }
            });
        }
        Ok(out)
    }

    fn keyword(&mut self, word: &str) -> Parse<()> {
        if self.token.kind != Kind::Word || self.spelled(self.token) != word {
            return Err(self.unexpected(&format!("`{word}`")));
        }
        self.take();
        Ok(())
    }

    pub(super) fn mark(&mut self, mark: u8, purpose: &str) -> Parse<()> {
        if !self.is_mark(mark) {
            let wanted = format!("`{}` {purpose}", char::from(mark));
            return Err(self.unexpected(&wanted));
        }
        self.take();
        Ok(())
    }

    pub(super) fn is_mark(&self, mark: u8) -> bool {
        is_mark(self.token, mark)
    }

    pub(super) fn take(&mut self) -> Token {
        self.last_end = self.token.end;
        let next = self.lexer.next();
        std::mem::replace(&mut self.token, std::mem::replace(&mut self.ahead, next))
    }

    /// Where the last token that was taken ends.
    pub(super) fn last_end(&self) -> usize {
        self.last_end
    }

    pub(super) fn spelled(&self, token: Token) -> &'t str {
        &self.text[token.range()]
    }

    /// Records that something else was expected at the next token.
    pub(super) fn unexpected(&mut self, wanted: &str) -> Stop {
        let token = self.token;
        // A piece of a giant token is enough to find it.
        let spelled: String = self.spelled(token).chars().take(40).collect();
        let found = match token.kind {
            Kind::End => "the end of the text".to_owned(),
            Kind::OpenQuote => {
                let message = "this text is not closed on its line";
                return self.fail("mil-syntax", token.range(), message);
            }
            Kind::Quoted => format!("the text {spelled}"),
            _ => format!("`{spelled}`"),
        };
        let mut place = token.range();
        // What is missing is missing behind the last token, not at the next.
        if wanted.starts_with('`') && wanted.contains(" after ") && self.last_end > 0 {
            place = self.last_end..self.last_end;
        }
        self.fail(
            "mil-syntax",
            place,
            format!("expected {wanted}, found {found}"),
        )
    }

    pub(super) fn fail(
        &mut self,
        code: &'static str,
        place: Range<usize>,
        message: impl Into<String>,
    ) -> Stop {
        if !self.is_full() {
            let location = Location {
                text: Some(TextSpan::of(self.text, place)),
                ..Location::default()
            };
            let error = Diagnostic::new(Severity::Error, code, location, message);
            self.errors.push(error);
        }
        Stop
    }

    fn is_full(&self) -> bool {
        self.errors.len() >= MAX_ERRORS
    }

    /// Goes behind the `;` of an operation that could not be read, or to the
    /// `}` that closes the block around it.
    fn skip_operation(&mut self) {
        let mut depth = 0usize;
        loop {
            match self.token.kind {
                Kind::End => return,
                Kind::Mark(b'{') => depth += 1,
                Kind::Mark(b'}') if depth == 0 && self.ahead.kind == Kind::Arrow => return,
                Kind::Mark(b'}') => depth = depth.saturating_sub(1),
                Kind::Mark(b';') if depth == 0 => {
                    self.take();
                    return;
                }
                Kind::Word if self.spelled(self.token) == "func" => return,
                _ => {}
            }
            self.take();
        }
    }

    /// Goes to the next function.
    fn skip_function(&mut self) {
        loop {
            let is_func = self.token.kind == Kind::Word && self.spelled(self.token) == "func";
            if is_func && self.ahead.kind == Kind::Word || self.token.kind == Kind::End {
                return;
            }
            if self.is_mark(b'}') && self.ahead.kind == Kind::End {
                return;
            }
            self.take();
        }
    }
}

struct TypedName {
    name: String,
    ty: ValueType,
    place: Range<usize>,
}

fn is_mark(token: Token, mark: u8) -> bool {
    token.kind == Kind::Mark(mark)
}
