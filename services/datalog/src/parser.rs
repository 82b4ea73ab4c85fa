//! Tokens into clauses. There is no nesting in the language, so the parser needs no recursion;
//! what a clause may hold is bounded, which bounds everything that is built from it later.

use std::sync::Arc;

use crate::error::{ErrorKind, Position, ProgramError};
use crate::lexer::{Lexer, Token};
use crate::program::{Facts, Query};
use crate::syntax::{Atom, Comparison, Constant, Literal, Names, Rule, Term, TermKind, Value};

/// Most arguments of a predicate; positions fit into a 32-bit mask.
pub(crate) const ARITY_MAX: usize = 16;
/// Most literals of a body.
pub(crate) const BODY_MAX: usize = 32;
/// Most literals of all bodies together; bounds what is built from rules. Facts are limited by
/// the length of the text only.
pub(crate) const LITERALS_MAX: usize = 20_000;
/// Longest text that is read, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 16 << 20;

/// The predicate of the head that a query gets. No text can name it.
pub(crate) const QUERY_NAME: &str = "?";

pub(crate) struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token<'a>,
    at: Position,
    pub(crate) names: Names,
    variables: Vec<Arc<str>>,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(text: &'a str) -> Result<Self, ProgramError> {
        if text.len() > TEXT_BYTES_MAX {
            let message = format!("the text is longer than {TEXT_BYTES_MAX} bytes");
            return Err(ProgramError::new(ErrorKind::Size, Position::START, message));
        }
        let mut lexer = Lexer::new(text);
        let (token, at) = lexer.next()?;
        Ok(Self {
            lexer,
            token,
            at,
            names: Names::default(),
            variables: Vec::new(),
        })
    }

    /// Reads all clauses.
    pub(crate) fn clauses(&mut self) -> Result<(Facts, Vec<Rule>), ProgramError> {
        let (mut facts, mut rules, mut literals) = (Facts::default(), Vec::new(), 0);
        while self.token != Token::End {
            self.variables.clear();
            let head = self.head()?;
            match self.token {
                Token::Dot => {
                    let constants = self.ground(&head)?;
                    facts.push(head.predicate, constants, head.at.line);
                }
                Token::If => {
                    self.advance()?;
                    let body = self.body(Token::Dot)?;
                    literals += body.len();
                    if literals > LITERALS_MAX {
                        let message = format!("rules have more than {LITERALS_MAX} literals");
                        return Err(ProgramError::new(ErrorKind::Size, head.at, message));
                    }
                    rules.push(self.rule(head, body));
                }
                _ => return Err(self.unexpected("'.' or ':-' after the head")),
            }
            self.advance()?;
        }
        Ok((facts, rules))
    }

    /// Reads a query: literals, perhaps between `?-` and `.` or `?`.
    pub(crate) fn query(mut self) -> Result<Query, ProgramError> {
        if self.token == Token::Ask {
            self.advance()?;
        }
        let at = self.at;
        let body = self.body(Token::End)?;
        let shown = self.variables.iter().enumerate();
        let terms: Vec<Term> = shown
            .filter(|(_, name)| !name.starts_with('_'))
            .map(|(variable, _)| Term {
                kind: TermKind::Variable(variable),
                at,
            })
            .collect();
        let predicate = self.names.predicate(QUERY_NAME, terms.len(), at)?;
        let head = Atom {
            predicate,
            terms,
            at,
        };
        let rule = self.rule(head, body);
        Ok(Query {
            names: self.names,
            rule,
        })
    }

    fn rule(&mut self, head: Atom, body: Vec<Literal>) -> Rule {
        Rule {
            head,
            body,
            variables: std::mem::take(&mut self.variables),
        }
    }

    fn advance(&mut self) -> Result<Token<'a>, ProgramError> {
        let (token, at) = self.lexer.next()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn unexpected(&self, wanted: &str) -> ProgramError {
        let found = self.token.describe();
        ProgramError::syntax(self.at, format!("expected {wanted}, found {found}"))
    }

    fn head(&mut self) -> Result<Atom, ProgramError> {
        match self.token {
            Token::Name(name) => {
                let at = self.at;
                self.advance()?;
                self.arguments(name, at)
            }
            Token::Variable(name) => Err(ProgramError::syntax(
                self.at,
                format!("a predicate begins with a lower-case letter, '{name}' does not"),
            )),
            _ => Err(self.unexpected("a fact or a rule")),
        }
    }

    /// Reads literals up to a token that ends them, which stays. A query may end in `.` or `?`.
    fn body(&mut self, end: Token<'static>) -> Result<Vec<Literal>, ProgramError> {
        let mut body = Vec::new();
        loop {
            if body.len() == BODY_MAX {
                let message = format!("a body has at most {BODY_MAX} literals");
                return Err(ProgramError::new(ErrorKind::Size, self.at, message));
            }
            body.push(self.literal()?);
            if self.token != Token::Comma {
                break;
            }
            self.advance()?;
        }
        let of_query = end == Token::End;
        if of_query && matches!(self.token, Token::Dot | Token::Question) {
            self.advance()?;
        }
        if self.token == end {
            return Ok(body);
        }
        Err(self.unexpected(if of_query {
            "',' or the end of the query"
        } else {
            "',' or '.' after a literal"
        }))
    }

    fn literal(&mut self) -> Result<Literal, ProgramError> {
        if self.token == Token::Not {
            self.advance()?;
            return match self.token {
                Token::Name(_) => Ok(Literal::Absent(self.head()?)),
                _ => Err(self.unexpected("a predicate after 'not'")),
            };
        }
        let at = self.at;
        if let Token::Name(name) = self.token {
            self.advance()?;
            if !matches!(self.token, Token::Compare(_)) {
                return Ok(Literal::Holds(self.arguments(name, at)?));
            }
            let kind = TermKind::Constant(self.names.constant(Value::Text(name.into())));
            return self.comparison(Term { kind, at });
        }
        let left = self.term("a literal")?;
        self.comparison(left)
    }

    fn comparison(&mut self, left: Term) -> Result<Literal, ProgramError> {
        let comparison: Comparison = match self.token {
            Token::Compare(comparison) => comparison,
            _ => return Err(self.unexpected("a comparison such as '<'")),
        };
        self.advance()?;
        let right = self.term("a variable or a constant")?;
        Ok(Literal::Compare {
            left,
            comparison,
            right,
        })
    }

    fn arguments(&mut self, name: &str, at: Position) -> Result<Atom, ProgramError> {
        let mut terms = Vec::new();
        if self.token == Token::Open {
            self.advance()?;
            while self.token != Token::Close {
                if terms.len() == ARITY_MAX {
                    let message = format!("a predicate has at most {ARITY_MAX} arguments");
                    return Err(ProgramError::new(ErrorKind::Size, self.at, message));
                }
                terms.push(self.term("an argument")?);
                match self.token {
                    Token::Comma => self.advance()?,
                    Token::Close => break,
                    Token::Open => {
                        let message = "arguments are constants and variables, not terms";
                        return Err(ProgramError::syntax(self.at, message));
                    }
                    _ => return Err(self.unexpected("',' or ')' after an argument")),
                };
            }
            self.advance()?;
        }
        let predicate = self.names.predicate(name, terms.len(), at)?;
        Ok(Atom {
            predicate,
            terms,
            at,
        })
    }

    fn term(&mut self, wanted: &str) -> Result<Term, ProgramError> {
        let at = self.at;
        let value = match &mut self.token {
            Token::Name(name) => Value::Text((*name).into()),
            Token::Text(text) => Value::Text(std::mem::take(text).into()),
            Token::Integer(integer) => Value::Integer(*integer),
            Token::Variable(name) => {
                let name = *name;
                self.advance()?;
                let kind = self.variable(name);
                return Ok(Term { kind, at });
            }
            _ => return Err(self.unexpected(wanted)),
        };
        self.advance()?;
        let kind = TermKind::Constant(self.names.constant(value));
        Ok(Term { kind, at })
    }

    fn variable(&mut self, name: &str) -> TermKind {
        if name == "_" {
            return TermKind::Any;
        }
        // A clause has some hundred terms at most, so that a list is quicker than a map.
        let known = self.variables.iter().position(|known| **known == *name);
        TermKind::Variable(known.unwrap_or_else(|| {
            self.variables.push(name.into());
            self.variables.len() - 1
        }))
    }

    /// The constants of a fact.
    fn ground<'b>(
        &self,
        head: &'b Atom,
    ) -> Result<impl Iterator<Item = Constant> + 'b, ProgramError> {
        for term in &head.terms {
            if !matches!(term.kind, TermKind::Constant(_)) {
                let name = term
                    .variable()
                    .map_or("_", |variable| &*self.variables[variable]);
                return Err(ProgramError::new(
                    ErrorKind::Unsafe,
                    term.at,
                    format!("a fact has only constants, but '{name}' is a variable"),
                ));
            }
        }
        Ok(head.terms.iter().filter_map(|term| match term.kind {
            TermKind::Constant(constant) => Some(constant),
            TermKind::Variable(_) | TermKind::Any => None,
        }))
    }
}
