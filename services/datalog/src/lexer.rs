//! Text into tokens, one at a time: a program of megabytes needs no list of them.

use crate::error::{Position, ProgramError};
use crate::syntax::{Comparison, is_name_char};

/// Longest name, text or number, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 4096;

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Token<'a> {
    /// A name that starts a predicate or an atom.
    Name(&'a str),
    Variable(&'a str),
    Text(String),
    Integer(i64),
    Open,
    Close,
    Comma,
    Dot,
    /// `:-`
    If,
    /// `?-`
    Ask,
    /// `?`
    Question,
    /// `not`, `\+` or `!`
    Not,
    Compare(Comparison),
    End,
}

impl Token<'_> {
    /// The token for a message.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Name(name) | Self::Variable(name) => format!("'{}'", shorten(name)),
            Self::Text(text) => format!("the text \"{}\"", shorten(text)),
            Self::Integer(integer) => integer.to_string(),
            Self::Open => "'('".into(),
            Self::Close => "')'".into(),
            Self::Comma => "','".into(),
            Self::Dot => "'.'".into(),
            Self::If => "':-'".into(),
            Self::Ask => "'?-'".into(),
            Self::Question => "'?'".into(),
            Self::Not => "'not'".into(),
            Self::Compare(comparison) => format!("'{}'", comparison.sign()),
            Self::End => "the end".into(),
        }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

pub(crate) struct Lexer<'a> {
    rest: &'a str,
    at: Position,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            at: Position::START,
        }
    }

    /// The next token and where it starts.
    pub(crate) fn next(&mut self) -> Result<(Token<'a>, Position), ProgramError> {
        self.skip_blank();
        let at = self.at;
        let Some(c) = self.peek() else {
            return Ok((Token::End, at));
        };
        let token = match c {
            '"' => self.text()?,
            '0'..='9' => self.integer()?,
            '-' if self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.integer()?,
            c if c == '_' || c.is_alphabetic() => self.name()?,
            _ => self.sign(c)?,
        };
        Ok((token, at))
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn advance(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        if c == '\n' {
            self.at.line += 1;
            self.at.column = 1;
        } else {
            self.at.column += 1;
        }
        Some(c)
    }

    fn skip_blank(&mut self) {
        while let Some(c) = self.peek() {
            let comment = c == '%' || c == '#' || self.rest.starts_with("//");
            if comment {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.advance();
                }
            } else if c.is_whitespace() || c == '\u{feff}' {
                self.advance();
            } else {
                return;
            }
        }
    }

    /// Takes the longest prefix of characters that fit.
    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> Result<&'a str, ProgramError> {
        let at = self.at;
        let start = self.rest;
        while self.peek().is_some_and(&fits) {
            self.advance();
        }
        let taken = &start[..start.len() - self.rest.len()];
        if taken.len() > NAME_BYTES_MAX {
            return Err(too_long(at));
        }
        Ok(taken)
    }

    fn name(&mut self) -> Result<Token<'a>, ProgramError> {
        let name = self.take_while(is_name_char)?;
        let upper = name.starts_with(|c: char| c == '_' || c.is_uppercase());
        Ok(match name {
            "not" => Token::Not,
            name if upper => Token::Variable(name),
            name => Token::Name(name),
        })
    }

    fn integer(&mut self) -> Result<Token<'a>, ProgramError> {
        let at = self.at;
        let start = self.rest;
        self.advance();
        self.take_while(|c| c.is_ascii_digit())?;
        let digits = &start[..start.len() - self.rest.len()];
        let mut after = self.rest.chars();
        let next = after.next();
        if next.is_some_and(is_name_char) {
            let message = format!("'{digits}' runs into a name: put a space or a comma between");
            return Err(ProgramError::syntax(at, message));
        }
        if next == Some('.') && after.next().is_some_and(|c| c.is_ascii_digit()) {
            let message = "numbers are whole: write a fraction as a text or scale it";
            return Err(ProgramError::syntax(at, message));
        }
        let integer = digits.parse().map_err(|_| {
            ProgramError::syntax(at, "the number does not fit into 64 bits with a sign")
        })?;
        Ok(Token::Integer(integer))
    }

    fn text(&mut self) -> Result<Token<'a>, ProgramError> {
        let at = self.at;
        self.advance();
        let mut text = String::new();
        loop {
            let here = self.at;
            match self.advance() {
                Some('"') => return Ok(Token::Text(text)),
                Some('\\') => text.push(self.escape(here)?),
                Some('\n') | None => {
                    let message = "the text that starts here has no closing quote on its line";
                    return Err(ProgramError::syntax(at, message));
                }
                Some(c) => text.push(c),
            }
            if text.len() > NAME_BYTES_MAX {
                return Err(too_long(at));
            }
        }
    }

    fn escape(&mut self, at: Position) -> Result<char, ProgramError> {
        match self.advance() {
            Some('n') => Ok('\n'),
            Some('t') => Ok('\t'),
            Some('r') => Ok('\r'),
            Some(c @ ('"' | '\\' | '\'' | '/')) => Ok(c),
            _ => Err(ProgramError::syntax(
                at,
                r#"unknown escape: use \" \\ \n \t or \r"#,
            )),
        }
    }

    fn sign(&mut self, c: char) -> Result<Token<'a>, ProgramError> {
        let second = self.rest.chars().nth(1);
        if let Some((token, len)) = double_sign(c, second).or_else(|| single_sign(c)) {
            for _ in 0..len {
                self.advance();
            }
            return Ok(token);
        }
        let message = match c {
            '\'' => "use double quotes for a text".to_owned(),
            ';' => "there is no 'or' within a rule: write two rules".to_owned(),
            '+' | '*' | '/' | '-' => "there is no arithmetic".to_owned(),
            '[' | ']' | '|' => "there are no lists".to_owned(),
            c => format!("unexpected character {c:?}"),
        };
        Err(ProgramError::syntax(self.at, message))
    }
}

/// The token of two characters, and its length.
fn double_sign(first: char, second: Option<char>) -> Option<(Token<'static>, usize)> {
    let two = match (first, second?) {
        (':', '-') => Token::If,
        ('?', '-') => Token::Ask,
        ('\\', '+') => Token::Not,
        ('!' | '\\', '=') | ('<', '>') => Token::Compare(Comparison::NotEqual),
        ('=', '=') => Token::Compare(Comparison::Equal),
        ('<', '=') | ('=', '<') => Token::Compare(Comparison::LessOrEqual),
        ('>', '=') => Token::Compare(Comparison::GreaterOrEqual),
        _ => return None,
    };
    Some((two, 2))
}

/// The token of one character, and its length.
fn single_sign(sign: char) -> Option<(Token<'static>, usize)> {
    let one = match sign {
        '=' => Token::Compare(Comparison::Equal),
        '<' => Token::Compare(Comparison::Less),
        '>' => Token::Compare(Comparison::Greater),
        '!' => Token::Not,
        '?' => Token::Question,
        '(' => Token::Open,
        ')' => Token::Close,
        ',' => Token::Comma,
        '.' => Token::Dot,
        _ => return None,
    };
    Some((one, 1))
}

fn too_long(at: Position) -> ProgramError {
    ProgramError::new(
        crate::error::ErrorKind::Size,
        at,
        format!("a name or text is longer than {NAME_BYTES_MAX} bytes"),
    )
}
